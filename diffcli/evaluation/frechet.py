"""The Frechet distance between two sets of features, (N, F) and (M, F), in float64 (Heusel et al. 2017, Eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (F,), and the centred features over sqrt(N - 1), (N, F), whose products are the covariance."""
    values = features.double()
    mean = values.mean(dim=0)
    return mean, (values - mean) / max(len(values) - 1, 1) ** 0.5


@dataclass(frozen=True)
class Reference:
    """A set of features that others are measured against; its covariance's root is computed once.

    Args:
        mean: (F,).
        root: the symmetric root of the covariance S, (F, F).
        trace: of the covariance.
    """

    mean: Tensor
    root: Tensor
    trace: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Reference:
        """The reference that features (N, F) make."""
        mean, centred = _moments(features)
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return cls(mean, root, centred.square().sum())

    def distance(self, features: Tensor) -> float:
        """|m - m'|^2 + tr S + tr S' - 2 tr (S^1/2 S' S^1/2)^1/2 to features (M, F).

        The last trace is that of the symmetric form, whose eigenvalues are real; it equals tr (S S')^1/2. Where M is
        less than F, the same eigenvalues are those of an M x M matrix.
        """
        mean, centred = _moments(features)
        product = centred @ self.root
        gram = product @ product.T if product.shape[0] < product.shape[1] else product.T @ product
        cross = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum()
        return float((mean - self.mean).square().sum() + self.trace + centred.square().sum() - 2 * cross)
