"""Fidelity and variety of samples by nearest neighbours in feature space.

The manifold of a set is the union of balls about its members, each as wide as the distance to the k-th nearest other
member. Precision and recall (Kynkäänniemi et al. 2019, section 2; k = 3) ask for each image whether any ball holds it;
density and coverage (Naeem et al. 2020, section 3; k = 5) count balls of real images alone, so that a wild sample
widens nothing. Distances are computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3
"""The k of precision and recall."""
DENSITY_NEIGHBOURS = 5
"""The k of density and coverage."""
ROWS = 1000


def radii(features: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """The distance of each feature (N, F) to its k-th nearest other one, float64 (N,); of fewer than k others, to the
    farthest."""
    points = features.double()
    limits = []
    for start in range(0, len(points), ROWS):
        distances = torch.cdist(points[start : start + ROWS], points)
        indices = torch.arange(len(distances))
        distances[indices, start + indices] = math.inf
        limits.append(distances.kthvalue(min(k, len(points) - 1), dim=1).values)
    return torch.cat(limits)


@dataclass(frozen=True)
class Manifold:
    """Balls about the members of a set, at least two; their radii are computed once.

    Args:
        centres: float64 (N, F).
        limits: the radii, float64 (N,).
        k: the neighbour that a radius reaches to.
    """

    centres: Tensor
    limits: Tensor
    k: int

    @classmethod
    def of(cls, members: Tensor, k: int = NEIGHBOURS) -> Manifold:
        """The manifold of features (N, F), N at least 2."""
        return cls(members.double(), radii(members, k), min(k, len(members) - 1))

    def _inside(self, points: Tensor) -> Iterator[Tensor]:
        """A mask of the balls that hold each of points (M, F), bool (m, N) for a part of them at a time."""
        for part in points.double().split(ROWS):
            yield torch.cdist(part, self.centres) <= self.limits

    def share(self, points: Tensor) -> float:
        """The share of points (M, F) that any ball holds: of samples the precision, of real images the recall."""
        return float(torch.cat([inside.any(dim=1) for inside in self._inside(points)]).double().mean())

    def density(self, points: Tensor) -> float:
        """The mean number of balls that hold a point (M, F), over k: about 1 for points of the same distribution, and
        more where points crowd together where members do."""
        return float(torch.cat([inside.sum(dim=1) for inside in self._inside(points)]).double().mean()) / self.k

    def coverage(self, points: Tensor) -> float:
        """The share of balls that hold any of points (M, F)."""
        hits = torch.zeros(len(self.centres), dtype=torch.bool, device=self.centres.device)
        for inside in self._inside(points):
            hits |= inside.any(dim=0)
        return float(hits.double().mean())


def recall(real: Tensor, fake: Tensor) -> float:
    """The share of real images in the manifold of the samples: how much of their variety samples have. Features, (N,
    F)."""
    return Manifold.of(fake).share(real)
