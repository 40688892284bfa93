"""Posterior samplers: the exact conditional mean where a method claims it, calibrated samples, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from mixtures import PixelMixture, smooth_mixture
from torch import Tensor, nn

from diffcli.diffusion.degradations import Degradation, GaussianBlur, GaussianNoise, Heat, Mask, Pixelate
from diffcli.diffusion.degradations.separable import SPREAD
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.measurements import Measurement, measurement_at
from diffcli.diffusion.posterior import (
    CLEAR,
    POSTERIORS,
    UNSEEN,
    dps,
    fit_to_measurement,
    isotropic,
    mean_variance,
    moments,
)
from diffcli.diffusion.randomness import Noise, Stream, image_generators, randn_images
from diffcli.diffusion.samplers import Step, ancestral, cold, ddim, heun, last, timesteps
from diffcli.diffusion.schedules import cosine, from_values, linear
from diffcli.diffusion.testing import betas

SHAPE = (1, 4, 4)
PIXELS = 16
EXACT = partial(moments, iterations=PIXELS, tolerance=1e-10)


def with_shape(degradation: Degradation, sigmas: Tensor | None = None) -> Degradation:
    degradation.image_shape = SHAPE
    if sigmas is not None:
        degradation.sigmas = sigmas
    return degradation


def hot(T: int) -> GaussianNoise:
    noise = GaussianNoise(cosine(T))
    noise.image_shape = SHAPE
    return noise


MEASUREMENTS: dict[str, Degradation] = {
    "blur": Heat(torch.tensor([0.0, 0.3, 0.3]).double(), SHAPE),
    "pixelate": Pixelate(SHAPE, T=2, grid=1),
    "mask": Mask(SHAPE, T=2, left=0.5, width=0.5),
}
"""Each is taken at its T."""


def white(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measurement_of(mixture: PixelMixture, name: str, sigma: float, count: int) -> Measurement:
    """What is measured of one image of the mixture, ``count`` times the same."""
    degradation = MEASUREMENTS[name]
    y = degradation.degrade(mixture.draw(1, 3), torch.tensor([degradation.T])) + sigma * white(1, 5)
    return measurement_at(degradation, degradation.T, y.expand(count, *SHAPE), sigma=sigma)


def white_mixture() -> PixelMixture:
    """One Gaussian of independent pixels, of the spread that :func:`isotropic` takes images to have."""
    identity = torch.eye(PIXELS, dtype=torch.float64)
    return PixelMixture(torch.ones(1).double(), 0.1 * white(1).view(1, -1), 0.09 * identity[None], SHAPE)


def worst(estimate: X0Function, exact: X0Function, degradation: Degradation, xt: Tensor) -> float:
    """The largest difference of two estimates over t."""
    steps = {1, degradation.T // 3, 2 * degradation.T // 3, degradation.T}
    times = [torch.full((len(xt),), step) for step in steps]
    return max(float((estimate(xt, t) - exact(xt, t)).abs().max()) for t in times)


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("sigma", [0.0, 1 / 255, 0.1])
@pytest.mark.parametrize("method", ["moments", "isotropic"])
def test_the_mean_given_the_measurement_is_exact_for_images_that_are_normal(
    method: str, name: str, sigma: float
) -> None:
    mixture, degradation = (
        (smooth_mixture(1, SHAPE, 1.0), hot(50)) if method == "moments" else (white_mixture(), hot(50))
    )
    measurement = measurement_of(mixture, name, sigma, 6)
    wrapper = EXACT if method == "moments" else isotropic
    exact = mixture.conditional_mixture(measurement).denoiser(degradation)
    estimate = wrapper(mixture.denoiser(degradation), degradation, measurement)
    # Without noise the reference, in pixels, is not known better.
    assert worst(estimate, exact, degradation, white(6)) < (1e-5 if sigma else 1e-4)
    assert worst(mixture.denoiser(degradation), exact, degradation, white(6)) > 1e-2


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("method", ["moments", "isotropic"])
def test_where_nothing_of_the_image_is_left_at_T_the_mean_is_that_of_the_measurement_alone(
    method: str, name: str
) -> None:
    """Zero terminal SNR, alpha_T = 0 (Lin et al. 2024), as pipelines of diffusers have it with
    ``rescale_betas_zero_snr``."""
    T, mixture = 50, white_mixture()
    degradation = GaussianNoise(from_values([*linear(T, 1e-3, 0.1)[1:T].tolist(), 1.0]))
    degradation.image_shape = SHAPE
    assert float(degradation.alphas_cumprod[T]) == 0
    measurement = measurement_of(mixture, name, 0.1, 6)
    wrapper = EXACT if method == "moments" else isotropic
    estimate = wrapper(mixture.denoiser(degradation), degradation, measurement)
    exact = mixture.conditional_mixture(measurement).denoiser(degradation)
    assert worst(estimate, exact, degradation, white(6)) < 1e-5
    # A network's Jacobian there is its own error, and is not asked; with the one gradient of the default, too.
    t, spread = torch.full((6,), T), torch.full((6, 1, 1, 1), 0.09, dtype=torch.float64)

    def rough(xt: Tensor, t: Tensor) -> Tensor:
        return mixture.denoiser(degradation)(xt, t) + 0.1 * torch.tanh(xt)

    residual = measurement.residual(rough(white(6), t))
    weights = measurement.operator.solve(residual, spread, measurement.noise)
    exact_there = rough(white(6), t) + spread * measurement.operator.adjoint(weights)
    for one in (wrapper, METHODS[method]):
        result = one(rough, degradation, measurement)(white(6), t)
        torch.testing.assert_close(result, exact_there, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("kind", ["heat", "gaussian-blur", "pixelate", "mask"])
def test_a_blur_with_noise_is_a_prior_too(kind: str, name: str) -> None:
    T = 6
    kinds: dict[str, Degradation] = {
        "heat": Heat(betas(T), SHAPE),
        "gaussian-blur": GaussianBlur(betas(T), SHAPE, kernel_size=3),
        "pixelate": Pixelate(SHAPE, T=T, grid=1),
        "mask": Mask(SHAPE, T=T),
    }
    degradation = with_shape(kinds[kind], torch.linspace(0, 1, T + 1).double())
    mixture = white_mixture()
    measurement = measurement_of(mixture, name, 0.02, 5)
    exact = mixture.conditional_mixture(measurement).denoiser(degradation)
    plain = mixture.denoiser(degradation)
    estimate = isotropic(plain, degradation, measurement)
    assert worst(estimate, exact, degradation, white(5)) < 1e-5

    def blend(one: X0Function, xt: Tensor, t: Tensor) -> Tensor:
        return torch.cat([one(xt[i : i + 1], t[i : i + 1]) for i in range(len(xt))])

    t = torch.tensor([1, 3, T, 3, 2])
    estimate = isotropic(partial(blend, plain), degradation, measurement)
    torch.testing.assert_close(estimate(white(5), t), blend(exact, white(5), t), rtol=0, atol=1e-5)


def law(
    sampler: Callable[..., Iterator[Step]], estimate: X0Function, degradation: Degradation
) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of what a deterministic sampler makes of N(0, I), exactly, where its steps are
    affine."""
    units = torch.eye(PIXELS, dtype=torch.float64)
    xT = torch.cat([torch.zeros_like(units[:1]), units]).view(-1, *SHAPE)
    with torch.no_grad():
        ends = last(sampler(estimate, degradation, xT, timesteps(degradation.T), lambda: xT)).flatten(1)
    slopes = ends[1:] - ends[:1]
    return ends[0], slopes.T @ slopes


