"""Noise schedules: T -> the table of beta_t.

Every table is float64 of shape (T + 1,) with ``betas[0] = 0``, so that ``t = 0`` is the clean image and the index
is t itself; ``betas[1:]`` are positive. What a beta means is the degradation's affair (the variance of noise, or of a
blur in pixels), and so is its upper bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from torch import Tensor
from torch.nn.functional import pad

MAX_STEPS = 100_000
PERCENTAGE = re.compile(r"(\d+(?:\.\d+)?)%")


def checked_width(width: Any) -> float | str:
    """A width as presets write it: a number of pixels, or a percentage of the image's side.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(width, (int, float)) and not isinstance(width, bool):
        return float(width)
    if isinstance(width, str) and PERCENTAGE.fullmatch(width):
        return width
    raise PydanticCustomError(
        "width", "a width is a number of pixels, or a percentage of the image's shorter side, for example 14%"
    )


Width = Annotated[Any, AfterValidator(checked_width)]
"""float or str, see :func:`checked_width`."""


def _check(T: int, *, positive: Mapping[str, float] | None = None, shares: Mapping[str, float] | None = None) -> None:
    """Checks the number of steps, and arguments by name: those that are positive, and those in (0, 1)."""
    if not 1 <= T <= MAX_STEPS:
        raise ValueError(f"T must be in 1..{MAX_STEPS}, got {T}")
    for name, value in (shares or {}).items():
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie in (0, 1), got {value}")
    for name, value in (positive or {}).items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive, got {value}")


def constant(T: int, beta: float) -> Tensor:
    """beta_t = beta (report 2.3.1).

    Args:
        T: number of steps, at least 1.
        beta: variance of each step, positive.

    Returns:
        betas, float64 (T + 1,).

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(T, positive={"beta": beta})
    return pad(torch.full((T,), beta, dtype=torch.float64), (1, 0))


def linear(T: int, beta_min: float = 1e-4, beta_max: float = 0.02) -> Tensor:
    """A line from beta_1 = beta_min to beta_T = beta_max (report Eq. 3; Ho et al. 2020, section 4).

    The line's ends are those of Ho et al., whose alpha_T for (1e-4, 0.02, T = 1000) is 4.0358e-5; Eq. 3 read to the
    letter starts it at t = 0, outside the table, and gives 3.9956e-5.

    Args:
        T: number of steps, at least 1.
        beta_min: beta_1, positive.
        beta_max: beta_T, at least beta_min.

    Returns:
        betas, float64 (T + 1,).

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(T, positive={"beta_min": beta_min, "beta_max": beta_max})
    if beta_max < beta_min:
        raise ValueError(f"beta_max must be at least beta_min, got {beta_max} < {beta_min}")
    return pad(torch.linspace(beta_min, beta_max, T, dtype=torch.float64), (1, 0))


def cosine(T: int, s: float = 0.008, beta_clip: float = 0.999, shift: float = 1.0) -> Tensor:
    """alpha_t = f(t) / f(0), f(t) = cos^2((t / T + s) / (1 + s) pi / 2) (Nichol & Dhariwal 2021, Eq. 17), shifted.

    The schedule was made for pixels in [-1, 1]; ours span half of that, which is the same as noise twice as strong, and
    small images hide under less noise than large ones. A shift undoes that. On MNIST it did not pay:
    docs/benchmarks.md.

    Args:
        T: number of steps, at least 1.
        s: offset that keeps beta_t from vanishing near t = 0, in (0, 1).
        beta_clip: upper bound of beta_t, in (0, 1); keeps the last step from being singular.
        shift: multiplies the ratio of signal to noise amplitude at every t, positive (Hoogeboom et al. 2023, section
            3.1).

    Returns:
        betas, float64 (T + 1,).

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(T, positive={"shift": shift}, shares={"s": s, "beta_clip": beta_clip})
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + s) / (1 + s) * math.pi / 2).square()
    alphas = f / f[0]
    alphas = shift**2 * alphas / (shift**2 * alphas + 1 - alphas)
    return pad((1 - alphas[1:] / alphas[:-1]).clamp(max=beta_clip), (1, 0))


def log_widths(
    T: int, width_min: Width = 0.5, width_max: Width = 20.0, *, image_shape: tuple[int, int, int] | None = None
) -> Tensor:
    """A blur whose total width grows by the same factor at each step: w_1 = width_min, ..., w_T = width_max.

    beta_t = w_t^2 - w_{t-1}^2, w_0 = 0; the defaults are those of inverse heat dissipation for MNIST (Rissanen et al.
    2022, their code). A width is in pixels, or in percent of the image's shorter side, ``14%``: so one preset takes as
    much away from images of any size.

    Args:
        T: number of steps, at least 1; a single one is of ``width_max``.
        width_min: standard deviation of the first step's blur, positive.
        width_max: of all steps' blur together, more than ``width_min``.
        image_shape: (C, H, W), whose side percentages are of.

    Returns:
        betas, float64 (T + 1,).

    Raises:
        ValueError: an argument is out of its range, or a percentage comes without ``image_shape``.
    """
    smallest, largest = (_in_pixels(width, image_shape) for width in (width_min, width_max))
    _check(T, positive={"width_min": smallest, "width_max": largest})
    if largest <= smallest:
        pixels = f"{width_max} <= {width_min}"
        if isinstance(width_min, str) or isinstance(width_max, str):
            pixels += f", in pixels {largest:.3g} <= {smallest:.3g}"
        raise ValueError(f"width_max must be more than width_min, got {pixels}")
    shares = torch.arange(T - 1, -1, -1, dtype=torch.float64) / max(T - 1, 1)
    widths = largest * (smallest / largest) ** shares
    return pad(widths.square(), (1, 0)).diff(prepend=torch.zeros(1, dtype=torch.float64))


def _in_pixels(width: float | str, image_shape: tuple[int, int, int] | None) -> float:
    if not isinstance(width, str):
        return width
    match = PERCENTAGE.fullmatch(width)
    if match is None or image_shape is None:
        raise ValueError(f"a width of {width} needs the `image_shape` that it is a percentage of")
    return float(match[1]) / 100 * min(image_shape[1:])


def from_values(values: list[float]) -> Tensor:
    """beta_t one by one, such as a table that another program trained with.

    Args:
        values: beta_1 to beta_T, each positive.

    Returns:
        betas, float64 (T + 1,).

    Raises:
        ValueError: there are none, too many, or one is not positive.
    """
    _check(len(values), positive={f"beta_{t}": value for t, value in enumerate(values, start=1)})
    return pad(torch.tensor(values, dtype=torch.float64), (1, 0))


def betas_of(alphas: Tensor) -> list[float]:
    """The values of :func:`from_values` whose products are alpha_1 to alpha_T, float64 (T,)."""
    before = pad(alphas[:-1], (1, 0), value=1.0)
    return (1 - alphas / before).tolist()


SCHEDULES: dict[str, Callable[..., Tensor]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "log-widths": log_widths,
    "betas": from_values,
}
