"""Precision and recall of samples by nearest neighbours in feature space (Kynkäänniemi et al. 2019, section 2).

The manifold of a set is the union of balls about its members, each as wide as the distance to the k-th nearest other member.
Distances are computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NEIGHBOURS = 3
"""The k of the paper's experiments."""
ROWS = 1000


def radii(features: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """The distance of each feature (N, F) to its k-th nearest other one, float64 (N,); of fewer than k others, to the
    farthest."""
    points = features.double()
    found = []
    for start in range(0, len(points), ROWS):
        distances = torch.cdist(points[start : start + ROWS], points)
        own = torch.arange(len(distances))
        distances[own, start + own] = math.inf
        found.append(distances.kthvalue(min(k, len(points) - 1), dim=1).values)
    return torch.cat(found)


def share_within(points: Tensor, members: Tensor, k: int = NEIGHBOURS) -> float:
    """The share of points (M, F) that lie in the manifold of ``members`` (N, F), N at least 2."""
    centres, limits = members.double(), radii(members, k)
    inside = [
        (torch.cdist(part, centres) <= limits).any(dim=1) for part in points.double().split(ROWS)
    ]  # of each point, whether any ball holds it
    return float(torch.cat(inside).double().mean())


def precision(real: Tensor, fake: Tensor) -> float:
    """The share of samples in the manifold of the real images: how many of them could be real. Features, (N, F)."""
    return share_within(fake, real)


def recall(real: Tensor, fake: Tensor) -> float:
    """The share of real images in the manifold of the samples: how much of their variety samples have. Features, (N, F)."""
    return share_within(real, fake)
