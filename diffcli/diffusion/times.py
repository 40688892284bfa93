"""The distributions of t in a training batch: pure functions from uniform numbers in [0, 1) to t in 1..T."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TIME_DISTRIBUTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda share: share,
    # t / T = sigmoid(standard normal): the middle of the way, where an image is decided, more often than its ends
    # (Esser et al. 2024, Eq. 19).
    "logit-normal": lambda share: torch.sigmoid(torch.special.ndtri(share)),
}


def draw_times(count: int, T: int, distribution: str, stratified: bool, generator: torch.Generator) -> Tensor:
    """t in 1..T, int64 (count,), on the generator's device.

    Args:
        distribution: of t / T, a key of ``TIME_DISTRIBUTIONS``.
        stratified: one draw from each of ``count`` equally likely intervals: the same distribution, but every batch is
            spread over it evenly, which makes the loss less noisy (Kingma et al. 2021, appendix I.1).
    """
    share = torch.rand(count, generator=generator, device=generator.device)
    if stratified:
        share = (torch.arange(count, device=generator.device) + share) / count
    return (TIME_DISTRIBUTIONS[distribution](share) * T).long().clamp(max=T - 1) + 1
