"""How much a score of a set of samples would vary from one set to the next."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

GROUPS = 20
FEWEST = 3


def standard_error(score: Callable[[Tensor], float], samples: Tensor, seed: int) -> float | None:
    """The standard error of ``score(samples)`` by a grouped jackknife; None of fewer than three samples.

    The samples (N, ...) are dealt into 20 random groups, and the score is taken again without each of them in turn:
    se^2 = (g - 1) / g sum_j (score_j - mean)^2 (Efron & Tibshirani 1993, chapter 11). Why not the bootstrap: a Frechet
    distance is biased by about c / n, so that sets of another size, and sets with doubles, which tell as little as smaller
    ones, have another bias. Here all sets have the same size, N - N / 20, without doubles: the bias is that of the score
    itself but for a twentieth, the same for all, and leaves the differences alone. Its variance is never too small on average
    (Efron & Stein 1981): of a Frechet distance it is about right, of the recall by nearest neighbours a quarter to twice too
    large. With 20 groups, the error itself is good to about a sixth.

    What is measured is the variation by the samples. The real images they are compared with are the same for every model.

    Args:
        score: of samples (M, ...), M at least 2.
        seed: of the groups.
    """
    count = len(samples)
    if count < FEWEST:
        return None
    groups = min(GROUPS, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    group = torch.empty(count, dtype=torch.int64)
    group[order] = torch.arange(count) % groups
    without = torch.tensor([score(samples[group != j]) for j in range(groups)], dtype=torch.float64)
    return float(((groups - 1) / groups * (without - without.mean()).square().sum()).sqrt())


def mean_and_error(values: Tensor) -> tuple[float | None, float | None]:
    """The mean of values (N,) and its standard error; None of too few for either."""
    values = values.double()
    error = float(values.std(correction=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return (float(values.mean()) if len(values) else None), error


def with_error(key: str, values: Tensor) -> dict[str, float]:
    """The mean of values (N,) as a score, and its standard error beside it."""
    mean, error = mean_and_error(values)
    found = {key: mean, f"{key}_error": error}
    return {name: value for name, value in found.items() if value is not None}
