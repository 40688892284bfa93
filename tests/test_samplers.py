"""Samplers against independent references: hand-written DDIM, Algorithm 2, perfect denoisers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffcli.diffusion.degradations import GaussianBlur, GaussianNoise
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.diffusion.samplers import ancestral, cold, cold_naive, ddim, dpm_solver_pp, heun, timesteps
from diffcli.diffusion.schedules import constant, cosine, linear


def fake_eps(xt: Tensor, t: Tensor) -> Tensor:
    """A smooth stand-in for a network that predicts eps."""
    return torch.tanh(xt) * 0.9 + 0.001 * t.view(-1, 1, 1, 1)


def as_denoiser(noise: GaussianNoise):
    return lambda xt, t: noise.x0_from(xt, t, fake_eps(xt, t))


@pytest.mark.parametrize("steps", [None, 50, 7, 1])
def test_cold_sampler_on_noise_is_ddim(steps: int | None) -> None:
    noise = GaussianNoise(linear(100, 1e-3, 0.05))
    xT = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    path = timesteps(100, steps)
    alphas = noise.alphas_cumprod  # float64, so the reference below is a float64 one
    reference = xT.double()
    for i in range(len(path) - 1):  # Song et al. 2021, Eq. 12 with sigma = 0, written out by hand
        a_t, a_s = float(alphas[path[i]]), float(alphas[path[i + 1]])
        eps = torch.tanh(reference) * 0.9 + 0.001 * path[i]
        x0 = (reference - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t)
        reference = math.sqrt(a_s) * x0 + math.sqrt(1 - a_s) * eps
    assert torch.allclose(cold(as_denoiser(noise), noise, xT, path, []).double(), reference, atol=1e-5)


def test_ancestral_is_the_reports_algorithm_2() -> None:
    noise = GaussianNoise(linear(30, 1e-3, 0.2))
    generators = image_generators(3, Stream.SAMPLE, range(2))
    xT = randn_images(generators, (1, 4, 4))
    result = ancestral(as_denoiser(noise), noise, xT, timesteps(30), generators)

    generators = image_generators(3, Stream.SAMPLE, range(2))
    z = randn_images(generators, (1, 4, 4)).double()
    betas, alphas = linear(30, 1e-3, 0.2), noise.alphas_cumprod
    for t in range(30, 0, -1):
        beta, alpha = float(betas[t]), float(alphas[t])
        eps = torch.tanh(z) * 0.9 + 0.001 * t
        z = z / math.sqrt(1 - beta) - beta / (math.sqrt(1 - alpha) * math.sqrt(1 - beta)) * eps
        if t > 1:
            z = z + math.sqrt(beta) * randn_images(generators, (1, 4, 4)).double()
    assert torch.allclose(result.double(), z, atol=1e-4)


def test_ddim_without_new_noise_is_the_cold_sampler_and_with_all_of_it_the_ancestral_one() -> None:
    noise = GaussianNoise(linear(60, 1e-3, 0.1))
    xT = randn_images(image_generators(0, Stream.SAMPLE, range(3)), (1, 6, 6))
    path = timesteps(60, 12)
    still = ddim(as_denoiser(noise), noise, xT, path, [])
    assert torch.allclose(still, cold(as_denoiser(noise), noise, xT, path, []), atol=1e-5)
    walks = [
        sampler(as_denoiser(noise), noise, xT, path, image_generators(1, Stream.SAMPLE, range(3)), **options)
        for sampler, options in ((ddim, {"eta": 1.0}), (ancestral, {"variance": "posterior"}))
    ]
    assert torch.allclose(*walks, atol=1e-5)


def gaussian_data(noise: GaussianNoise, deviation: float):
    """The exact denoiser of images whose pixels are normal with mean 0: E[x0 | xt]."""

    def denoise(xt: Tensor, t: Tensor) -> Tensor:
        signal, sigma = noise.signal_and_noise(t)
        return signal * deviation**2 / (signal**2 * deviation**2 + sigma**2) * xt

    return denoise


@pytest.mark.parametrize("start", [900, 1000])
def test_higher_orders_follow_the_ode_closer(start: int) -> None:
    # For normal data the probability-flow ODE scales x: from sd(x_T) to sd(x_0), whatever the draw.
    noise, deviation = GaussianNoise(cosine(1000)), 0.3
    xT = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    alpha = float(noise.alphas_cumprod[start])
    exact = xT * deviation / math.sqrt(alpha * deviation**2 + 1 - alpha)
    errors = {}
    for steps in (10, 20):
        path = [start - start * i // steps for i in range(steps + 1)]
        for sampler in (ddim, dpm_solver_pp, heun):
            walked = sampler(gaussian_data(noise, deviation), noise, xT, path, [])
            errors[sampler, steps] = float((walked - exact).norm() / exact.norm())
    for steps in (10, 20):
        assert errors[dpm_solver_pp, steps] < 0.7 * errors[ddim, steps]
        assert errors[heun, steps] < 0.6 * errors[ddim, steps]
    assert errors[ddim, 20] == pytest.approx(errors[ddim, 10] / 2, rel=0.3)  # first order


@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp, heun])
@pytest.mark.parametrize("steps", [None, 7, 1])
def test_fast_samplers_with_a_perfect_denoiser_end_at_x0(sampler, steps: int | None) -> None:
    noise = GaussianNoise(cosine(60))
    x0 = torch.rand(3, 1, 6, 6) - 0.5
    walked = sampler(lambda xt, t: x0 + 0 * xt, noise, torch.randn(3, 1, 6, 6), timesteps(60, steps), [])
    assert torch.allclose(walked, x0, atol=1e-4)


@pytest.mark.parametrize("betas", [constant(60, 0.01), linear(60, 1e-3, 0.1)], ids=["constant", "linear"])
def test_a_perfect_denoiser_gives_x0_back(betas: Tensor) -> None:
    noise = GaussianNoise(betas)
    x0 = torch.rand(3, 1, 6, 6) - 0.5
    xT = noise.degrade(x0, torch.full((3,), 60))
    for steps in (None, 10, 1):
        walked = cold(lambda xt, t: x0, noise, xT, timesteps(60, steps), [])
        assert torch.allclose(walked, x0, atol=1e-5)


def test_posterior_variance_is_smaller_than_beta_and_also_ends_at_x0() -> None:
    noise = GaussianNoise(linear(60, 1e-3, 0.1))
    x0 = torch.rand(2, 1, 6, 6) - 0.5
    spread = {}
    for variance in ("beta", "posterior"):
        generators = image_generators(0, Stream.SAMPLE, range(2))
        seen: list[Tensor] = []
        keep = lambda s, xs, x0_hat, seen=seen: seen.append(xs)  # noqa: E731
        end = ancestral(
            lambda xt, t: x0, noise, randn_images(generators, (1, 6, 6)), timesteps(60), generators, keep, variance=variance
        )  # fmt: skip
        assert torch.allclose(end, x0, atol=1e-5)  # the last step adds no noise
        spread[variance] = float((seen[-2] - x0).std())
    assert spread["posterior"] < spread["beta"]


@pytest.mark.parametrize("sampler", [cold, cold_naive])
@pytest.mark.parametrize("steps", [None, 7, 1])
def test_a_perfect_denoiser_undoes_a_blur(sampler, steps: int | None) -> None:
    blur = GaussianBlur(constant(40, 1.0), (1, 12, 12))
    x0 = torch.rand(3, 1, 12, 12) - 0.5
    xT = blur.degrade(x0, torch.full((3,), 40))
    assert torch.allclose(sampler(lambda xt, t: x0, blur, xT, timesteps(40, steps), []), x0, atol=1e-5)


def test_improved_sampler_forgives_what_the_naive_one_does_not() -> None:
    # Bansal et al. 2022, section 3.3: to first order, the errors of x0_hat cancel in Algorithm 2.
    blur = GaussianBlur(constant(40, 0.5), (1, 12, 12))
    x0 = torch.rand(4, 1, 12, 12) - 0.5
    xT = blur.degrade(x0, torch.full((4,), 40))
    error = 0.1 * torch.randn(4, 1, 12, 12)
    wrong = lambda xt, t: x0 + error * (t / 40).view(-1, 1, 1, 1)  # noqa: E731
    ends = {sampler: sampler(wrong, blur, xT, timesteps(40), []) for sampler in (cold, cold_naive)}
    x1 = {}
    for sampler in ends:
        seen: list[Tensor] = []
        sampler(wrong, blur, xT, timesteps(40), [], lambda s, xs, x0_hat, seen=seen: seen.append(xs))
        x1[sampler] = seen[19]  # x_20
    true = blur.degrade(x0, torch.full((4,), 20))
    assert float((x1[cold] - true).norm()) < 0.7 * float((x1[cold_naive] - true).norm())


def test_naive_sampler_draws_fresh_noise_where_there_is_any() -> None:
    noise = GaussianNoise(linear(20, 1e-3, 0.1))
    x0 = torch.rand(2, 1, 6, 6) - 0.5
    runs = [cold_naive(lambda xt, t: x0 + 0 * xt, noise, torch.randn(2, 1, 6, 6), timesteps(20),
                       image_generators(0, Stream.SAMPLE, range(2))) for _ in range(2)]  # fmt: skip
    assert torch.allclose(runs[0], x0, atol=1e-6)
    assert torch.equal(runs[0], runs[1])


@given(T=st.integers(1, 3000), data=st.data())
def test_timesteps_descend_from_T_to_0(T: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, T))
    path = timesteps(T, steps)
    assert (path[0], path[-1], len(path)) == (T, 0, steps + 1)
    assert all(earlier > later for earlier, later in pairwise(path))


def test_all_steps_visit_every_t() -> None:
    assert timesteps(5) == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_steps_out_of_range_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=r"steps must be in 1..10"):
        timesteps(10, steps)


def test_callback_sees_every_step_and_the_last_image() -> None:
    noise = GaussianNoise(constant(10, 0.1))
    seen: list[tuple[int, Tensor]] = []
    xT = torch.randn(2, 1, 4, 4)
    end = cold(as_denoiser(noise), noise, xT, timesteps(10, 5), [], lambda s, xs, x0_hat: seen.append((s, xs)))
    assert [s for s, _ in seen] == [8, 6, 4, 2, 0]
    assert torch.equal(seen[-1][1], end)
