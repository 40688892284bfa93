"""The evidence of a measurement, where images are normal with the mean and the covariance of samples.

That is what decides between degradations, and between labels: log p(y) of y = A x + c + sigma eps, A and c known.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffcli.diffusion.measurements import Axes, Measurement, Operator, Pixelwise, to_double

WHITE = 0.2
"""The share of the samples' variance that is taken as white: a covariance of few samples knows too little of the
directions that none of them has (Ledoit & Wolf 2004)."""


def log_evidence(measurement: Measurement, samples: Tensor, *, white: float = WHITE) -> Tensor:
    """log p(y) in nats, float64 (B,), where x is N(m, (1 - white) S + white v): m, S and v are the mean, the covariance
    and the mean variance of the samples' pixels.

    Args:
        samples: images (M, C, H, W), at least 2.

    Raises:
        ValueError: the operator is of no kind whose determinant is known.
    """
    operator, noise = measurement.operator, measurement.noise
    x = to_double(samples)
    mean = x.mean(dim=0, keepdim=True)
    deviations = x - mean
    variance = white * float(deviations.square().mean()) + 1e-12
    factors = math.sqrt((1 - white) / (len(x) - 1)) * operator(deviations)  # (M, C, H, W)
    residual = measurement.residual(mean.expand_as(measurement.y))

    # Woodbury's identity and its determinant: D + F'F, D = white v A A' + sigma^2.
    solution = operator.solve(factors, variance, noise)
    gram = torch.eye(len(x), dtype=x.dtype, device=x.device) + factors.flatten(1) @ solution.flatten(1).T
    cholesky = torch.linalg.cholesky(0.5 * (gram + gram.T))
    projections = torch.linalg.solve_triangular(cholesky, solution.flatten(1) @ residual.flatten(1).T, upper=False)
    whole = (residual * operator.solve(residual, variance, noise)).flatten(1).sum(dim=1)
    log_determinant = _log_determinant(operator, variance, noise, residual[:1]) + 2 * cholesky.diagonal().log().sum()
    return -0.5 * (
        whole - projections.square().sum(dim=0) + log_determinant + residual[0].numel() * math.log(2 * math.pi)
    )


def _log_determinant(operator: Operator, variance: float, noise: float, like: Tensor) -> Tensor:
    """log det (variance A A' + noise) over images of the shape of ``like``, (1, C, H, W)."""
    if isinstance(operator, Axes):
        shares = operator.left
    elif isinstance(operator, Pixelwise) and len(operator.weights) == 1:
        shares = operator.weights
    else:
        raise ValueError("its determinant is not known: it acts neither on rows and columns nor on pixels")
    return (variance * shares.square() + noise).log().expand_as(like).sum()
