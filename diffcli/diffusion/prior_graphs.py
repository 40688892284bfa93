"""Priors as deterministic functions of random numbers, for export to programs without the priors."""

from __future__ import annotations

import math

from torch import Tensor, nn

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.labels import NO_LABEL
from diffcli.diffusion.priors import Mixture, Prior, StandardNormal, Uniform

BELOW_ONE = 1 - 1e-6
"""So that a share of all weights, rounded, is less than all."""


def has_graph(prior: Prior) -> bool:
    """Whether a prior's draws are a function of random numbers that can be written down."""
    return isinstance(prior, (Mixture, Uniform, StandardNormal))


class StartGraph(nn.Module):
    """x_T from random numbers: (uniform in [0, 1), normal, noise, labels) -> (B, C, H, W).

    ``uniform`` (B,) chooses one of a mixture's Gaussians, ``normal`` (B, C, H, W) is a place in it, and ``noise`` (B,
    C, H, W) is what the degradation, or the prior, adds. What a prior does not need is not looked at.

    Args:
        prior: fitted.
        degradation: whose sigma_T is added to what a prior of the signal draws.
        measurement: standard deviation of the measurement noise that is added then, too.

    Raises:
        ValueError: there is none for this prior: it draws copies of training images, or is a plug-in's.
    """

    def __init__(self, prior: Prior, degradation: Degradation, measurement: float = 0.0) -> None:
        super().__init__()
        if not has_graph(prior):
            raise ValueError("it draws copies of training images, or is a plug-in's")
        sigma = math.hypot(float(degradation.sigmas[degradation.T]), measurement) if prior.of_signal else 1.0
        self.signal: nn.Module | None = None
        if isinstance(prior, Mixture):
            self.signal = _MixtureSignal(prior)
        elif isinstance(prior, Uniform):
            self.signal = _FlatSignal(prior)
            sigma = math.hypot(sigma, prior.noise)
        self.sigma = sigma

    def forward(self, uniform: Tensor, normal: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        scaled_noise = self.sigma * noise
        return scaled_noise if self.signal is None else self.signal(uniform, normal, label) + scaled_noise


class _FlatSignal(nn.Module):
    def __init__(self, prior: Uniform) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, uniform: Tensor, normal: Tensor, label: Tensor | None) -> Tensor:
        """Flat images: as :class:`Uniform` without its noise."""
        levels = self.prior.mean + normal[:, :, 0, 0] @ self.prior.factor.T
        return levels[:, :, None, None].expand_as(normal)


class _MixtureSignal(nn.Module):
    def __init__(self, prior: Mixture) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, uniform: Tensor, normal: Tensor, label: Tensor | None) -> Tensor:
        """Draws as :class:`Mixture` does: Gaussians are chosen by ``uniform``, and drawn from by the first numbers of
        ``normal``."""
        prior = self.prior
        weights = prior.weights.expand(uniform.shape[0], -1)  # not len(), which a graph takes for a constant
        if label is not None:
            matches = prior.labels == label[:, None]
            unconditional = (label == NO_LABEL) | ~matches.any(dim=1)
            weights = weights * (matches | unconditional[:, None])
        cumulative = weights.cumsum(dim=1)
        components = (cumulative <= BELOW_ONE * uniform[:, None] * cumulative[:, -1:]).sum(dim=1)
        place = normal.flatten(1)[:, : len(prior.modes), None]
        coordinates = prior.means[components] + (prior.factors[components] @ place)[:, :, 0]
        return (coordinates @ prior.modes + prior.mean).view(normal.shape)
