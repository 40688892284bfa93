"""Figures of images: rows of reconstructions, and what degradations make of an image over t."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.diffusion.degradations import Degradation
from diffcli.inference.pictures import to_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 9
"""Images in a row: t = 0, T / 8, ..., T."""


def empty_figure(width: float, height: float, dpi: int = 120, **options: Any) -> Figure:
    """An empty figure, its sides in inches."""
    from matplotlib.figure import Figure  # takes half a second, which numbers and grids need not wait for

    return Figure(figsize=(width, height), dpi=dpi, **options)


def conditional_figure(rows: Sequence[tuple[str, Tensor]]) -> Figure:
    """Labelled rows of float images (N, C, H, W) in [-0.5, 0.5], in the layout of the report's Figure 2."""
    columns = len(rows[0][1])
    figure = empty_figure(0.9 * columns + 0.8, 0.9 * len(rows))
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


def strip(degradation: Degradation, x0: Tensor, noise: Tensor) -> tuple[Tensor, list[int]]:
    """One image (C, H, W) at nine t from 0 to T, (9, C, H, W), and these t.

    Args:
        noise: standard normal, (9, C, H, W); not used where the degradation draws none.
    """
    steps = [round(degradation.T * column / (COLUMNS - 1)) for column in range(COLUMNS)]
    return degradation.degrade(x0.expand(COLUMNS, *x0.shape), torch.tensor(steps), noise), steps


def strips_figure(rows: Mapping[str, tuple[Tensor, list[int]]]) -> Figure:
    """A row for each name: float images (9, C, H, W) in [-0.5, 0.5] and their t."""
    labels = 1.9  # inches
    figure = empty_figure(0.75 * COLUMNS + labels, 0.95 * len(rows), dpi=80)
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for (name, (images, steps)), cells in zip(rows.items(), axes, strict=True):
        for image, t, cell in zip(to_uint8(images), steps, cells, strict=True):
            cell.imshow(to_image(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            cell.set(xticks=[], yticks=[])
            cell.set_title(f"{t}", fontsize=8, pad=2)
        cells[0].set_ylabel(literal(name), rotation=0, ha="right", va="center", labelpad=6, fontsize=9)
    left = labels / (0.75 * COLUMNS + labels)
    figure.subplots_adjust(
        left=left, right=0.995, top=1 - 0.2 / (0.95 * len(rows)), bottom=0.01, wspace=0.06, hspace=0.3
    )
    return figure
