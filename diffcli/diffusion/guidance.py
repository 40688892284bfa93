"""Wrappers of a denoiser: X0Function -> X0Function. A sampler asks for x0_hat and never knows what was wrapped."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

X0Function = Callable[[Tensor, Tensor], Tensor]
"""(xt (B, C, H, W), t int64 (B,) in 1..T) -> x0_hat (B, C, H, W)."""


def clipped(estimate: X0Function) -> X0Function:
    """``estimate`` clamped to the range of pixels, [-0.5, 0.5] (Ho et al. 2020's code; "static thresholding" in Saharia
    et al. 2022, section 2.3)."""
    return lambda xt, t: estimate(xt, t).clamp(-0.5, 0.5)
