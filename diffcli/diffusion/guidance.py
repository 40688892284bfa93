"""Wrappers of a denoiser: X0Function -> X0Function. A sampler asks for x0_hat and never knows what was wrapped."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.compiler import is_exporting

from diffcli.diffusion.labels import NO_LABEL

X0Function = Callable[[Tensor, Tensor], Tensor]
"""(xt (B, C, H, W), t int64 (B,) in 1..T, on the CPU or where xt is) -> x0_hat (B, C, H, W)."""

LabelledX0Function = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(xt, t, labels int64 (B,), -1 for none) -> x0_hat: a :class:`~diffcli.diffusion.denoiser.Denoiser` is one."""

CPU_BATCH = 16
"""Two calls with more images than this fit a CPU's caches better than one call with twice as many."""
Interval = tuple[float, float]
"""The lowest and the highest t at which an estimate is guided; at the others the model's own is used."""


def with_clipping(estimate: X0Function) -> X0Function:
    """``estimate`` clamped to the range of pixels, [-0.5, 0.5] (Ho et al. 2020's code; "static thresholding" in Saharia
    et al. 2022, section 2.3)."""
    return lambda xt, t: estimate(xt, t).clamp(-0.5, 0.5)


def with_labels(estimate: LabelledX0Function, labels: Tensor) -> X0Function:
    """``estimate`` for images of these labels, int64 (B,)."""
    return lambda xt, t: estimate(xt, t, labels)


def with_autoguidance(
    estimate: X0Function, guide: X0Function, weight: float, interval: Interval | None = None
) -> X0Function:
    """x0_hat = guide + w (estimate - guide): away from what a worse model gets wrong (Karras et al. 2024, Eq. 4).

    Args:
        guide: a model that has the same faults as ``estimate``, but larger: less trained, for example.
        weight: w; 1 is ``estimate`` and 0 is ``guide``, one evaluation each, where others take two.
        interval: of t; None is everywhere.
    """
    return _with_extrapolation(estimate, guide, lambda xt, t: (estimate(xt, t), guide(xt, t)), weight, interval)


def classifier_free(
    estimate: LabelledX0Function, labels: Tensor, weight: float, interval: Interval | None = None
) -> X0Function:
    """x0_hat = none + w (labelled - none): further into the class (Ho & Salimans 2022, Eq. 6, whose w is ours - 1).

    Args:
        labels: int64 (B,).
        weight: w; 1 is the labelled estimate and 0 the one without labels, one evaluation each; others take two, as one
            call with twice the images where that is faster.
        interval: of t (Kynkäänniemi et al. 2024); None is everywhere.
    """
    none = torch.full_like(labels, NO_LABEL)
    labelled, unlabelled = with_labels(estimate, labels), with_labels(estimate, none)

    def estimates(xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        # A graph for other programs serves every batch size, and knows none.
        if xt.device.type == "cpu" and (is_exporting() or len(xt) > CPU_BATCH):
            return labelled(xt, t), unlabelled(xt, t)
        x0_hats = estimate(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([labels, none]))
        return x0_hats[: len(xt)], x0_hats[len(xt) :]

    return _with_extrapolation(labelled, unlabelled, estimates, weight, interval)


def _with_extrapolation(
    estimate: X0Function,
    guide: X0Function,
    estimates: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    weight: float,
    interval: Interval | None,
) -> X0Function:
    """guide + w (estimate - guide) in the interval, ``estimate`` outside; only what is needed is evaluated."""
    if weight == 1:
        return estimate

    def extrapolation(xt: Tensor, t: Tensor) -> Tensor:
        x0_hat, guide_x0_hat = estimates(xt, t)
        return guide_x0_hat + weight * (x0_hat - guide_x0_hat)

    guided = guide if weight == 0 else extrapolation
    if interval is None:
        return guided
    low, high = interval

    def in_interval(xt: Tensor, t: Tensor) -> Tensor:
        inside = (t >= low) & (t <= high)  # read where it is: samplers have t on the CPU
        if not is_exporting():  # a graph cannot look at values
            if not bool(inside.any()):
                return estimate(xt, t)
            if bool(inside.all()):
                return guided(xt, t)
        return torch.where(inside.to(xt.device).view(-1, 1, 1, 1), guided(xt, t), estimate(xt, t))

    return in_interval
