"""The width of a blur in pixels: of the steps of a degradation, and of a picture that is larger than a model's
images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffcli.config.build import degradation_of
from diffcli.config.schema import Component
from diffcli.diffusion.degradations import Degradation
from diffcli.utils.errors import UserError

Shape = tuple[int, int, int]


def widths(degradation: Degradation) -> Tensor | None:
    """The standard deviation of a blur at t = 0..T, in pixels, float64 (T + 1,); None of another degradation."""
    width = degradation.describe().get("width")
    return None if width is None else torch.cat([width.new_zeros(1), width]).double().cpu()


def scales_of(sizes: Sequence[tuple[int, int]], image_shape: Shape) -> list[float]:
    """The number of pixels of each picture (width, height) that make one of the model's images, whose shape their
    centres have."""
    _, height, width = image_shape
    return [min(size[0] / width, size[1] / height) for size in sizes]


def step_of_width(degradation: Degradation, width: float) -> int:
    """The t whose blur is nearest to a width in pixels of the model's images.

    Raises:
        UserError: the blur never is of this width, or the degradation is none.
    """
    table = widths(degradation)
    if table is None:
        raise UserError(f"`blur` is the width of a blur, and {degradation.name} is none; say with `t` how far it goes")
    narrowest, widest = float(table[1]), float(table[-1])
    if not narrowest / 2 <= width <= widest * 1.01:
        raise UserError(
            f"`blur` is {width:.3g} pixels of the model's images, and {degradation.name} is {narrowest:.3g} to "
            f"{widest:.3g} (t = 1..{degradation.T})"
        )
    return 1 + int((table[1:] - width).abs().argmin())


def exact_blur(width: float, image_shape: Shape) -> Degradation:
    """The Gaussian blur of a width in pixels, as a degradation of one step, mirrored at the border.

    Raises:
        UserError: it is too wide.
    """
    schedule = Component.model_validate({"name": "constant", "T": 1, "beta": width**2})
    return degradation_of(image_shape, Component(name="heat"), schedule=schedule)


def width_note(degradation: Degradation, t: int, scales: Sequence[float]) -> str | None:
    """The width of the blur at t in words, in pixels of the pictures; None of another degradation."""
    table = widths(degradation)
    if table is None:
        return None
    width = float(table[t])
    step = "" if degradation.T == 1 else f"t = {t}: "
    if max(scales) - min(scales) <= 0.01 * max(scales):
        return f"{step}a blur of {width * scales[0]:.2g} pixels"
    return f"{step}a blur of {width * min(scales):.2g} to {width * max(scales):.2g} pixels, by the size of the pictures"
