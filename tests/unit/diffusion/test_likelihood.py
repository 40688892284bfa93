"""The bound on the likelihood: closed forms of Gaussian data, dense linear algebra, unbiased estimates."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from diffcli.diffusion.degradations import DEGRADATIONS, Degradation, GaussianBlur, GaussianNoise
from diffcli.diffusion.degradations.heat import cosine_basis
from diffcli.diffusion.likelihood import (
    LikelihoodBound,
    bits_per_dimension,
    error_weights,
    first_estimate,
    fit_width,
    why_unbounded,
)
from diffcli.diffusion.noise_levels import NOISE_LEVELS
from diffcli.diffusion.randomness import Stream, generator_for, image_generators, randn_images
from diffcli.diffusion.schedules import constant, linear, log_widths

SHAPE = (1, 8, 8)
D = 64


def with_noise(degradation: Degradation, name: str, **parameters: float) -> Degradation:
    degradation.sigmas = NOISE_LEVELS[name](T=degradation.T, **parameters)
    return degradation


def even_noise(T: int) -> GaussianNoise:
    """Noise whose log SNR falls by as much at each step, from sigma 0.01."""
    log_snr = torch.linspace(math.log(1e4), -8, T, dtype=torch.float64)
    alphas = torch.cat([torch.ones(1).double(), log_snr.sigmoid()])
    return GaussianNoise(torch.cat([torch.zeros(1).double(), 1 - alphas[1:] / alphas[:-1]]))


KINDS: dict[str, Callable[[int], Degradation]] = {
    "noise": even_noise,
    "heat": lambda T: with_noise(
        DEGRADATIONS["heat"](betas=log_widths(T, 0.1, 8.0), image_shape=SHAPE), "constant", sigma=0.01
    ),
    "blur": lambda T: with_noise(
        GaussianBlur(linear(T, 0.04, 0.2), SHAPE, kernel_size=7), "geometric", sigma_min=0.01, sigma_max=0.3
    ),
    "mask": lambda T: with_noise(DEGRADATIONS["mask"](image_shape=SHAPE, T=T), "constant", sigma=0.02),
    "pixelate": lambda T: with_noise(DEGRADATIONS["pixelate"](image_shape=SHAPE, T=T, grid=2), "constant", sigma=0.02),
    "fade": lambda T: with_noise(DEGRADATIONS["fade"](image_shape=SHAPE, T=T, colour=0.3), "sine", sigma_max=0.5),
}


def matrices(degradation: Degradation) -> Tensor:
    """A_t of every t, float64 (T + 1, D, D), read off the images of single pixels."""
    units, nothing = torch.eye(D).view(D, *SHAPE), torch.zeros(1, *SHAPE)
    tables = []
    for t in range(degradation.T + 1):
        signals = degradation.signal(units, torch.full((D,), t)) - degradation.signal(nothing, torch.tensor([t]))
        tables.append(signals.flatten(1).T.double())
    return torch.stack(tables)


class GaussianData:
    """Smooth Gaussian images at 8-bit levels, their likelihood, and the exact denoiser of a degradation."""

    def __init__(self, degradation: Degradation) -> None:
        k = torch.arange(8).double()
        modes = torch.kron(cosine_basis(8), cosine_basis(8))
        variances = (0.3 / (1 + k[:, None].square() + k.square())).clamp(min=0.02).square().flatten()
        self.covariance = modes.T @ (variances[:, None] * modes)
        self.distribution = MultivariateNormal(torch.zeros(D).double(), self.covariance)
        A, noise = matrices(degradation), degradation.sigmas.double().square()
        covariances = A @ self.covariance @ A.mT + noise[:, None, None] * torch.eye(D)
        covariances[0] = torch.eye(D)
        self.posterior_means = self.covariance @ A.mT @ torch.linalg.inv(covariances)
        self.at_T = MultivariateNormal(torch.zeros(D).double(), covariances[-1])

    def images(self, count: int, seed: int = 0) -> Tensor:
        noise = torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x0 = noise @ torch.linalg.cholesky(self.covariance).T
        return (((x0 + 0.5) * 255).round().clamp(0, 255) / 255 - 0.5).view(-1, *SHAPE).float()

    def bits(self, x0: Tensor) -> Tensor:
        """-log2 of the probability of each image's cell of the 8-bit grid, by its volume."""
        return bits_per_dimension(-self.distribution.log_prob(x0.flatten(1).double()), SHAPE) + math.log2(255)

    def denoise(self, xt: Tensor, t: Tensor) -> Tensor:
        means = torch.einsum("bij,bj->bi", self.posterior_means[t], xt.flatten(1).double())
        return means.view_as(xt).float()

    def log_prior(self, xT: Tensor) -> Tensor:
        return self.at_T.log_prob(xT.flatten(1).double())