@pytest.mark.parametrize(
    ("method", "name", "sigma"), [("moments", "blur", 0.1), ("moments", "mask", 0.1), ("isotropic", "blur", 0.1)]
)
def test_samples_have_the_posterior_mean_and_covariance(method: str, name: str, sigma: float) -> None:
    mixture = smooth_mixture(1, SHAPE, 1.0) if method == "moments" else white_mixture()
    degradation = hot(150)
    measurement = measurement_of(mixture, name, sigma, PIXELS + 1)
    posterior = mixture.conditional_mixture(measurement)
    estimate = POSTERIORS[method](mixture.denoiser(degradation), degradation, measurement)
    mean, covariance = law(heun, estimate, degradation)
    assert float((mean - posterior.mean).norm()) < 0.03 * float(posterior.mean.norm())
    assert float((covariance - posterior.covariance).norm()) < 0.03 * float(posterior.covariance.norm())
    unconditional, _ = law(heun, mixture.denoiser(degradation), degradation)
    assert float((unconditional - posterior.mean).norm()) > 0.1 * float(posterior.mean.norm())


def test_samples_of_a_blur_with_noise_have_the_posterior_mean_and_covariance() -> None:
    T = 200
    degradation = with_shape(Heat(linear(T, 0.001, 0.01), SHAPE), torch.linspace(0, 1, T + 1).double())
    mixture = white_mixture()
    measurement = measurement_of(mixture, "pixelate", 0.1, PIXELS + 1)
    posterior = mixture.conditional_mixture(measurement)
    # Where sampling starts: what is left of the posterior's images at T, with noise.
    estimate = isotropic(mixture.denoiser(degradation), degradation, measurement)
    at_T = torch.full((PIXELS + 1,), T)
    units = torch.cat([torch.zeros(1, PIXELS), torch.eye(PIXELS)]).double()
    root = torch.linalg.cholesky(posterior.covariance)
    images = (posterior.mean + units @ root.T).view(-1, *SHAPE)
    signal = degradation._signal(images, at_T)
    noisy = signal[:1] + degradation.sigma(at_T[:1]) * units[1:].view(-1, *SHAPE)
    starts = torch.cat([signal, noisy])
    both = Measurement(measurement.y[:1].expand(len(starts), *SHAPE), measurement.operator, measurement.sigma)
    estimate = isotropic(mixture.denoiser(degradation), degradation, both)
    with torch.no_grad():
        ends = last(cold(estimate, degradation, starts, timesteps(T), lambda: starts)).flatten(1)
    slopes = ends[1:] - ends[:1]
    covariance = slopes.T @ slopes
    assert float((ends[0] - posterior.mean).norm()) < 0.03 * float(posterior.mean.norm())
    assert float((covariance - posterior.covariance).norm()) < 0.03 * float(posterior.covariance.norm())


