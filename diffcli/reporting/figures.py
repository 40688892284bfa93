"""Matplotlib figures: conditional reconstructions and schedules."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.diffusion.degradations import Degradation, GaussianBlur, GaussianNoise
from diffcli.reporting.pictures import to_image


def conditional_figure(rows: Sequence[tuple[str, Tensor]]) -> Figure:
    """Labelled rows of float images (N, C, H, W) in [-0.5, 0.5], in the layout of the report's Figure 2."""
    columns = len(rows[0][1])
    figure = Figure(figsize=(0.9 * columns + 0.8, 0.9 * len(rows)), dpi=120)
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for (label, images), cells in zip(rows, axes, strict=True):
        for image, cell in zip(to_uint8(images), cells, strict=True):
            cell.imshow(to_image(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            cell.set(xticks=[], yticks=[])
        cells[0].set_ylabel(label, rotation=0, labelpad=22, va="center", fontsize=12)
    figure.subplots_adjust(left=0.9 / (0.9 * columns + 0.8), right=0.99, top=0.99, bottom=0.01)
    return figure


# A name in a script that the font lacks is drawn as boxes, which need no word on the terminal.
warnings.filterwarnings("ignore", message="Glyph .* missing from")


LONGEST = 50


def literal(name: str) -> str:
    """A user's ``name`` as a label that Matplotlib draws as it is: no mathematics, no hidden line, no lone surrogate.

    What is longer than a figure is wide loses its middle.
    """
    short = name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}...{name[-LONGEST // 2 :]}"
    text = short.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


MODES = (1, 2, 3, 4, 6, 8)
FAINTEST = 1e-8
"""Below this, float32 rounding is all that is left of a mode."""


def schedule_table(degradation: Degradation) -> dict[str, np.ndarray]:
    """One array for each column of a schedule's table, t = 1..T, float64: see the functions for noise and for blur."""
    return noise_table(degradation) if isinstance(degradation, GaussianNoise) else blur_table(degradation)


def blur_table(degradation: Degradation) -> dict[str, np.ndarray]:
    """t, t/T, the total blur width in pixels, and ``mode_k``: what is left of the k-th cosine mode along one axis.

    Mode k of an axis of n pixels is cos(pi k i / (n - 1)), with k / 2 waves across the image; with reflect padding those
    are what a blur scales and does not mix. The width is the square root of the summed variances of the kernels.
    """
    assert isinstance(degradation, GaussianBlur)
    kernels, tables = degradation.kernels.double().numpy(), degradation.columns.double().numpy()
    side = tables.shape[-1]
    offsets = np.arange(kernels.shape[1]) - kernels.shape[1] // 2
    t = np.arange(1, degradation.T + 1)
    modes = np.cos(np.pi * np.outer(np.arange(side), np.arange(side)) / max(side - 1, 1))
    left = np.einsum("ki,tij,kj->tk", modes, tables, modes) / np.square(modes).sum(axis=1)
    return {
        "t": t,
        "t_over_T": t / degradation.T,
        "width": np.sqrt(np.cumsum(kernels @ np.square(offsets)))[1:],
        **{f"mode_{k}": left[1:, k] for k in MODES if k < side},
    }


def blur_figure(schedules: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Total blur width over t/T, and for each preset which spatial modes survive."""
    figure = Figure(figsize=(4.2 * (1 + len(schedules)), 3.8), dpi=120, layout="constrained")
    first, *others = figure.subplots(1, 1 + len(schedules), squeeze=False)[0]
    for (name, table), cell in zip(schedules.items(), others, strict=True):
        mark = "o" if len(table["t"]) == 1 else ""
        first.plot(table["t_over_T"], table["width"], label=literal(name), marker=mark)
        for key in (key for key in table if key.startswith("mode_")):
            cell.plot(
                table["t_over_T"],
                np.where(table[key] > FAINTEST, table[key], np.nan),
                label=f"k = {key[5:]}",
                marker=mark,
            )
        cell.set(xlabel="$t/T$", title=f"{literal(name)}: what is left of cosine mode k", xlim=(0, 1), yscale="log")
        cell.grid(alpha=0.3)
        cell.legend(fontsize="small")
    first.set(xlabel="$t/T$", title="total blur width (pixels)", xlim=(0, 1))
    first.grid(alpha=0.3)
    first.legend()
    return figure


def noise_table(degradation: GaussianNoise) -> dict[str, np.ndarray]:
    """t, t/T, beta_t, alpha_t and log SNR_t = log(alpha_t / (1 - alpha_t)) for t = 1..T, float64."""
    t = np.arange(1, degradation.T + 1)
    alphas = degradation.alphas_cumprod[1:].numpy()
    return {
        "t": t,
        "t_over_T": t / degradation.T,
        "beta": degradation.betas[1:].double().numpy(),
        "alpha": alphas,
        "log_snr": np.log(alphas) - np.log1p(-alphas),
    }


def noise_figure(schedules: dict[str, dict[str, np.ndarray]]) -> Figure:
    """beta_t, alpha_t and log SNR over t/T, one line per preset (the report's Figure 5)."""
    figure = Figure(figsize=(12, 3.8), dpi=120, layout="constrained")
    panels = {"beta": r"$\beta_t$", "alpha": r"$\alpha_t$", "log_snr": r"$\log\,\mathrm{SNR}_t$"}
    for cell, (key, label) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name, table in schedules.items():
            # A single step is a point, which a line would not show.
            cell.plot(table["t_over_T"], table[key], label=literal(name), marker="o" if len(table["t"]) == 1 else "")
        cell.set(xlabel="$t/T$", title=label, xlim=(0, 1))
        cell.grid(alpha=0.3)
    figure.axes[0].set_yscale("log")
    figure.axes[1].set_ylim(-0.02, 1.02)
    figure.axes[1].legend()
    return figure


def loss_figure(histories: Mapping[str, Sequence[Mapping[str, str]]]) -> Figure:
    """Training (line) and validation loss (dots) by epoch for each run's rows of metrics.csv (report Figures 1 and 6)."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    cell = figure.subplots()
    for number, (name, rows) in enumerate(histories.items()):
        points = {
            key: [(int(row["epoch"]), float(row[key])) for row in rows if row.get(key)]
            for key in ("train_loss", "val_loss")
        }
        for (key, values), style in zip(points.items(), ("-", "o"), strict=True):
            if values:
                cell.plot(
                    *zip(*values, strict=True), style, color=f"C{number}", ms=4, label=literal(f"{name}, {key[:-5]}")
                )
    cell.set(xlabel="epoch", ylabel="loss", yscale="log")
    cell.grid(alpha=0.3, which="both")
    cell.legend(fontsize="small")
    return figure


def loss_by_t_figure(losses: Mapping[str, Sequence[float | None]]) -> Figure:
    """Test loss in each tenth of t/T, a line per run."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    cell = figure.subplots()
    for name, values in losses.items():
        centres = (np.arange(len(values)) + 0.5) / len(values)
        cell.plot(centres, [np.nan if value is None else value for value in values], "o-", label=literal(name))
    cell.set(xlabel="$t/T$", ylabel="test loss", yscale="log", xlim=(0, 1))
    cell.grid(alpha=0.3, which="both")
    cell.legend(fontsize="small")
    return figure


def write_schedules(schedules: dict[str, dict[str, np.ndarray]], file: Path) -> None:
    """The numbers behind a figure as CSV: preset, then the columns of its tables; empty where a preset lacks one."""
    columns = dict.fromkeys(column for table in schedules.values() for column in table)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["preset", *columns])
        writer.writeheader()
        for name, table in schedules.items():
            for row in zip(*table.values(), strict=True):
                writer.writerow({"preset": name} | {key: value.item() for key, value in zip(table, row, strict=True)})
