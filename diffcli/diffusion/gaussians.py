"""Densities of Gaussians that vary along a few directions, and by as much along all others."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mixture_log_density(
    x: Tensor, basis: Tensor, means: Tensor, factors: Tensor, log_weights: Tensor, sigma: float
) -> Tensor:
    """log of the density of ``basis' (means_k + factors_k z) + sigma eps``, k drawn by its weight, in nats, float64
    (B,).

    Args:
        x: (B, D).
        basis: (K, D), K at most D; its rows need not be orthogonal.
        means: (N, K).
        factors: (N, K, K).
        log_weights: (N,), or (B, N) where each has its own.
        sigma: positive.
    """
    x, basis, means, factors = (table.double() for table in (x, basis, means, factors))
    directions, lengths = torch.linalg.qr(basis.T)  # (D, K), (K, K)
    coordinates = x @ directions
    rest = (x.square().sum(dim=1) - coordinates.square().sum(dim=1)).clamp(min=0)
    spread = lengths @ factors
    noise = sigma**2 * torch.eye(len(basis), dtype=torch.float64)
    cholesky = torch.linalg.cholesky(spread @ spread.mT + noise)  # (N, K, K)
    offsets = coordinates - (means @ lengths.T)[:, None]  # (N, B, K)
    standard_scores = torch.linalg.solve_triangular(cholesky, offsets.mT, upper=False)
    volume = cholesky.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    of_each = -0.5 * standard_scores.square().sum(dim=1) - volume[:, None]  # (N, B)
    of_mixture = torch.logsumexp(of_each.T + log_weights.double(), dim=1)
    others = x.shape[1] - len(basis)
    return of_mixture - 0.5 * rest / sigma**2 - others * math.log(sigma) - 0.5 * x.shape[1] * math.log(2 * math.pi)