def estimate(data: GaussianData, degradation: Degradation, x0: Tensor, evaluations: int, seed: int = 0) -> Tensor:
    """The bound of each image, bits per dimension."""
    fitting = data.images(100, seed=1)
    noise = randn_images(image_generators(seed, Stream.DECODER, range(100)), SHAPE)
    width = fit_width(fitting, first_estimate(data.denoise, degradation, fitting, noise))
    generators = image_generators(seed, Stream.LIKELIHOOD, range(len(x0)))
    costs = LikelihoodBound(degradation, evaluations).costs(data.denoise, x0, generators, width, data.log_prior)
    return bits_per_dimension(costs.total, SHAPE)


@pytest.mark.parametrize("kind", ["noise", "heat", "blur", "mask", "pixelate"])
def test_the_bound_of_the_exact_denoiser_is_the_likelihood_of_gaussian_data(kind: str) -> None:
    degradation = KINDS[kind](300)
    data = GaussianData(degradation)
    x0 = data.images(150)
    exact, bound = float(data.bits(x0).mean()), float(estimate(data, degradation, x0, 300).mean())
    assert bound == pytest.approx(exact, rel=0.01)
    assert bound > exact * 0.999


def test_a_worse_denoiser_has_a_higher_bound() -> None:
    degradation = KINDS["heat"](40)
    data = GaussianData(degradation)
    x0 = data.images(100)
    exact = estimate(data, degradation, x0, 40).mean()
    data.posterior_means = 0.97 * data.posterior_means
    assert float(estimate(data, degradation, x0, 40).mean()) > float(exact) + 0.01


def dense_kl(degradation: Degradation, t: int, gain: float, error: Tensor) -> Tensor:
    """KL_t of Gaussians with full covariances, for the process that the documentation derives."""
    A = matrices(degradation)
    sigma_s, sigma_t = degradation.sigmas.double()[t - 1], degradation.sigmas.double()[t]
    step = A[t] @ torch.linalg.pinv(A[t - 1], rtol=1e-4)
    keep = sigma_s**2 / (gain * sigma_t) ** 2 * step.T
    covariance = sigma_s**2 * torch.eye(D) - sigma_t**2 * keep @ keep.T
    means = (error.flatten(1).double() @ (A[t - 1] - keep @ A[t]).T, torch.zeros(len(error), D).double())
    return kl_divergence(*(MultivariateNormal(mean, covariance) for mean in means))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [2, 5, 12])
def test_a_term_is_the_divergence_of_two_gaussians(kind: str, t: int) -> None:
    degradation = KINDS[kind](12)
    if kind != "noise":  # so that no direction is without new noise, and the covariance is regular
        degradation.sigmas = degradation.sigmas * (1 + 0.02 * torch.arange(13))
    x0 = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0)) - 0.5
    x0_hat = (x0 + 0.05 * torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))).clamp(-0.5, 0.5)
    divergence = LikelihoodBound(degradation, 12).kl(x0, x0_hat, torch.full((4,), t))
    assert torch.allclose(divergence, dense_kl(degradation, t, 1.0, x0 - x0_hat), rtol=2e-3)


def test_where_a_step_enlarges_something_it_is_no_less_than_the_divergence() -> None:
    degradation = with_noise(GaussianBlur(constant(12, 0.3), SHAPE, kernel_size=7), "constant", sigma=0.05)
    norms = degradation.step_norms()
    assert norms is not None
    x0, x0_hat = (torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(seed)) - 0.5 for seed in (0, 1))
    flat = torch.full_like(x0, 0.2)  # which the reflected border enlarges
    gain = float(norms[2])
    assert gain > 1.01
    for other in (x0_hat, x0 + flat):
        divergence = LikelihoodBound(degradation, 12).kl(x0, other, torch.full((6,), 2))
        exact = dense_kl(degradation, 2, gain, x0 - other)
        assert bool((divergence >= exact).all())
        assert bool((divergence >= 0).all())