@pytest.mark.parametrize("sampler", [partial(ddim, eta=1.0), partial(ancestral, variance="posterior")])
@pytest.mark.parametrize(("name", "sigma"), [("pixelate", 0.1), ("blur", 0.2)])
def test_moments_are_calibrated_on_a_mixture(name: str, sigma: float, sampler: Callable[..., Iterator[Step]]) -> None:
    """Beside a sampler that knows the exact mean given x_t and y, from the same noise: what is left is the method's own
    error."""
    mixture, degradation, count = smooth_mixture(3, SHAPE, 0.5), hot(40), 500
    measurement = measurement_of(mixture, name, sigma, count)
    posterior = mixture.conditional_mixture(measurement)

    def draw(estimate: X0Function) -> Tensor:
        seeds = iter(range(10, 1000))
        with torch.no_grad():
            steps = sampler(estimate, degradation, white(count, 9), timesteps(40), lambda: white(count, next(seeds)))
            return last(steps).flatten(1)

    exact = draw(posterior.denoiser(degradation))

    def errors(samples: Tensor) -> tuple[float, float]:
        mean = (samples.mean(dim=0) - exact.mean(dim=0)).norm() / posterior.mean.norm()
        return float(mean), float((samples.T.cov() - exact.T.cov()).norm() / posterior.covariance.norm())

    mean, covariance = errors(draw(moments(mixture.denoiser(degradation), degradation, measurement)))
    assert mean < 0.03
    assert covariance < 0.03
    assert max(errors(draw(isotropic(mixture.denoiser(degradation), degradation, measurement)))) > 0.03
    assert float(posterior.weights.max()) < 0.9  # more than one Gaussian is left


def test_a_second_gradient_is_taken_where_x_t_says_enough_of_the_image() -> None:
    mixture, degradation = smooth_mixture(1, SHAPE, 1.0), hot(50)
    gradients: list[Tensor] = []

    def probe(xt: Tensor, t: Tensor) -> Tensor:
        x0_hat = torch.cat([mixture.denoiser(degradation)(xt[i : i + 1], t[i : i + 1]) for i in range(len(xt))])
        x0_hat.register_hook(gradients.append)
        return x0_hat

    def estimate(row: slice, *times: int) -> Tensor:
        gradients.clear()
        measurement = measurement_of(mixture, "mask", 0.1, len(times))
        return moments(probe, degradation, measurement)(white(3)[row], torch.tensor(times))

    signal = degradation.alphas_cumprod / (1 - degradation.alphas_cumprod) * SPREAD**2
    near, far = (int((signal >= bound).nonzero().max()) for bound in (CLEAR, UNSEEN))
    together = estimate(slice(3), near, near + 1, far + 1)
    for row, (t, count) in enumerate({near: 3, near + 1: 2, far + 1: 1}.items()):  # up to `far` one is for the trace
        torch.testing.assert_close(estimate(slice(row, row + 1), t), together[row : row + 1])
        assert len(gradients) == count


