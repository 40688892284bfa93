"""Figures of images: rows of reconstructions, and what degradations make of an image over t."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.diffusion.degradations import Degradation
from diffcli.inference.pictures import channels_across, to_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 9
"""Images in a row: t = 0, T / 8, ..., T."""
WIDEST = 3
"""Times that a cell is as wide as high, for channels side by side."""


def empty_figure(width: float, height: float, dpi: int = 120, **options: Any) -> Figure:
    """An empty figure, its sides in inches."""
    from matplotlib.figure import Figure  # takes half a second, which numbers and grids need not wait for

    return Figure(figsize=(width, height), dpi=dpi, **options)


def _draw_cells(
    figure: Figure, places: Any, rows: Sequence[tuple[str, Tensor]], label: Any, titles: Any = None
) -> None:
    """Has a figure show images, each as in axes of its own, in the cells of a Matplotlib GridSpec.

    One axes is drawn in each cell in turn: to make one for every image takes four times as long, for the same pixels.

    Args:
        rows: labels, and float images (N, C, H, W) in [-0.5, 0.5].
        label: Matplotlib's options of the labels, which stand left of the rows.
        titles: the titles of a row's images for each row, and Matplotlib's options of them.
    """
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    pictures = [[np.asarray(to_image(image)) for image in to_uint8(images)] for _, images in rows]
    cell = Axes(figure, (0, 0, 1, 1))
    drawing = cell.imshow(pictures[0][0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    cell.set(xticks=[], yticks=[])

    class Cells(Artist):
        def draw(self, renderer: Any) -> None:
            for row, (name, _) in enumerate(rows):
                for column, picture in enumerate(pictures[row]):
                    cell.set_position(places[row, column].get_position(figure))
                    drawing.set_data(picture)
                    cell.set_ylabel("" if column else name, **label)
                    if titles is not None:
                        cell.set_title(titles[0][row][column], **titles[1])
                    cell.draw(renderer)

    figure.add_artist(Cells())


def _wider(images: Tensor) -> int:
    """The width of the cells of images (N, C, H, W) over their height."""
    return min(channels_across(images.shape[1]), WIDEST)


def reconstruction_figure(rows: Sequence[tuple[str, Tensor]]) -> Figure:
    """Labelled rows of float images (N, C, H, W) in [-0.5, 0.5], in the layout of the report's Figure 2."""
    columns = len(rows[0][1])
    width = 0.9 * columns * _wider(rows[0][1]) + 0.8
    figure = empty_figure(width, 0.9 * len(rows))
    places = figure.add_gridspec(
        len(rows), columns, left=0.9 / width, right=0.99, top=0.99, bottom=0.01, wspace=0.06, hspace=0.06
    )
    _draw_cells(figure, places, rows, {"rotation": 0, "labelpad": 22, "va": "center", "fontsize": 12})
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
    images, _ = next(iter(rows.values()))
    width, height = 0.75 * COLUMNS * _wider(images) + labels, 0.95 * len(rows)
    figure = empty_figure(width, height, dpi=80)
    places = figure.add_gridspec(
        len(rows),
        COLUMNS,
        left=labels / width,
        right=0.995,
        top=1 - 0.2 / height,
        bottom=0.01,
        wspace=0.06,
        hspace=0.3,
    )
    label = {"rotation": 0, "ha": "right", "va": "center", "labelpad": 6, "fontsize": 9}
    titles = [[str(t) for t in steps] for _, steps in rows.values()]
    rows_by_name = [(literal(name), images) for name, (images, _) in rows.items()]
    _draw_cells(figure, places, rows_by_name, label, (titles, {"fontsize": 8, "pad": 2}))
    return figure
