"""The evidence for the t of degraded images: the one that explains them best, by images that the model draws itself."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.evidence import log_evidence
from diffcli.diffusion.measurements import Measurement, measurement_at
from diffcli.inference.measuring import ROUNDING
from diffcli.utils.errors import UserError

CANDIDATES = 200
"""Steps that are tried, at most."""
TRUST = 0.5
"""The share of the evidence that counts: images are not normal, and t is found to be off by 1.4 times what all of it
says (100 digits blurred to t = 5, 20, 60 and 90)."""


def candidates_of(degradation: Degradation) -> list[int]:
    """The t that are tried: 1..T, or that many of them, evenly spread."""
    T = degradation.T
    count = min(T, CANDIDATES)
    return [(T * (i + 1) + count - 1) // count for i in range(count)]


def check_t_auto(degradation: Degradation) -> None:
    """Checks that the evidence of a degradation can be computed.

    Raises:
        UserError: it cannot.
    """
    y = torch.zeros(1, *degradation.image_shape, device=degradation.device)
    samples = torch.stack([y[0], y[0] + 0.1])
    try:
        log_evidence(_measurement(degradation, degradation.T, y, None), samples)
    except ValueError as error:
        raise UserError(f"`t` auto does not serve a {degradation.name}: {error}; give a number") from error


def _measurement(degradation: Degradation, t: int, y: Tensor, sigma: float | None) -> Measurement:
    noise = float(degradation.sigmas[t]) if sigma is None else sigma
    return measurement_at(degradation, t, y, sigma=max(noise, ROUNDING))


@torch.inference_mode()
def t_probabilities(degradation: Degradation, y: Tensor, samples: Tensor, sigma: float | None = None) -> Tensor:
    """p(t | y) over t = 0..T, float64 (T + 1,), of images that were degraded alike; 0 of a t that was not tried.

    Args:
        y: degraded images, float (N, C, H, W).
        samples: clean images that are like them, uint8 (M, C, H, W).
        sigma: of the noise on y; None is what the degradation adds. At least what 8 bits round away.
    """
    images = to_model(samples)
    candidates = candidates_of(degradation)
    evidence = [log_evidence(_measurement(degradation, t, y, sigma), images).sum() for t in candidates]
    probabilities = torch.zeros(degradation.T + 1, dtype=torch.float64)
    probabilities[candidates] = torch.softmax(TRUST * torch.stack(evidence).double().cpu(), dim=0)
    return probabilities


def spread_of(probabilities: Tensor) -> tuple[int, float]:
    """The most probable t, and the standard deviation of t."""
    t = torch.arange(len(probabilities), dtype=torch.float64)
    mean = (probabilities * t).sum()
    return int(probabilities.argmax()), float((probabilities * (t - mean).square()).sum().sqrt())