def test_the_mean_variance_is_the_trace_over_the_pixels_and_belongs_to_t() -> None:
    covariance = smooth_mixture(1, SHAPE, 1.0).covariances[0]

    def times(v: Tensor) -> Tensor:
        return (v.flatten(1) @ covariance).view(v.shape)

    t = torch.arange(1, 2001)
    estimates = mean_variance(times, torch.zeros(2000, *SHAPE), t)
    assert estimates.shape == (2000, 1, 1, 1)
    assert float(estimates.mean()) == pytest.approx(float(covariance.diagonal().mean()), rel=0.03)
    alone = mean_variance(times, torch.zeros(1, *SHAPE), t[41:42])
    torch.testing.assert_close(alone, estimates[41:42])


def test_errors_smaller_than_those_of_independent_pixels_are_told_apart_from_noise() -> None:
    """Images of two degrees of freedom: what one conjugate gradient leaves is noise more than it is image."""
    generator = torch.Generator().manual_seed(0)
    basis = 0.2 * torch.randn(2, PIXELS, 2, generator=generator, dtype=torch.float64)
    covariances = basis @ basis.mT / 2 + 1e-5 * torch.eye(PIXELS, dtype=torch.float64)
    means = 0.1 * torch.randn(2, PIXELS, generator=generator, dtype=torch.float64)
    mixture = PixelMixture(torch.tensor([0.6, 0.4]).double(), means, covariances, SHAPE)
    degradation, blur, count = hot(50), MEASUREMENTS["blur"], 200
    x0, t = mixture.draw(count, 3), torch.full((count,), 15)
    measurement = measurement_at(
        blur, blur.T, blur.degrade(x0, torch.full((count,), 2)) + 0.01 * white(count, 1), sigma=0.01
    )
    xt, plain = degradation.degrade(x0, t, white(count, 2)), mixture.denoiser(degradation)

    def error(estimate: X0Function) -> float:
        return float((estimate(xt, t) - x0).square().mean().sqrt())

    assert error(moments(plain, degradation, measurement)) < 0.3 * error(plain)
    assert error(EXACT(plain, degradation, measurement)) < 0.12 * error(plain)


def test_dps_moves_where_each_step_ends_by_the_gradient() -> None:
    """x_s - zeta grad ||y - A x0_hat(x_t)||, by autograd once more (Chung et al. 2023, Algorithm 1, line 7)."""
    mixture, degradation, steps = smooth_mixture(3, SHAPE, 0.5), hot(40), [40, 30, 7, 0]
    plain, noise = mixture.denoiser(degradation), white(4, 2)
    measurement = measurement_of(mixture, "blur", 0.1, 4)
    estimate = dps(plain, degradation, measurement, timesteps=steps, zeta=0.3)
    xt = white(4)
    for t, s in ([40, 30], [30, 7], [7, 0]):
        (end,), (plain_end,) = (
            [*ddim(one, degradation, xt, [t, s], lambda: noise, eta=1.0)] for one in (estimate, plain)
        )
        source = xt.clone().requires_grad_()
        residual = measurement.y - measurement.operator(plain(source, torch.full((4,), t)))
        (gradient,) = torch.autograd.grad(residual.flatten(1).norm(dim=1).sum(), source)
        torch.testing.assert_close(end.xs, plain_end.xs - 0.3 * gradient, rtol=0, atol=1e-6)


