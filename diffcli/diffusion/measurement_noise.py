"""Measurement noise: what a file or a sensor adds to x_t, of a level that a denoiser is trained for and told.

x_t = A_t x_0 + sigma_t eps is a degradation's; what is read from a file is y = x_t + sigma eps', and sigma belongs to
the image. A denoiser that is told sigma serves both a clean x_t and one of 8 bits (as "noise level map" in FFDNet,
Zhang et al. 2018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST = 3e-4
"""The standard deviation below which noise hardly matters, where pixels have the range 1: at it, a Wiener filter's
resolution is that of an image without noise."""


def level_of(sigma: Tensor, largest: float) -> Tensor:
    """A standard deviation in 0..largest as a number in 0..1 that a network can be told, log(1 + sigma / LEAST)
    scaled."""
    return torch.log1p(sigma / LEAST) / math.log1p(largest / LEAST)


def sigma_of(level: Tensor, largest: float) -> Tensor:
    """The standard deviation of a level in 0..1, the inverse of :func:`level_of`: a level drawn evenly gives clean
    images, faint noise and strong noise alike."""
    return LEAST * torch.expm1(level * math.log1p(largest / LEAST))
