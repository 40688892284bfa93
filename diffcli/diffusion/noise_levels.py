"""Noise levels: T -> the table of sigma_t, for a preset that adds noise to a degradation that draws none of its own.

Every table is float64 of shape (T + 1,) with ``sigmas[0] = 0``. Levels are in units of pixels, whose range is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

Level = Annotated[float, Field(ge=0, le=100)]
PositiveLevel = Annotated[float, Field(ge=1e-6, le=100)]


def constant(T: int, sigma: PositiveLevel) -> Tensor:
    """sigma_t = sigma at every t >= 1: the small noise of inverse heat dissipation (Rissanen et al. 2022).

    Returns:
        sigmas, float64 (T + 1,).
    """
    return linear(T, sigma, sigma)


def linear(T: int, sigma_max: PositiveLevel, sigma_min: Level = 0.0) -> Tensor:
    """sigma_t = sigma_min + (sigma_max - sigma_min) t / T at t >= 1.

    Returns:
        sigmas, float64 (T + 1,).
    """
    sigmas = sigma_min + (sigma_max - sigma_min) * torch.arange(T + 1, dtype=torch.float64) / T
    sigmas[0] = 0.0
    return sigmas


def geometric(T: int, sigma_min: PositiveLevel, sigma_max: PositiveLevel) -> Tensor:
    """sigma_t grows by the same factor at each step, sigma_1 = sigma_min, sigma_T = sigma_max (Song & Ermon 2019,
    section 4).

    With T = 1 it is ``sigma_max``.

    Returns:
        sigmas, float64 (T + 1,).
    """
    shares = torch.arange(T, -1, -1, dtype=torch.float64) / max(T - 1, 1)
    sigmas = sigma_max * (sigma_min / sigma_max) ** (shares if T > 1 else 0 * shares)
    sigmas[0] = 0.0
    return sigmas


def sine(T: int, sigma_max: PositiveLevel = 1.0) -> Tensor:
    """sigma_t = sigma_max sin(pi t / (2 T)): the noise of blurring diffusion (Hoogeboom & Salimans 2022).

    That is the noise of the cosine schedule, here without its scaling of the image: the blur alone takes the image
    away. With ``sigma_max`` 1 nothing but the coarsest modes stands out of the noise at T.

    Returns:
        sigmas, float64 (T + 1,).
    """
    return sigma_max * torch.sin(torch.pi / 2 * torch.arange(T + 1, dtype=torch.float64) / T)


NOISE_LEVELS: dict[str, Callable[..., Tensor]] = {
    "constant": constant,
    "linear": linear,
    "geometric": geometric,
    "sine": sine,
}
