"""A sampler's step as a sum, and x_T as a function of random numbers: the same as what the sampler and the prior
draw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcli.config.build import bind_sampler, resolve
from diffcli.config.presets import load_preset
from diffcli.config.schema import Sampler
from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.prior_graphs import StartGraph
from diffcli.diffusion.priors import BlurredData, Gaussian, Mixture, Prior, StandardNormal, Uniform
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.sampler_formulas import SamplerStep, step_factors
from diffcli.diffusion.samplers import Step, cold, ddim, timesteps

STEPS = [
    ("quickstart", {"name": "ancestral"}),
    ("quickstart", {"name": "ancestral", "variance": "posterior"}),
    ("quickstart", {"name": "ddim", "eta": 0.7}),
    ("quickstart", {"name": "cold", "eta": 1.0}),
    ("quickstart", {"name": "cold-naive"}),
    ("quickstart-blur", {"name": "cold"}),
    ("quickstart-blur", {"name": "cold-naive"}),
    ("quickstart-pixelate", {"name": "cold", "eta": 1.0}),
    ("heat-fast", {"name": "cold", "eta": 0.5}),
    ("mask-fast", {"name": "cold-naive"}),
]


def degradation_of(preset: str) -> Degradation:
    return resolve(load_preset(preset)[1]).degradation


def bound(component: dict[str, Any]):
    return bind_sampler(Sampler(**component))


@pytest.mark.parametrize(("preset", "component"), STEPS, ids=lambda value: str(value))
def test_the_sums_are_the_samplers_steps(preset: str, component: dict[str, Any]) -> None:
    degradation, steps = degradation_of(preset), timesteps(degradation_of(preset).T, 9)
    sampler = bound(component)
    step = SamplerStep(degradation, step_factors(sampler, degradation, steps), steps)
    generator = torch.Generator().manual_seed(0)
    xT, *noises = (torch.randn(3, *degradation.image_shape, generator=generator) for _ in steps)

    def estimate(xt: Tensor, t: Tensor) -> Tensor:
        return 0.5 * torch.tanh(xt + t.view(-1, 1, 1, 1) / degradation.T)

    noise = iter(noises)
    ends = {at.s: at.xs for at in sampler(estimate, degradation, xT, steps, lambda: next(noise))}
    xt, noise = xT, iter(noises)
    for t, s in pairwise(steps):
        at_t = torch.full((3,), t)
        new = next(noise) if step.factors[t, -1] != 0 else torch.full_like(xt, 1e9)
        xt = step(xt, estimate(xt, at_t), at_t, new)
        assert torch.allclose(xt, ends[s], atol=1e-4), (t, s)


def test_the_factors_are_those_of_the_paper() -> None:
    # Song et al. 2021, Eq. 12 and 16, with eps written out.
    degradation, eta = degradation_of("quickstart"), 0.7
    assert isinstance(degradation, GaussianNoise)
    alphas = degradation.alphas_cumprod
    steps = timesteps(degradation.T, 5)
    factors = step_factors(bound({"name": "ddim", "eta": eta}), degradation, steps)
    for t, s in list(pairwise(steps))[:-1]:
        a_t, a_s = float(alphas[t]), float(alphas[s])
        sigma = eta * math.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))
        share = math.sqrt((1 - a_s - sigma**2) / (1 - a_t))
        expected = torch.tensor([share, math.sqrt(a_s), -share, 0, sigma], dtype=torch.float64)
        assert torch.allclose(factors[t], expected, rtol=1e-6), t
    assert torch.isnan(factors[1]).all(), "no step begins there"
    wrong = SamplerStep(degradation, factors, steps)(
        *torch.zeros(2, 1, 1, 8, 8), torch.tensor([1]), torch.zeros(1, 1, 8, 8)
    )
    assert torch.isnan(wrong).all()


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (bound({"name": "heun"}), "more than one estimate"),
        (bound({"name": "dpm-solver++"}), "depends on the steps before"),
    ],
)
def test_samplers_of_other_kinds_are_refused(sampler, expected: str) -> None:
    degradation = degradation_of("quickstart")
    with pytest.raises(ValueError, match=expected):
        step_factors(sampler, degradation, timesteps(degradation.T, 5))


def test_samplers_that_are_no_sums_are_refused() -> None:
    degradation = degradation_of("quickstart")
    steps = timesteps(degradation.T, 5)

    def clamping(denoiser, degradation, xT, steps, draw) -> Iterator[Step]:
        yield from ddim(lambda xt, t: denoiser(xt, t).clamp(-0.5, 0.5), degradation, xT, steps, draw)

    def blurring_twice(denoiser, degradation, xT, steps, draw) -> Iterator[Step]:
        yield from cold(lambda xt, t: degradation.signal(xt, t), degradation, xT, steps, draw)

    for sampler, expected in (
        (clamping, "no sum|degrades something else"),
        (blurring_twice, "degrades something else"),
    ):
        with pytest.raises(ValueError, match=expected):
            step_factors(sampler, degradation, steps)


@pytest.fixture(scope="module")
def signal() -> tuple[Tensor, Tensor]:
    """What is left of images of two labels: they differ in brightness, and in a slope across the image."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    slope = torch.linspace(-1, 1, 16).view(1, 4, 4)
    amounts = torch.randn(400, 1, 1, 1, generator=generator)
    return labels.view(-1, 1, 1, 1) - 0.5 + 0.1 * amounts * slope + torch.zeros(400, 1, 4, 4), labels


@pytest.mark.parametrize(
    "prior", [Mixture(components=4), Gaussian(), Uniform(0.05)], ids=lambda prior: type(prior).__name__
)
@pytest.mark.parametrize("label", [0, 1, -1, 7])
def test_starts_are_distributed_as_the_priors_draws(prior: Prior, label: int, signal: tuple[Tensor, Tensor]) -> None:
    prior.fit(*signal)
    degradation = degradation_of("quickstart-blur")
    count = 4000
    labels = torch.full((count,), label)
    expected = prior(image_generators(0, Stream.SAMPLE, range(count)), (1, 4, 4), "cpu", labels)
    generator = torch.Generator().manual_seed(1)
    normal, noise = torch.randn(2, count, 1, 4, 4, generator=generator)
    starts = StartGraph(prior, degradation)(torch.rand(count, generator=generator), normal, noise, labels)
    assert starts.shape == expected.shape
    spread = max(float(expected.std()), 0.05)
    assert torch.allclose(starts.mean(dim=0), expected.mean(dim=0), atol=0.08 * spread)
    ours, theirs = (images.flatten(1).T.cov() for images in (starts, expected))
    assert torch.allclose(ours, theirs, atol=0.1 * spread**2)


def test_noise_starts_as_it_is_and_is_added_where_the_degradation_ends_in_some() -> None:
    noise = torch.randn(3, 1, 28, 28)
    rest = torch.rand(3), torch.randn(3, 1, 28, 28)
    assert torch.equal(StartGraph(StandardNormal(), degradation_of("mnist-fast"))(*rest, noise), noise)
    heat = degradation_of("heat-fast")
    prior = Gaussian()
    prior.fit(torch.randn(50, 1, 28, 28))
    start = StartGraph(prior, heat)
    assert torch.allclose(
        start(*rest, noise) - start(*rest, torch.zeros_like(noise)), float(heat.sigmas[-1]) * noise, atol=1e-6
    )


def test_copies_of_training_images_are_no_start() -> None:
    with pytest.raises(ValueError, match="copies of training images"):
        StartGraph(BlurredData(), degradation_of("quickstart-blur"))
