"""In-painting: known pixels stay, what is drawn follows the conditional distribution, and models refuse what they
cannot do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
from sampler_names import ON_NOISE
from torch import Tensor

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.inpainting import KnownPixels, degraded_anew, resampling_steps
from diffcli.diffusion.samplers import (
    SAMPLERS,
    Step,
    ancestral,
    ddim,
    timesteps,
)
from diffcli.diffusion.schedules import cosine

NOISE = GaussianNoise(cosine(100))
INPAINTERS: dict[str, Callable[..., Iterator[Step]]] = {
    **{name: SAMPLERS[name] for name in ON_NOISE},
    "ancestral": partial(ancestral, variance="posterior"),
    "ddim, eta 1": partial(ddim, eta=1.0),
}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trajectory(
    sampler: Callable[..., Iterator[Step]],
    pixels: KnownPixels,
    denoiser: Callable[[Tensor, Tensor], Tensor],
    steps: int,
) -> list[Step]:
    """The steps of an in-painting from N(0, I), everything drawn from one generator."""
    generator = torch.Generator().manual_seed(1)

    def draw() -> Tensor:
        return torch.randn(pixels.x0.shape, generator=generator)

    def sample(xt: Tensor, path: Sequence[int]) -> Iterator[Step]:
        return sampler(pixels.with_known_pixels(denoiser), NOISE, xt, path, draw)

    xT = pixels.start(NOISE, draw(), draw())
    return list(resampling_steps(sample, NOISE, xT, timesteps(NOISE.T, steps), draw, pixels.rounds))


def wrong(xt: Tensor, t: Tensor) -> Tensor:
    """A denoiser that knows nothing of images."""
    return torch.tanh(xt) + 0.01 * t.view(-1, 1, 1, 1)


@pytest.mark.parametrize("name", INPAINTERS)
@pytest.mark.parametrize("rounds", [1, 3])
def test_known_pixels_are_kept_whatever_the_network_says(name: str, rounds: int) -> None:
    x0 = randn(2, 3, 8, 8).clamp(-0.5, 0.5)
    mask = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.5
    end = trajectory(INPAINTERS[name], KnownPixels(x0, mask, rounds), wrong, 10)[-1]
    assert end.s == 0
    outside, inside = (~mask).expand_as(x0), mask.expand_as(x0)
    assert torch.allclose(end.xs[outside], x0[outside], atol=2e-6)
    assert float((end.xs[inside] - x0[inside]).abs().mean()) > 0.1


@pytest.mark.parametrize("name", INPAINTERS)
def test_known_pixels_have_the_noise_of_each_level(name: str) -> None:
    # So that the network sees there what it saw in training.
    x0 = randn(1, 1, 100, 100).clamp(-0.5, 0.5)
    mask = torch.zeros(1, 1, 100, 100, dtype=torch.bool)
    mask[..., :10, :10] = True
    for step in trajectory(INPAINTERS[name], KnownPixels(x0, mask, 2), wrong, 5):
        at_s = torch.tensor([step.s])
        noise = (step.xs - NOISE.signal(x0, at_s))[~mask]
        sigma = float(NOISE.sigmas[step.s])
        assert float(noise.std()) == pytest.approx(sigma, rel=0.03, abs=1e-5)
        assert abs(float(noise.mean())) < 0.05 * sigma + 1e-5


def test_each_step_is_taken_as_often_as_asked() -> None:
    pixels = KnownPixels(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool), 3)
    ends = [step.s for step in trajectory(ddim, pixels, wrong, 5)]
    assert ends == [80] * 3 + [60] * 3 + [40] * 3 + [20] * 3 + [0] * 3


@pytest.mark.parametrize(("s", "t"), [(0, 30), (20, 40), (99, 100)])
def test_degraded_anew_is_the_chain(s: int, t: int) -> None:
    x0, noise = randn(1, 1, 300, 300) * 0.2, randn(1, 1, 300, 300, seed=1)
    xs = NOISE.degrade(x0, torch.tensor([s]), noise)
    xt = degraded_anew(NOISE, xs, s, t, randn(1, 1, 300, 300, seed=2))
    remainder = xt - NOISE.signal(x0, torch.tensor([t]))
    assert float(remainder.std()) == pytest.approx(float(NOISE.sigmas[t]), rel=0.01)
    # The noise of x_s is in x_t, with what is left of it: sqrt(alpha_t / alpha_s).
    share = math.sqrt(float(NOISE.alphas_cumprod[t] / NOISE.alphas_cumprod[s])) * float(NOISE.sigmas[s])
    assert float((remainder * noise).mean()) == pytest.approx(share, abs=0.02)


def test_what_is_drawn_follows_what_is_known_the_more_rounds_the_better() -> None:
    """Two pixels, normal with correlation 0.9: the exact denoiser is linear, and the exact answer known in closed
    form."""
    count, deviation, correlation = 4000, 0.2, 0.9
    covariance = deviation**2 * torch.tensor([[1, correlation], [correlation, 1]], dtype=torch.float64)

    def exact(xt: Tensor, t: Tensor) -> Tensor:
        alpha = float(NOISE.alphas_cumprod[int(t[0])])
        noisy = alpha * covariance + (1 - alpha) * torch.eye(2, dtype=torch.float64)
        gain = math.sqrt(alpha) * covariance @ torch.linalg.inv(noisy)
        return (xt.flatten(1).double() @ gain.T).view_as(xt).float()

    x0 = torch.tensor([1.5 * deviation, 0.0]).view(1, 1, 1, 2).expand(count, 1, 1, 2)
    mask = torch.tensor([False, True]).view(1, 1, 1, 2).expand(count, 1, 1, 2)
    expected, width = correlation * 1.5 * deviation, deviation * math.sqrt(1 - correlation**2)
    errors: list[tuple[float, float]] = []
    for rounds in (1, 5, 20):
        pixels = KnownPixels(x0, mask, rounds)
        values = trajectory(INPAINTERS["ddim, eta 1"], pixels, exact, 100)[-1].xs[..., 1]
        errors.append((abs(float(values.mean()) - expected) / width, abs(float(values.std()) / width - 1)))
    means, widths = zip(*errors, strict=True)
    assert means[0] > 1 > 0.3 > means[1] > means[2]
    assert means[2] < 0.15
    # A step's noise leaves out what the denoiser does not know of x_0, so that many rounds make the spread a little
    # narrow.
    assert max(widths) < 0.35
