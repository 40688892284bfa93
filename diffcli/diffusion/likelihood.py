"""The variational bound on the likelihood of 8-bit images, for every degradation with noise:
docs/bits-per-dimension.md.

    -log p(x_0) <= E[log q(x_T | x_0) - log p(x_T)] + sum over t = 2..T of E[KL_t] + E[-log p(x_0 | x_1)],

    KL_t = KL(q(x_{t-1} | x_t, x_0) || q(x_{t-1} | x_t, x0_hat)): a squared error of x0_hat.

Everything is in nats per image; :func:`bits_per_dimension` divides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.special import log_ndtr

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.randomness import Noise

LEVELS = 255
"""Steps between the intensities of 8-bit images, over the range of pixels."""
PIXEL_VARIANCE = 1 / 12
"""The variance of white noise in the range of pixels, on which the information that a step takes is measured."""
EVEN_SHARE = 0.05
"""The share of the draws of t that fall on every step alike, so that none goes without."""
WIDTHS = (1e-4, 1.0)
"""Between which standard deviations the decoder's lies, for pixels of range 1."""

LogDensity = Callable[[Tensor], Tensor]
"""x_T (B, C, H, W) on the CPU -> log p(x_T) in nats, float64 (B,)."""


def why_unbounded(degradation: Degradation) -> str | None:
    """The reason why images have no likelihood under a degradation, in words; None where they have one."""
    if not degradation.stochastic:
        return f"a {degradation.name} without noise is deterministic, and its images have no likelihood (report 3.2)"
    still = (degradation.sigmas[1:] == 0).nonzero().flatten()
    if len(still):
        return (
            f"this {degradation.name} draws no noise at t = {int(still[0]) + 1}: images have a likelihood where "
            "each step does"
        )
    return None


def bits_per_dimension(nats: Tensor, image_shape: Sequence[int]) -> Tensor:
    """Nats per image as bits per pixel and channel."""
    return nats / (math.log(2) * math.prod(image_shape))


def pixel_cost(x0: Tensor, x0_hat: Tensor, width: float) -> Tensor:
    """-log p(x_0 | x_1) of images at 8-bit levels, float64 (B,), on the CPU (Ho et al. 2020, Eq. 13).

    A Gaussian about x0_hat, as large as each level's interval holds of it; those of black and of white have no outer
    end.

    Args:
        width: the Gaussian's standard deviation.
    """
    x0, offset = x0.cpu().double(), (x0 - x0_hat).cpu().double()
    half = 0.5 / LEVELS
    low = torch.where(x0 < -0.5 + half, -torch.inf, (offset - half) / width)
    high = torch.where(x0 > 0.5 - half, torch.inf, (offset + half) / width)
    # Both ends on the left, where the logarithm of a small probability is exact.
    right = low + high > 0
    low, high = torch.where(right, -high, low), torch.where(right, -low, high)
    outer = log_ndtr(high)
    return -(outer + torch.log1p(-torch.exp(log_ndtr(low) - outer))).flatten(1).sum(dim=1)


def fit_width(x0: Tensor, x0_hat: Tensor) -> float:
    """The decoder's width that makes these images likeliest: the one number of the bound that is learnt, on training
    images."""
    low, high = WIDTHS
    for count in (25, 15):  # a coarse search, then a fine one: to within a twentieth
        widths = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64).tolist()
        costs = [float(pixel_cost(x0, x0_hat, width).sum()) for width in widths]
        best = costs.index(min(costs))
        low, high = widths[max(best - 1, 0)], widths[min(best + 1, count - 1)]
    return widths[best]


def error_weights(degradation: Degradation) -> Tensor:
    """(a, b, c) of KL_t = (a |S|^2 - 2 b S.Q + c |Q|^2) / 2, float64 (T + 1, 3); those of t = 0 and 1 stand for
    nothing.

    S = A_{t-1} (x_0 - x0_hat) / sigma_{t-1} and Q = A_t (x_0 - x0_hat) / sigma_t. Where the degradation knows its
    ``step_norms`` the process is a chain, and KL_t = (|S|^2 - |Q|^2) / 2; else a share m of the noise of x_t is kept in
    x_{t-1}, as the cold sampler does, and KL_t = |S - m Q|^2 / (2 (1 - m^2)), m the best for an image of white noise.
    """
    sigmas, norms = degradation.sigmas.double(), degradation.step_norms()
    weights = torch.zeros(degradation.T + 1, 3, dtype=torch.float64)
    if norms is not None:
        # Where a direction gains in its ratio of signal to noise, as if x_t had that much more noise.
        gain = norms[2:].double() * sigmas[1:-1] / sigmas[2:]
        weights[2:, 0], weights[2:, 2] = 1, -1 / gain.clamp(min=1).square()
        return weights
    for t in torch.arange(2, degradation.T + 1).split(100):
        at_t = t.to(degradation.device)
        s, q = (
            (degradation.white_noise_left(step).cpu().double() / sigmas[step.cpu()].view(-1, 1, 1, 1)).flatten(1)
            for step in (at_t - 1, at_t)
        )
        total, shared = (s.square() + q.square()).sum(dim=1), (s * q).sum(dim=1)
        root = (total.square() - 4 * shared.square()).clamp(min=0).sqrt()
        m = (2 * shared / (total + root).clamp(min=1e-300)).clamp(0, 1 - 1e-6)
        weights[t] = torch.stack([torch.ones_like(m), m, m.square()], dim=1) / (1 - m.square())[:, None]
    return weights


