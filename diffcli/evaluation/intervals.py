"""95 % intervals of scores and of their differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffcli.evaluation.metrics import metric_of

Z = 1.959964
"""The standard normal's 97.5 % quantile."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval; both are the value where it is exact."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Interval:
        """A number that is known."""
        return cls(value, value, value)

    @classmethod
    def normal(cls, value: float, error: float) -> Interval:
        """The interval of an estimate with a standard error."""
        return cls(value, value - Z * error, value + Z * error)

    def times(self, factor: float) -> Interval:
        """Multiplied by a positive number."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def minus(self, other: Interval) -> Interval:
        """The difference to an independent estimate, from both intervals (Newcombe 1998, method 10; Zou & Donner
        2008)."""
        value = self.value - other.value
        down = math.hypot(self.value - self.low, other.high - other.value)
        up = math.hypot(self.high - self.value, other.value - other.low)
        return Interval(value, value - down, value + up)

    def __str__(self) -> str:
        exact = self.low == self.high
        return _short(self.value) if exact else f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


def _short(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:.3g}" if abs(number) < 999.5 else f"{number:.0f}"


def wilson(share: float, count: int) -> Interval:
    """The interval of a share of ``count`` independent cases (Wilson 1927): it stays in 0..1, and has a width at 0 and
    1, too."""
    denominator = 1 + Z**2 / count
    centre = (share + Z**2 / (2 * count)) / denominator
    half = Z / denominator * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def of_repeats(values: Sequence[float]) -> Interval:
    """The interval of the mean of independent repeats, at least two, by Student's t distribution: how far other seeds
    may lead."""
    from scipy.stats import t

    mean = math.fsum(values) / len(values)
    half = float(t.ppf(0.975, len(values) - 1)) * standard_deviation(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def standard_deviation(values: Sequence[float]) -> float:
    """The standard deviation of repeats, at least two."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def of_score(key: str, scores: Mapping[str, float], settings: Mapping[str, Any]) -> Interval:
    """The interval of a score of one evaluation: by its standard error; of a share by Wilson's interval, or by the
    error where that is wider; exact where neither is known."""
    value, error, metric = scores[key], scores.get(f"{key}_error"), metric_of(key)
    interval = Interval.exact(value) if error is None else Interval.normal(value, error)
    count = settings.get(metric.n) if metric is not None and metric.share else None
    if not count:
        return interval
    of_share = wilson(value, count)
    return Interval(value, max(0.0, min(interval.low, of_share.low)), min(1.0, max(interval.high, of_share.high)))