class Small(nn.Module):
    """A network of two convolutions, with labels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.labels = nn.Embedding(3, 8)

    def forward(self, xt: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        hidden = self.first(xt) + time.view(-1, 1, 1, 1) + self.labels(labels + 1)[:, :, None, None]
        return self.second(torch.tanh(hidden))


METHODS: dict[str, Callable[..., X0Function]] = {
    "isotropic": isotropic,
    "moments": moments,
    "dps": partial(dps, timesteps=[20, 15, 10, 5, 0], zeta=0.1),
}


@pytest.mark.parametrize("method", METHODS)
def test_an_image_has_the_same_samples_whatever_the_batch(method: str) -> None:
    degradation = hot(20)
    denoiser = Denoiser(Small(), degradation, "v", classes=2)
    y = measurement_of(smooth_mixture(3, SHAPE, 0.5), "mask", 0.01, 1).y.float()
    mask = MEASUREMENTS["mask"]

    @torch.inference_mode()
    def draw(indices: list[int]) -> Tensor:
        labels = torch.tensor(indices) % 3 - 1
        ys = torch.cat([y + 0.1 * index for index in indices])
        generators = image_generators(0, Stream.RESTORATION, indices)
        xT = randn_images(generators, SHAPE)
        measurement = measurement_at(mask, mask.T, ys, sigma=0.01)
        estimate = METHODS[method](lambda xt, t: denoiser(xt, t, labels), degradation, measurement)
        return last(ddim(estimate, degradation, xT, [20, 15, 10, 5, 0], Noise(generators, SHAPE), eta=1.0))

    together = draw([0, 1, 2, 3, 4])
    assert together.dtype == torch.float32
    assert not together.requires_grad
    apart = torch.cat([draw([0]), draw([1, 2]), draw([3, 4])])
    torch.testing.assert_close(together, apart, rtol=0, atol=2e-6)
    assert float((together[0] - together[1]).abs().max()) > 0.01


@pytest.mark.parametrize("method", ["isotropic", "moments"])
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_without_noise_samples_explain_the_measurement(method: str, name: str) -> None:
    mixture, degradation = smooth_mixture(3, SHAPE, 0.5), hot(20)
    measurement = measurement_of(mixture, name, 0.0, 4)
    estimate = METHODS[method](mixture.denoiser(degradation), degradation, measurement)
    for steps in (timesteps(20, 5), [20, 0]):
        with torch.no_grad():
            end = last(ddim(estimate, degradation, white(4), steps, lambda: white(4, 7), eta=1.0))
        assert float(measurement.residual(end).abs().max()) < 1e-4


def test_models_that_cannot_be_a_prior_are_refused() -> None:
    blur = Heat(betas(5), SHAPE)
    measurement = measurement_of(smooth_mixture(1, SHAPE, 1.0), "mask", 0.1, 1)

    def nothing(xt: Tensor, t: Tensor) -> Tensor:
        return xt

    with pytest.raises(ValueError, match=r"^a model of Heat without noise cannot weigh a measurement"):
        isotropic(nothing, blur, measurement)
    for method in (moments, METHODS["dps"]):
        with pytest.raises(ValueError, match=r"needs a model of gaussian-noise.*undoes a Heat$"):
            method(nothing, blur, measurement)
    noisy = with_shape(Heat(betas(5), SHAPE), torch.linspace(0, 1, 6).double())
    with pytest.raises(ValueError, match=r"undoes a Heat: isotropic serves it$"):
        moments(nothing, noisy, measurement)


def test_a_start_is_fitted_to_the_measurement() -> None:
    """Of a blur with noise: what a prior drew for another image gives way to what was measured."""
    T = 20
    degradation = with_shape(Heat(linear(T, 0.01, 0.02), SHAPE), torch.full((T + 1,), 0.05).double())
    degradation.sigmas[0] = 0
    mixture = white_mixture()
    measurement = measurement_of(mixture, "pixelate", 0.01, 30)
    estimate = isotropic(mixture.denoiser(degradation), degradation, measurement)
    other = degradation.degrade(mixture.draw(30, 8), torch.full((30,), T), white(30, 9))

    def misfit(xT: Tensor) -> float:
        """Of what is left at T, whose means over blocks are those of the image."""
        return float(measurement.misfit(xT).mean())

    noises = iter(range(20, 40))
    start = fit_to_measurement(other, estimate, degradation, lambda: white(30, next(noises)), 3)
    assert misfit(other) > 5 * misfit(start)
    assert torch.equal(fit_to_measurement(other, estimate, degradation, lambda: white(30), 0), other)
