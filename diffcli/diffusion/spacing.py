"""The times at which a sampler's steps lie."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.samplers import timesteps

MOST, LEAST = 1e3, 6e-5
"""Ratios of signal to noise between which steps are spread: above, noise is below what pixels show; below, nothing is
seen."""


def spaced(degradation: Degradation, steps: int | None, spacing: str = "even", start: int | None = None) -> list[int]:
    """``steps + 1`` integers that descend from ``start`` to 0; all of them where ``steps`` is None.

    ``even`` spreads them over t, ``log-snr`` over the logarithm of the signal-to-noise ratio (as DPM-Solver's are, Lu
    et al. 2022, section 3.2), so that no step changes much of the image at once where the schedule is steep.

    Args:
        start: in 1..T; None is T.

    Raises:
        ValueError: ``steps`` is not in 1..start, or the degradation has no signal-to-noise ratio.
    """
    T = degradation.T if start is None else start
    path = timesteps(T, steps)
    if spacing == "even" or len(path) > T:
        return path
    ratios = degradation.snr(torch.arange(1, T + 1, device=degradation.device))
    if ratios is None:
        raise ValueError(f"spacing {spacing} needs a signal-to-noise ratio, which {degradation.name} has not")
    return [T, *_descending(_nearest(ratios.double().cpu().log(), len(path) - 1), T), 0]


def _nearest(log_snr: Tensor, count: int) -> list[int]:
    """The t in 1..T whose log SNR, (T,), comes nearest to each of ``count`` evenly spaced ones, the first left out."""
    targets = torch.linspace(max(float(log_snr[-1]), math.log(LEAST)), min(float(log_snr[0]), math.log(MOST)), count)
    return [int((log_snr - value).abs().argmin()) + 1 for value in targets[1:]]


def _descending(times: list[int], T: int) -> list[int]:
    """``times`` moved as little as makes them descend, each by 1 at least, from below ``T`` to 1 at least."""
    path, before = [], T
    for index, t in enumerate(times):
        before = max(min(t, before - 1), len(times) - index)
        path.append(before)
    return path
