"""Samplers against independent references: hand-written DDIM, Algorithm 2, perfect denoisers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal

import pytest
import torch
from sampler_names import ON_NOISE
from torch import Tensor

from diffcli.diffusion.degradations import GaussianBlur, GaussianNoise
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.noise_levels import linear as linear_levels
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.diffusion.samplers import (
    SAMPLERS,
    Draw,
    Step,
    ancestral,
    cold,
    cold_naive,
    ddim,
    dpm_solver_pp,
    heun,
    last,
    timesteps,
)
from diffcli.diffusion.schedules import constant, cosine, linear


def fake_eps(xt: Tensor, t: Tensor) -> Tensor:
    """A smooth stand-in for a network that predicts eps."""
    return torch.tanh(xt) * 0.9 + 0.001 * t.view(-1, 1, 1, 1)


def no_noise() -> Tensor:
    raise AssertionError("this sampler draws nothing")


def draws(seed: int, count: int, shape: tuple[int, int, int]) -> Draw:
    """New noise for ``count`` images at every call."""
    generators = image_generators(seed, Stream.SAMPLE, range(count))
    return lambda: randn_images(generators, shape)


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
    assert torch.allclose(last(cold(as_denoiser(noise), noise, xT, path, no_noise)).double(), reference, atol=1e-5)


def test_ancestral_is_the_reports_algorithm_2() -> None:
    noise = GaussianNoise(linear(30, 1e-3, 0.2))
    draw = draws(3, 2, (1, 4, 4))
    result = last(ancestral(as_denoiser(noise), noise, draw(), timesteps(30), draw))

    draw = draws(3, 2, (1, 4, 4))
    z = draw().double()
    betas, alphas = linear(30, 1e-3, 0.2), noise.alphas_cumprod
    for t in range(30, 0, -1):
        beta, alpha = float(betas[t]), float(alphas[t])
        eps = torch.tanh(z) * 0.9 + 0.001 * t
        z = z / math.sqrt(1 - beta) - beta / (math.sqrt(1 - alpha) * math.sqrt(1 - beta)) * eps
        if t > 1:
            z = z + math.sqrt(beta) * draw().double()
    assert torch.allclose(result.double(), z, atol=1e-4)


def test_ddim_without_new_noise_is_the_cold_sampler_and_with_all_of_it_the_ancestral_one() -> None:
    noise = GaussianNoise(linear(60, 1e-3, 0.1))
    xT = randn_images(image_generators(0, Stream.SAMPLE, range(3)), (1, 6, 6))
    path = timesteps(60, 12)
    still = last(ddim(as_denoiser(noise), noise, xT, path, no_noise))
    assert torch.allclose(still, last(cold(as_denoiser(noise), noise, xT, path, no_noise)), atol=1e-5)
    ends = [
        last(sampler(as_denoiser(noise), noise, xT, path, draws(1, 3, (1, 6, 6)), **options))
        for sampler, options in ((ddim, {"eta": 1.0}), (ancestral, {"variance": "posterior"}))
    ]
    assert torch.allclose(*ends, atol=1e-5)


def gaussian_data(noise: GaussianNoise, deviation: float):
    """The exact denoiser of images whose pixels are normal with mean 0: E[x0 | xt]."""

    def denoise(xt: Tensor, t: Tensor) -> Tensor:
        signal, sigma = noise.scale(t), noise.sigma(t)
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
            end = last(sampler(gaussian_data(noise, deviation), noise, xT, path, no_noise))
            errors[sampler, steps] = float((end - exact).norm() / exact.norm())
    for steps in (10, 20):
        assert errors[dpm_solver_pp, steps] < 0.7 * errors[ddim, steps]
        assert errors[heun, steps] < 0.6 * errors[ddim, steps]
    assert errors[ddim, 20] == pytest.approx(errors[ddim, 10] / 2, rel=0.3)  # first order


@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp, heun])
@pytest.mark.parametrize("steps", [None, 7, 1])
def test_fast_samplers_with_a_perfect_denoiser_end_at_x0(sampler, steps: int | None) -> None:
    noise = GaussianNoise(cosine(60))
    x0 = torch.rand(3, 1, 6, 6) - 0.5
    xT = torch.randn(3, 1, 6, 6)
    end = last(sampler(lambda xt, t: x0 + 0 * xt, noise, xT, timesteps(60, steps), no_noise))
    assert torch.allclose(end, x0, atol=1e-4)


@pytest.mark.parametrize("betas", [constant(60, 0.01), linear(60, 1e-3, 0.1)], ids=["constant", "linear"])
def test_a_perfect_denoiser_gives_x0_back(betas: Tensor) -> None:
    noise = GaussianNoise(betas)
    x0 = torch.rand(3, 1, 6, 6) - 0.5
    xT = noise.degrade(x0, torch.full((3,), 60))
    for steps in (None, 10, 1):
        end = last(cold(lambda xt, t: x0, noise, xT, timesteps(60, steps), no_noise))
        assert torch.allclose(end, x0, atol=1e-5)


def test_posterior_variance_is_smaller_than_beta_and_also_ends_at_x0() -> None:
    noise = GaussianNoise(linear(60, 1e-3, 0.1))
    x0 = torch.rand(2, 1, 6, 6) - 0.5
    spread = {}
    variances: tuple[Literal["beta", "posterior"], ...] = ("beta", "posterior")
    for variance in variances:
        draw = draws(0, 2, (1, 6, 6))
        steps = list(ancestral(lambda xt, t: x0, noise, draw(), timesteps(60), draw, variance=variance))
        assert torch.allclose(steps[-1].xs, x0, atol=1e-5)  # the last step adds no noise
        spread[variance] = float((steps[-2].xs - x0).std())
    assert spread["posterior"] < spread["beta"]


@pytest.mark.parametrize("sampler", [cold, cold_naive])
@pytest.mark.parametrize("steps", [None, 7, 1])
def test_a_perfect_denoiser_undoes_a_blur(sampler, steps: int | None) -> None:
    blur = GaussianBlur(constant(40, 1.0), (1, 12, 12))
    x0 = torch.rand(3, 1, 12, 12) - 0.5
    xT = blur.degrade(x0, torch.full((3,), 40))
    assert torch.allclose(last(sampler(lambda xt, t: x0, blur, xT, timesteps(40, steps), no_noise)), x0, atol=1e-5)


def test_improved_sampler_forgives_what_the_naive_one_does_not() -> None:
    # Bansal et al. 2022, section 3.3: to first order, the errors of x0_hat cancel in Algorithm 2.
    blur = GaussianBlur(constant(40, 0.5), (1, 12, 12))
    x0 = torch.rand(4, 1, 12, 12) - 0.5
    xT = blur.degrade(x0, torch.full((4,), 40))
    error = 0.1 * torch.randn(4, 1, 12, 12)
    wrong = lambda xt, t: x0 + error * (t / 40).view(-1, 1, 1, 1)  # noqa: E731
    x20 = {
        sampler: next(step.xs for step in sampler(wrong, blur, xT, timesteps(40), no_noise) if step.s == 20)
        for sampler in (cold, cold_naive)
    }
    true = blur.degrade(x0, torch.full((4,), 20))
    assert float((x20[cold] - true).norm()) < 0.7 * float((x20[cold_naive] - true).norm())


def test_naive_sampler_draws_fresh_noise_where_there_is_any() -> None:
    noise = GaussianNoise(linear(20, 1e-3, 0.1))
    x0 = torch.rand(2, 1, 6, 6) - 0.5
    xT = torch.randn(2, 1, 6, 6)
    runs = [list(cold_naive(lambda xt, t: x0 + 0 * xt, noise, xT, timesteps(20), draws(0, 2, (1, 6, 6)))) for _ in "ab"]
    assert torch.allclose(runs[0][-1].xs, x0, atol=1e-6)
    assert all(torch.equal(first.xs, second.xs) for first, second in zip(*runs, strict=True))
    eps = [noise.noise_from(step.xs, torch.full((2,), step.s), x0) for step in runs[0][:-1]]
    assert not torch.allclose(eps[0], eps[1], atol=0.1)


def test_every_step_is_yielded_and_none_is_taken_before_it_is_asked_for() -> None:
    noise = GaussianNoise(constant(10, 0.1))
    calls: list[int] = []

    def denoiser(xt: Tensor, t: Tensor) -> Tensor:
        calls.append(int(t[0]))
        return as_denoiser(noise)(xt, t)

    steps = cold(denoiser, noise, torch.randn(2, 1, 4, 4), timesteps(10, 5), no_noise)
    assert calls == []
    assert next(steps).s == 8
    assert calls == [10]
    assert [step.s for step in steps] == [6, 4, 2, 0]


def reference(name: str, predict: X0Function, noise: GaussianNoise, xT: Tensor, path: list[int], draw: Draw) -> Tensor:
    """Each sampler as a plain loop in float64, from its paper's formulas in terms of (x0_hat, eps)."""
    alpha = noise.alphas_cumprod.tolist()
    x = xT.double()
    old: tuple[Tensor, float] | None = None

    def estimates(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x0 = predict(x, torch.full((len(x),), t)).double()
        return x0, (x - math.sqrt(alpha[t]) * x0) / math.sqrt(1 - alpha[t])

    for t, s in pairwise(path):
        x0, eps = estimates(x, t)
        a_t, a_s = alpha[t], alpha[s]
        if name.startswith(("ancestral", "ddim 1")):
            # q(x_s | x_t, x0) (Ho et al. 2020, Eq. 7), with the variance asked for.
            beta = 1 - a_t / a_s
            mean = math.sqrt(a_s) * beta / (1 - a_t) * x0 + math.sqrt(1 - beta) * (1 - a_s) / (1 - a_t) * x
            variance = beta if name == "ancestral beta" else beta * (1 - a_s) / (1 - a_t)
            x = mean + (math.sqrt(variance) * draw().double() if s > 0 else 0)
        elif name == "dpm-solver++" and s > 0:
            step = 0.5 * (math.log(a_s / (1 - a_s)) - math.log(a_t / (1 - a_t)))
            slope = 0 if old is None else (x0 - old[0]) / old[1]
            line = x0 + 0.5 * step * slope
            x = math.sqrt((1 - a_s) / (1 - a_t)) * x + math.sqrt(a_s) * (1 - math.exp(-step)) * line
            old = x0, step
        elif name == "heun" and s > 0:
            ahead = math.sqrt(a_s) * x0 + math.sqrt(1 - a_s) * eps
            x0_s, eps_s = estimates(ahead, s)
            angle = math.atan2(math.sqrt(1 - a_t), math.sqrt(a_t)) - math.atan2(math.sqrt(1 - a_s), math.sqrt(a_s))
            v_t = math.sqrt(a_t) * eps - math.sqrt(1 - a_t) * x0
            v_s = math.sqrt(a_s) * eps_s - math.sqrt(1 - a_s) * x0_s
            x = x - angle * (v_t + v_s) / 2
        elif name == "cold-naive":
            x = math.sqrt(a_s) * x0 + math.sqrt(1 - a_s) * (draw().double() if s > 0 else 0)
        else:  # DDIM with eta = 0; all others at their last step
            x = math.sqrt(a_s) * x0 + math.sqrt(1 - a_s) * eps
    return x


REFERENCED: list[tuple[str, Callable[..., Iterator[Step]], dict[str, object]]] = [
    ("ancestral beta", ancestral, {}),
    ("ancestral posterior", ancestral, {"variance": "posterior"}),
    ("ddim 0", ddim, {}),
    ("ddim 1", ddim, {"eta": 1.0}),
    ("dpm-solver++", dpm_solver_pp, {}),
    ("heun", heun, {}),
    ("cold", cold, {}),
    ("cold-naive", cold_naive, {}),
]


def test_every_sampler_has_a_reference() -> None:
    assert {sampler for _, sampler, _ in REFERENCED} == {SAMPLERS[name] for name in ON_NOISE} == set(SAMPLERS.values())


@pytest.mark.parametrize("name", ON_NOISE)
@pytest.mark.parametrize("steps", [None, 7, 2, 1])
def test_every_sampler_ends_at_a_perfect_estimate_and_draws_once_a_step_at_most(name: str, steps: int | None) -> None:
    # Noise is drawn ahead for so many calls, see Draw.
    noise, path, x0 = GaussianNoise(cosine(60)), timesteps(60, steps), torch.rand(3, 1, 6, 6) - 0.5
    normal, counts = draws(0, 3, (1, 6, 6)), [0]

    def draw() -> Tensor:
        counts[-1] += 1
        return normal()

    options = {"eta": 1.0} if "eta" in inspect.signature(SAMPLERS[name]).parameters else {}
    xT = normal()
    ends = []
    for step in SAMPLERS[name](lambda xt, t: x0 + 0 * xt, noise, xT, path, draw, **options):
        ends.append(step.xs)
        counts.append(0)
    *between, in_the_last = counts[:-1]
    assert (len(between), in_the_last) == (len(path) - 2, 0)
    assert max(between, default=0) <= 1
    # A long ancestral step divides by sqrt(alpha_t / alpha_s), and its rounding with it.
    assert torch.allclose(ends[-1], x0, atol=5e-4 if name == "ancestral" else 1e-4)


@pytest.mark.parametrize("steps", [None, 9, 2, 1])
@pytest.mark.parametrize(
    ("name", "sampler", "options"), REFERENCED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_sampler_is_its_papers_loop(name: str, sampler, options: dict[str, object], steps: int | None) -> None:
    noise, path = GaussianNoise(cosine(40)), timesteps(40, steps)

    def predict(xt: Tensor, t: Tensor) -> Tensor:
        return 0.4 * torch.tanh(2 * xt) + 0.002 * t.view(-1, 1, 1, 1)

    draw, same = draws(0, 3, (1, 5, 5)), draws(0, 3, (1, 5, 5))
    end = last(sampler(predict, noise, draw(), path, draw, **options))
    # A long ancestral step divides by sqrt(alpha_t / alpha_s), and its rounding with it.
    close = 5e-4 if name.startswith("ancestral") else 2e-5
    assert torch.allclose(end.double(), reference(name, predict, noise, same(), path, same), atol=close)


@pytest.mark.parametrize("sampler", [cold, cold_naive])
@pytest.mark.parametrize("steps", [None, 7, 1])
def test_a_perfect_denoiser_undoes_a_blur_with_noise(sampler, steps: int | None) -> None:
    blur = GaussianBlur(constant(40, 1.0), (1, 12, 12))
    blur.sigmas = linear_levels(40, 0.5)
    x0 = torch.rand(3, 1, 12, 12) - 0.5
    xT = blur.degrade(x0, torch.full((3,), 40), torch.randn(3, 1, 12, 12))
    path, draw = timesteps(40, steps), draws(0, 3, (1, 12, 12))
    *between, end = sampler(lambda xt, t: x0, blur, xT, path, draw)
    assert torch.allclose(end.xs, x0, atol=1e-5)
    # On the way, x_s keeps the noise level of its step.
    for step in between:
        noise = step.xs - blur.signal(x0, torch.full((3,), step.s))
        assert float(noise.std()) == pytest.approx(0.5 * step.s / 40, rel=0.15)