class Rotation(Degradation):
    """A plug-in whose steps are not known to shrink: it shifts the image by a part of a pixel, and fades it."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T, self.image_shape = T, SHAPE
        self.sigmas = NOISE_LEVELS["constant"](T=T, sigma=0.05)

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        share = (t / self.T).view(-1, 1, 1, 1)
        return (1 - 0.9 * share) * torch.lerp(x0, x0.roll(1, dims=3), 0.5 * share)


class Hidden(GaussianNoise):
    """Noise that does not say that its steps shrink."""

    def step_norms(self) -> None:  # type: ignore[override]
        return None


def test_without_known_norms_it_is_the_cold_samplers_gaussian() -> None:
    rotation = Rotation(30)
    a, b, c = error_weights(rotation)[10]
    m = float(b / a)
    x0, x0_hat = (torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(seed)) - 0.5 for seed in (0, 1))
    s, q = ((rotation.signal(x0 - x0_hat, torch.full((3,), t)).flatten(1).double() / 0.05) for t in (9, 10))
    both = ((s - m * q, torch.zeros_like(s)), math.sqrt(1 - m * m))
    exact = kl_divergence(*(Normal(mean, both[1]) for mean in both[0])).sum(dim=1)
    assert torch.allclose(LikelihoodBound(rotation, 30).kl(x0, x0_hat, torch.full((3,), 10)), exact, rtol=1e-4)
    assert 0 < m < 1
    assert float(c) == pytest.approx(m * m * float(a))
    data = GaussianData(rotation)
    x0 = data.images(100)
    ratio = float(estimate(data, rotation, x0, 30).mean() / data.bits(x0).mean())
    assert 1 < ratio < 1.5


def test_on_noise_that_gaussian_is_the_chains() -> None:
    betas = linear(30, 1e-3, 0.2)
    x0, x0_hat = (torch.rand(29, *SHAPE, generator=torch.Generator().manual_seed(seed)) - 0.5 for seed in (0, 1))
    t = torch.arange(2, 31)
    chain, sampler = (LikelihoodBound(kind(betas), 30).kl(x0, x0_hat, t) for kind in (GaussianNoise, Hidden))
    noise = GaussianNoise(betas)
    snr = noise.alphas_cumprod / (1 - noise.alphas_cumprod)
    errors = 0.5 * (snr[t - 1] - snr[t]) * (x0 - x0_hat).double().square().flatten(1).sum(dim=1)
    assert torch.allclose(chain, errors, rtol=1e-4)
    assert torch.allclose(sampler, errors, rtol=1e-3)


def test_a_step_that_changes_nothing_costs_nothing() -> None:
    still = Rotation(6)
    still.signal = lambda x0, t: 0.5 * x0  # type: ignore[method-assign]
    x0 = torch.rand(3, *SHAPE) - 0.5
    assert float(LikelihoodBound(still, 6).kl(x0, -x0, torch.full((3,), 4)).max()) < 1e-2


def test_a_few_evaluations_estimate_the_sum_without_bias() -> None:
    degradation = KINDS["heat"](60)
    data = GaussianData(degradation)
    x0 = data.images(1).expand(600, *SHAPE)
    exact = float(estimate(data, degradation, x0, 60).mean())
    for evaluations in (2, 8, 25):
        estimates = estimate(data, degradation, x0, evaluations)
        error = float(estimates.std() / math.sqrt(len(estimates)))
        assert float(estimates.mean()) == pytest.approx(exact, abs=4 * error)
        assert error < 0.05
    few, many = (float(estimate(data, degradation, x0, evaluations).std()) for evaluations in (2, 25))
    assert many < few / 5


def test_every_step_is_drawn_and_t_evaluations_take_each_once() -> None:
    bound = LikelihoodBound(KINDS["noise"](12), 4)
    pairs = [bound.steps(generator_for(seed, Stream.LIKELIHOOD)) for seed in range(3000)]
    counts = torch.zeros(13).double()
    for t, weight in pairs:
        assert t.shape == (3,)
        counts.index_add_(0, t, weight)
    assert torch.allclose(counts / 3000, torch.tensor([0.0, 0.0] + [1.0] * 11).double(), atol=0.25)
    t, weight = LikelihoodBound(KINDS["noise"](12), 12).steps(generator_for(0, Stream.LIKELIHOOD))
    assert (t.tolist(), weight.tolist()) == (list(range(2, 13)), [1.0] * 11)
    assert not len(LikelihoodBound(KINDS["noise"](1), 1).steps(generator_for(0, Stream.LIKELIHOOD))[0])


def test_an_image_costs_the_same_whatever_is_beside_it() -> None:
    degradation = KINDS["blur"](30)
    data = GaussianData(degradation)
    x0 = data.images(5)

    def costs(indices: range) -> Tensor:
        generators = image_generators(3, Stream.LIKELIHOOD, indices)
        batch = x0[indices.start : indices.stop]
        return LikelihoodBound(degradation, 7).costs(data.denoise, batch, generators, 0.01, data.log_prior).total

    together = costs(range(5))
    assert torch.allclose(together, torch.cat([costs(range(0, 2)), costs(range(2, 5))]), rtol=1e-6)


def test_what_has_no_likelihood_says_why() -> None:
    still = GaussianBlur(constant(5, 1.0), SHAPE, kernel_size=7)
    still.name = "gaussian-blur"
    assert "a gaussian-blur without noise is deterministic" in str(why_unbounded(still))
    still.sigmas = torch.tensor([0, 0.1, 0.1, 0, 0.1, 0.1]).double()
    assert "draws no noise at t = 3" in str(why_unbounded(still))
    with pytest.raises(ValueError, match="draws no noise at t = 3"):
        LikelihoodBound(still, 5)
    for evaluations in (0, 1, 13):
        with pytest.raises(ValueError, match=f"must be in 2..12, T being the exact sum, got {evaluations}"):
            LikelihoodBound(KINDS["heat"](12), evaluations)
