"""Figures of numbers: schedules, losses, shares over bits."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diffcli.diffusion.degradations import Degradation
from diffcli.evaluation.intervals import Interval
from diffcli.inference.figures import empty_figure, literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """The style in which a column of a schedule's table is drawn."""

    title: str
    scale: Literal["linear", "log"] = "linear"
    floor: float = 0.0
    """On a logarithmic axis, values up to this are left out."""


CURVES = {
    "beta": Curve(r"$\beta_t$", "log"),
    "alpha": Curve(r"$\alpha_t$"),
    "log_snr": Curve(r"$\log\,\mathrm{SNR}_t$"),
    "sigma": Curve(r"$\sigma_t$"),
    "width": Curve("total blur width (pixels)"),
    # Below 1e-8, float32 rounding is all that is left of a mode.
    "mode": Curve("what is left of cosine mode k", "log", floor=1e-8),
}
"""The curves by name; any other column is drawn under its own name, on a linear axis."""

TIME_COLUMNS = ("t", "t_over_T")
PANELS_PER_ROW = 4

Table = dict[str, np.ndarray[Any, Any]]


def schedule_table(degradation: Degradation) -> Table:
    """One array for each column of a schedule's table, t = 1..T, float64: t, t/T, and what the degradation
    describes."""
    t = np.arange(1, degradation.T + 1)
    curves = {name: curve.numpy() for name, curve in degradation.describe().items()}
    return {"t": t, "t_over_T": t / degradation.T, **curves}


def groups_by_column(tables: Mapping[str, Table]) -> list[dict[str, Table]]:
    """The tables in groups that have columns in common (besides time), in their order."""
    groups: list[dict[str, Table]] = []
    for name, table in tables.items():
        columns = set(table) - set(TIME_COLUMNS)
        for group in groups:
            if columns & {column for other in group.values() for column in other}:
                group[name] = table
                break
        else:
            groups.append({name: table})
    return groups


def schedule_figure(tables: Mapping[str, Table]) -> Figure:
    """Every column of the tables over t/T (for noise, the report's Figure 5).

    A column is a panel with a line for each table that has it. Columns that are numbered (``mode_1``, ``mode_2``, ...)
    are the lines of one panel for each table.
    """
    panels: dict[str, dict[str, tuple[Table, str]]] = {}  # by title: label -> the table and its column
    curves: dict[str, Curve] = {}
    for name, table in tables.items():
        for column in (column for column in table if column not in TIME_COLUMNS):
            family, _, number = column.rpartition("_")
            is_numbered = number.isdigit()
            curve = CURVES.get(family if is_numbered else column, Curve(family if is_numbered else column))
            title, label = (
                (f"{literal(name)}: {curve.title}", f"k = {number}") if is_numbered else (curve.title, literal(name))
            )
            panels.setdefault(title, {})[label] = table, column
            curves[title] = curve
    columns = min(len(panels), PANELS_PER_ROW)
    rows = -(-len(panels) // columns)
    figure = empty_figure(4.2 * columns, 3.8 * rows, layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for cell, (title, lines) in zip(cells, panels.items(), strict=False):
        curve = curves[title]
        for label, (table, column) in lines.items():
            values = table[column]
            points = np.where(values > curve.floor, values, np.nan) if curve.scale == "log" else values
            # A single step is a point, which a line would not show.
            cell.plot(table["t_over_T"], points, label=label, marker="o" if len(values) == 1 else "")
        cell.set(xlabel="$t/T$", title=title, xlim=(0, 1), yscale=curve.scale)
        cell.grid(alpha=0.3)
        cell.legend(fontsize="small")
    for cell in cells[len(panels) :]:
        cell.set_axis_off()
    return figure


def loss_figure(histories: Mapping[str, Sequence[Mapping[str, str]]], marked: Sequence[int] = ()) -> Figure:
    """Training (line) and validation loss (dots) by epoch for each run's rows of metrics.csv (report Figures 1 and 6).

    Args:
        marked: epochs whose losses have a ring.
    """
    figure = empty_figure(7, 4, layout="constrained")
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
            if rings := [point for point in values if point[0] in marked]:
                cell.plot(*zip(*rings, strict=True), "o", color="red", mfc="none", ms=9)
    cell.set(xlabel="epoch", ylabel="loss", yscale="log")
    cell.grid(alpha=0.3, which="both")
    cell.legend(fontsize="small")
    return figure


def loss_by_t_figure(losses: Mapping[str, Sequence[float | None]]) -> Figure:
    """Test loss in each tenth of t/T, a line per run."""
    figure = empty_figure(7, 4, layout="constrained")
    cell = figure.subplots()
    for name, values in losses.items():
        centres = (np.arange(len(values)) + 0.5) / len(values)
        cell.plot(centres, [np.nan if value is None else value for value in values], "o-", label=literal(name))
    cell.set(xlabel="$t/T$", ylabel="test loss", yscale="log", xlim=(0, 1))
    cell.grid(alpha=0.3, which="both")
    cell.legend(fontsize="small")
    return figure


def bits_figure(shares: Mapping[str, Mapping[str, Sequence[tuple[str, Interval]]]], score: str) -> Figure:
    """A score of reconstructions over the bits of the z_t that they start from, with 95 % intervals.

    Args:
        shares: by run, a panel each, and in it by t in words, a line each, the score for each number of bits, in their
            order.
        score: the score's name.
    """
    figure = empty_figure(1 + 3.6 * len(shares), 4, layout="constrained")
    cells = figure.subplots(1, len(shares), squeeze=False, sharey=True)[0]
    for cell, (name, lines) in zip(cells, shares.items(), strict=True):
        bits = list(dict.fromkeys(label for points in lines.values() for label, _ in points))
        for name_of_line, points in lines.items():
            places = [bits.index(label) for label, _ in points]
            intervals = [interval for _, interval in points]
            margins = [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]
            cell.errorbar(places, [i.value for i in intervals], margins, marker="o", capsize=3, label=name_of_line)
        cell.set(xticks=range(len(bits)), xticklabels=bits, xlabel="bits of each pixel of $z_t$", title=literal(name))
        cell.grid(alpha=0.3)
        cell.legend(fontsize="small")
    cells[0].set_ylabel(literal(score))
    return figure


def write_schedules(tables: Mapping[str, Table], file: Path) -> None:
    """The numbers behind a figure as CSV: preset, then the columns of its tables; empty where a preset has none."""
    columns = list(dict.fromkeys(column for table in tables.values() for column in table))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["preset", *columns])
        writer.writeheader()
        for name, table in tables.items():
            for row in zip(*table.values(), strict=True):
                writer.writerow({"preset": name, **dict(zip(table, (value.item() for value in row), strict=True))})
