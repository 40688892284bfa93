"""The kernel distance between two sets of features, over all pairs, in float64 (Bińkowski et al. 2018, section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcli.evaluation.resampling import FEWEST, stratified_error

ROWS = 2000


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x . y / F + 1)^3 of features (N, F) and (M, F), (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_within(x: Tensor) -> float:
    """The mean kernel of all pairs of two different features of (N, F), N at least 2."""
    total = sum(float(_kernel(part, x).sum()) for part in x.split(ROWS))
    diagonal = float(((x.square().sum(dim=1) / x.shape[1] + 1) ** 3).sum())
    return (total - diagonal) / (len(x) * (len(x) - 1))


@dataclass(frozen=True)
class KernelReference:
    """A set of features that others are measured against.

    Args:
        features: float64 (N, F), N at least 2.
        mean_kernel: the mean kernel of two of them.
    """

    features: Tensor
    mean_kernel: float

    @classmethod
    def of(cls, features: Tensor) -> KernelReference:
        """The reference that features (N, F) make."""
        values = features.double()
        return cls(values, _mean_within(values))

    def _to(self, points: Tensor) -> Tensor:
        """The mean kernel of each of points (M, F) with the reference, (M,)."""
        return torch.cat([_kernel(part, self.features).mean(dim=1) for part in points.split(ROWS)])

    def distance(self, features: Tensor) -> float:
        """The unbiased estimate of the squared maximum mean discrepancy to features (M, F), M at least 2 (Gretton et
        al. 2012, Eq. 3): below 0 by chance where both are of one distribution."""
        points = features.double()
        return self.mean_kernel + _mean_within(points) - 2 * float(self._to(points).mean())

    def error(self, features: Tensor, labels: Tensor | None = None) -> float | None:
        """The standard error of :meth:`distance` by samples; None of fewer than three.

        The distance is a mean over pairs of samples, h(y, y') = k(y, y') - c(y) - c(y') with c the mean kernel with the
        reference. Its variance is four times that of the mean of r, the mean of h over partners, which counts twice
        what only pairs have, the part phi of h that is left when rows and columns have mean 0: near a distance of 0
        that is all there is (Serfling 1980, section 5.2.1). So 2 E phi^2 / M^2 is taken off.

        Args:
            features: (M, F).
            labels: what the samples were asked for, int64 (M,), if their numbers are fixed: means are then taken by
                label.
        """
        count = len(features)
        if count < FEWEST:
            return None
        points = features.double()
        strata = torch.zeros(count, dtype=torch.int64) if labels is None else labels.cpu()
        _, strata, sizes = strata.to(points.device).unique(return_inverse=True, return_counts=True)
        member, cross = torch.nn.functional.one_hot(strata).double(), self._to(points)

        def pairs(rows: Tensor) -> Tensor:
            """h of some points with all, 0 of a point with itself, (m, M)."""
            values = _kernel(points[rows], points) - cross[rows][:, None] - cross
            values[torch.arange(len(rows)), rows] = 0
            return values

        parts = torch.arange(count, device=points.device).split(ROWS)
        sums = torch.cat([pairs(rows) @ member for rows in parts])  # of h over the partners of each label
        partners = sizes - member
        by_label = sums / partners.clamp(min=1)
        label_means = (member.T @ sums) / (member.T @ partners).clamp(min=1)
        phi = 0.0
        for rows in parts:
            row_strata = strata[rows]
            rest = (
                pairs(rows) - by_label[rows][:, strata] - by_label[:, row_strata].T + label_means[row_strata][:, strata]
            )
            rest[torch.arange(len(rows)), rows] = 0
            phi += float(rest.square().sum())
        linear = stratified_error((sums.sum(dim=1) / (count - 1)).cpu(), strata.cpu())
        assert linear is not None
        variance = 4 * linear**2 - 2 * phi / (count * (count - 1)) / count**2
        # Of labels with hardly any partners the rest is little: the error is not less than that of phi alone.
        return math.sqrt(max(variance, 2 * phi / (count * (count - 1)) / count**2))
