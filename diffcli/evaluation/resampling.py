"""The standard errors of scores: how much one would vary from one set of samples to the next."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

GROUPS = 20
FEWEST = 3


def jackknife_groups(count: int, seed: int, labels: Tensor | None = None) -> Tensor | None:
    """The group of each of ``count`` samples, 0..19, int64 (count,); None of fewer than three samples.

    Samples of each label are dealt out in turn, in random order: a group has its share of every label to within one, as
    the samples themselves have where labels are asked for in turn. A group without that would vary by its labels, too.

    Args:
        seed: of the groups.
        labels: int64 (count,); None where samples have none, or where each drew its own.
    """
    if count < FEWEST:
        return None
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    if labels is not None:
        order = order[labels.cpu()[order].argsort(stable=True)]
    group = torch.empty(count, dtype=torch.int64)
    group[order] = torch.arange(count) % min(GROUPS, count)
    return group


def standard_error(
    score: Callable[[Tensor], float], samples: Tensor, seed: int, labels: Tensor | None = None
) -> float | None:
    """The standard error of ``score(samples)`` by a grouped jackknife; None of fewer than three samples.

    The samples (N, ...) are dealt into 20 random groups, each with its share of every label, and the score is taken
    again without each of them in turn: se^2 = (g - 1) / g sum_j (score_j - mean)^2 (Efron & Tibshirani 1993, chapter
    11). Why not the bootstrap: a Frechet distance is biased by about c / n, so that sets of another size, and sets with
    doubles, which tell as little as smaller ones, have another bias. Here all sets have the same size, N - N / 20,
    without doubles: the bias is that of the score itself but for a twentieth, the same for all, and leaves the
    differences alone. Its variance is never too small on average (Efron & Stein 1981): of a Frechet distance it is
    about right, of the recall by nearest neighbours a quarter to twice too large. With 20 groups, the error itself is
    good to about a sixth.

    What is measured is the variation by the samples. The real images they are compared with are the same for every
    model.

    Args:
        score: of samples (M, ...), M at least 2.
        seed: of the groups.
        labels: what the samples were asked for, int64 (N,), if their numbers are fixed; see :func:`jackknife_groups`.
    """
    group = jackknife_groups(len(samples), seed, labels)
    if group is None:
        return None
    scores = [score(samples[group != j]) for j in range(min(GROUPS, len(samples)))]
    return jackknife_error(torch.tensor(scores, dtype=torch.float64))


def jackknife_error(scores: Tensor) -> float:
    """The standard error of a score by its values without each group in turn, float64 (groups,): see
    :func:`standard_error`."""
    groups = len(scores)
    return float(((groups - 1) / groups * (scores - scores.mean()).square().sum()).sqrt())


def stratified_error(values: Tensor, labels: Tensor) -> float | None:
    """The standard error of the mean of values (N,) whose numbers by label, int64 (N,), are fixed: labels with one
    value vary as the others do together; None of fewer than two values.

    (Cochran 1977, section 5.3, with weights n_k / N.)
    """
    values, count = values.double(), len(values)
    if count < 2:
        return None
    _, strata, sizes = labels.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, strata, values) / sizes
    squares = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, strata, (values - means[strata]).square())
    has_pairs = sizes > 1
    if not has_pairs.any():
        return mean_and_error(values)[1]
    variances = squares / (sizes - 1).clamp(min=1)
    pooled_variance = squares.sum() / (count - len(sizes))
    variance = torch.where(has_pairs, variances, pooled_variance)
    return math.sqrt(float((sizes * variance).sum())) / count


def median_error(values: Tensor) -> float | None:
    """The standard error of the median of values (N,), from the order statistics a standard deviation of the number of
    values below it away (Woodruff 1952); None of fewer than three values."""
    count = len(values)
    if count < FEWEST:
        return None
    sorted_values, middle, half_width = values.double().sort().values, (count - 1) / 2, math.sqrt(count) / 2
    low, high = max(0, math.floor(middle - half_width)), min(count - 1, math.ceil(middle + half_width))
    return float(sorted_values[high] - sorted_values[low]) / 2 * (2 * half_width) / (high - low)


def mean_and_error(values: Tensor) -> tuple[float | None, float | None]:
    """The mean of values (N,) and its standard error; None of too few for either."""
    values = values.double()
    error = float(values.std(correction=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return (float(values.mean()) if len(values) else None), error


def with_error(key: str, values: Tensor) -> dict[str, float]:
    """The mean of values (N,) as a score, and its standard error beside it."""
    mean, error = mean_and_error(values)
    scores = {key: mean, f"{key}_error": error}
    return {name: value for name, value in scores.items() if value is not None}