def step_shares(degradation: Degradation) -> Tensor:
    """The probability with which each t is drawn, float64 (T + 1,), 0 for t < 2: by how much a step takes of what x_t
    tells.

    That is the difference of log(1 + SNR), SNR the ratio of signal to noise of white noise in the range of pixels.
    """
    steps = torch.arange(1, degradation.T + 1)
    power = torch.cat([degradation.power(t.to(degradation.device)).cpu().double() for t in steps.split(100)])
    information = torch.log1p(PIXEL_VARIANCE * power / degradation.sigmas[1:].double().square())
    drops = (information[:-1] - information[1:]).clamp(min=0)
    total = float(drops.sum())
    even = torch.full_like(drops, 1 / max(len(drops), 1))
    shares = (1 - EVEN_SHARE) * drops / total + EVEN_SHARE * even if total > 0 else even
    return torch.cat([torch.zeros(2, dtype=torch.float64), shares])


@dataclass(frozen=True)
class Costs:
    """The parts of the bound, nats per image, float64 (B,) each."""

    prior: Tensor
    kl: Tensor
    pixels: Tensor

    @property
    def total(self) -> Tensor:
        return self.prior + self.kl + self.pixels


class LikelihoodBound:
    """The bound for a degradation, with a number of network evaluations for each image.

    One evaluation is at t = 1; the others are drawn from 2..T by :func:`step_shares`, one in each of as many strata of
    equal share, and the sum over t is estimated without bias. T evaluations are the sum itself.

    Args:
        evaluations: in 2..T; 1 where T is 1.

    Raises:
        ValueError: images have no likelihood, or the evaluations are out of range.
    """

    def __init__(self, degradation: Degradation, evaluations: int) -> None:
        if reason := why_unbounded(degradation):
            raise ValueError(reason)
        T = degradation.T
        fewest = min(T, 2)
        if not fewest <= evaluations <= T:
            raise ValueError(f"must be in {fewest}..{T}, T being the exact sum, got {evaluations}")
        self.degradation = degradation
        self.draws = evaluations - 1
        self.weights = error_weights(degradation)
        self.shares = step_shares(degradation)

    def steps(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(t, what KL_t counts), int64 and float64 (draws,): the terms of one image."""
        T = self.degradation.T
        if self.draws == T - 1:
            return torch.arange(2, T + 1), torch.ones(self.draws, dtype=torch.float64)
        places = torch.arange(self.draws) + torch.rand(self.draws, generator=generator, dtype=torch.float64)
        t = torch.bucketize(places / self.draws, self.shares.cumsum(dim=0), right=True).clamp(max=T)
        return t, 1 / (self.draws * self.shares[t])

    def kl(self, x0: Tensor, x0_hat: Tensor, t: Tensor) -> Tensor:
        """KL_t in nats, float64 (B,) on the CPU, for t in 2..T, int64 (B,)."""
        nothing = torch.zeros_like(x0)

        def signal_error(step: Tensor) -> Tensor:
            # A_t is linear but for a constant, which the difference is free of.
            signal, other = (self.degradation.degrade(images, step, nothing) for images in (x0, x0_hat))
            sigma = self.degradation.sigmas.double()[step.cpu()].view(-1, 1)
            return (signal - other).flatten(1).cpu().double() / sigma

        s, q = signal_error(t - 1), signal_error(t)
        a, b, c = self.weights[t.cpu()][:, :, None].unbind(dim=1)
        return 0.5 * (a * s.square() - 2 * b * s * q + c * q.square()).sum(dim=1)

    def costs(
        self,
        estimate: X0Function,
        x0: Tensor,
        generators: Sequence[torch.Generator],
        width: float,
        log_prior: LogDensity,
    ) -> Costs:
        """The bound of images (B, C, H, W) at 8-bit levels, each with its own generator.

        Args:
            estimate: x0_hat.
            width: of the decoder, see :func:`fit_width`.
        """
        draws, counts = zip(*(self.steps(generator) for generator in generators), strict=True)
        noise = Noise(generators, tuple(x0.shape[1:]), x0.device, calls=2 + self.draws)
        prior = self._prior_cost(x0, noise(), log_prior)
        kl = torch.zeros_like(prior)
        pixels = pixel_cost(x0, first_estimate(estimate, self.degradation, x0, noise()), width)
        for t, count in zip(torch.stack(draws, dim=1), torch.stack(counts, dim=1), strict=True):
            at_t = t.to(x0.device)
            xt = self.degradation.degrade(x0, at_t, noise())
            # Pixels are known to be in their range, so the estimate may be.
            kl += count * self.kl(x0, estimate(xt, at_t).clamp(-0.5, 0.5), at_t)
        return Costs(prior, kl, pixels)

    def _prior_cost(self, x0: Tensor, noise: Tensor, log_prior: LogDensity) -> Tensor:
        """log q(x_T | x_0) - log p(x_T) at one x_T: what is random in both cancels."""
        T = self.degradation.T
        sigma = float(self.degradation.sigmas[T])
        xT = self.degradation.degrade(x0, torch.full((len(x0),), T, device=x0.device), noise)
        normal = noise.flatten(1).cpu().double().square() + math.log(2 * math.pi)
        return -(0.5 * normal + math.log(sigma)).sum(dim=1) - log_prior(xT.cpu())


def first_estimate(estimate: X0Function, degradation: Degradation, x0: Tensor, noise: Tensor) -> Tensor:
    """x0_hat from x_1 with that noise, (B, C, H, W), whose ends may lie beyond the range of pixels: black is likeliest
    under a Gaussian that does."""
    at_1 = torch.ones(len(x0), dtype=torch.int64, device=x0.device)
    return estimate(degradation.degrade(x0, at_1, noise), at_1)
