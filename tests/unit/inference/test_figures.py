"""Figures of images: pixel by pixel those of a figure with axes of its own for every image."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from diffcli.data.pixels import to_uint8
from diffcli.inference.figures import COLUMNS, empty_figure, literal, reconstruction_figure, strips_figure
from diffcli.inference.pictures import to_image


def pixels(figure: Figure) -> np.ndarray:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream))


def show(cell, image: torch.Tensor) -> None:
    cell.imshow(to_image(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    cell.set(xticks=[], yticks=[])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)])
def test_labelled_rows(shape: tuple[int, int, int]) -> None:
    rows = [(name, torch.rand(2, *shape) - 0.5) for name in ("$x_0$", "z_T", "")]
    figure = empty_figure(0.9 * 2 + 0.8, 0.9 * 3)
    axes = figure.subplots(3, 2, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for (label, images), cells in zip(rows, axes, strict=True):
        for image, cell in zip(to_uint8(images), cells, strict=True):
            show(cell, image)
        cells[0].set_ylabel(label, rotation=0, labelpad=22, va="center", fontsize=12)
    figure.subplots_adjust(left=0.9 / (0.9 * 2 + 0.8), right=0.99, top=0.99, bottom=0.01)
    assert np.array_equal(pixels(reconstruction_figure(rows)), pixels(figure))


def test_strips() -> None:
    steps = list(range(0, 10 * COLUMNS, 10))
    rows = {name: (torch.rand(COLUMNS, 1, 8, 8) - 0.5, steps) for name in ("a name of $5", "_b")}
    figure = empty_figure(0.75 * COLUMNS + 1.9, 0.95 * 2, dpi=80)
    axes = figure.subplots(2, COLUMNS, squeeze=False)
    for (name, (images, _)), cells in zip(rows.items(), axes, strict=True):
        for image, t, cell in zip(to_uint8(images), steps, cells, strict=True):
            show(cell, image)
            cell.set_title(f"{t}", fontsize=8, pad=2)
        cells[0].set_ylabel(literal(name), rotation=0, ha="right", va="center", labelpad=6, fontsize=9)
    figure.subplots_adjust(
        left=1.9 / (0.75 * COLUMNS + 1.9), right=0.995, top=1 - 0.2 / (0.95 * 2), bottom=0.01, wspace=0.06, hspace=0.3
    )
    assert np.array_equal(pixels(strips_figure(rows)), pixels(figure))
