"""The content of the tab *Why*: how a trajectory comes about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.inference.model import Model
from diffcli.play.drawing import COMPUTING, in_turn, time_steps_of

COLUMNS = 8
"""Moments of a trajectory, and degrees of degradation."""
DRAWS = 8
FAINTEST = 1e-6
"""The least difference that is told apart of pixels of unit range; float32 rounds below."""


class Moment(NamedTuple):
    """An image on its way, float (C, H, W) each."""

    t: int
    xt: Tensor
    x0_hat: Tensor | None
    """The network's estimate of the clean image; None where it was not asked."""


@dataclass(frozen=True)
class Explanation:
    """The explanation so far; the tensors are float, with pixels in about [-0.5, 0.5]."""

    draws: Tensor
    """x_T of the prior, (8, C, H, W)."""
    moments: Sequence[Moment] = ()
    """The moments of the first draw, from T downwards."""
    left: Sequence[Moment] = ()
    """The moments of the image that the first draw became, degraded to t = 0..T."""
    images: Tensor | None = None
    """The images that the draws became, (8, C, H, W)."""


def explanation_steps(model: Model, options: dict[str, Any]) -> Iterator[Explanation]:
    """The sampling of eight images, whose first one is followed; then what the degradation leaves of it.

    Args:
        options: those of :meth:`Model.trajectory`.

    Raises:
        UserError: an option is out of range or does not fit the model.
    """
    steps, path = in_turn(model.trajectory(DRAWS, **options)), time_steps_of(model, options)
    columns = set(evenly_chosen(path[:-1]))

    def explanations() -> Iterator[Explanation]:
        xt = next(steps).xs.cpu()
        t, so_far = path[0], Explanation(xt)
        yield so_far
        for step in steps:
            if t in columns:
                so_far = replace(so_far, moments=[*so_far.moments, Moment(t, xt[0], step.x0_hat[0].cpu())])
                yield so_far
            t, xt = step.s, step.xs.cpu()
        yield replace(so_far, left=left_of(model, to_uint8(xt[:1]), options.get("seed", 0)), images=xt)

    return explanations()


def left_of(model: Model, image: Tensor, seed: int = 0) -> list[Moment]:
    """An image, uint8 (1, C, H, W), degraded to eight t from 0 to T (fewer where T is small)."""
    with COMPUTING:
        return [Moment(t, model.degrade(image, t, seed)[0], None) for t in evenly_chosen(range(model.T + 1))]


def evenly_chosen(steps: Sequence[int]) -> list[int]:
    """At most eight of these, evenly spread, both ends among them."""
    if len(steps) <= COLUMNS:
        return list(steps)
    return [steps[round(column * (len(steps) - 1) / (COLUMNS - 1))] for column in range(COLUMNS)]


def stretch_contrast(image: Tensor) -> tuple[Tensor, float]:
    """An image, float (C, H, W), from black to white; and how many times its contrast was raised for that.

    An image without contrast becomes mid-grey, and the number infinite.
    """
    low, high = image.min(), image.max()
    span = float(high - low)
    if span < FAINTEST:
        return torch.zeros_like(image), float("inf")
    return (image - low) / span - 0.5, 1 / span
