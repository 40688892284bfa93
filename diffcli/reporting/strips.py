"""What degradations make of an image over t, as a figure."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.diffusion.degradations import Degradation
from diffcli.reporting.figures import literal
from diffcli.reporting.pictures import to_image

COLUMNS = 9
"""Images in a row: t = 0, T / 8, ..., T."""


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
    figure = Figure(figsize=(0.75 * COLUMNS + labels, 0.95 * len(rows)), dpi=80)
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
