"""DDIM run backwards: exact on normal images, and back to the image by DDIM itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.inversion import inversion_steps
from diffcli.diffusion.samplers import ddim, last, timesteps
from diffcli.diffusion.schedules import cosine, from_values, linear

SPREAD = 0.2


def no_noise() -> Tensor:
    raise AssertionError("this sampler draws nothing")


def normal_denoiser(noise: GaussianNoise):
    """The exact mean of x_0 given x_t where pixels are N(0, SPREAD^2)."""

    def estimate(xt: Tensor, t: Tensor) -> Tensor:
        alpha = float(noise.alphas_cumprod[int(t[0])])
        return math.sqrt(alpha) * SPREAD**2 / (alpha * SPREAD**2 + 1 - alpha) * xt

    return estimate


def images(count: int = 4) -> Tensor:
    return SPREAD * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_of_normal_images_it_is_the_flow_to_standard_normal_noise() -> None:
    noise = GaussianNoise(linear(1000, 1e-4, 0.02))
    x0 = images()
    steps = list(inversion_steps(normal_denoiser(noise), noise, x0, timesteps(1000)))
    assert [step.s for step in steps] == list(range(1, 1001))
    # The probability flow scales each pixel as its standard deviation grows.
    alpha = float(noise.alphas_cumprod[-1])
    exact = x0 * math.sqrt(alpha * SPREAD**2 + 1 - alpha) / SPREAD
    assert torch.allclose(steps[-1].xs, exact, rtol=0.02)


def rough_denoiser(noise: GaussianNoise):
    def estimate(xt: Tensor, t: Tensor) -> Tensor:
        pixels = normal_denoiser(noise)(xt, t)
        return pixels + 0.1 * torch.tanh(2 * pixels.roll(1, dims=-1))

    return estimate


@pytest.mark.parametrize("name", ["linear", "cosine", "zero snr"])
def test_what_is_drawn_from_the_noise_is_the_image(name: str) -> None:
    ending = torch.cat([linear(100, 1e-3, 0.1)[1:-1], torch.ones(1, dtype=torch.float64)])
    schedules = {"linear": linear(100, 1e-3, 0.1), "cosine": cosine(100), "zero snr": from_values(ending.tolist())}
    noise, path, x0 = GaussianNoise(schedules[name]), timesteps(100, 10), images()
    estimate = rough_denoiser(noise)

    def error_of(iterations: int) -> float:
        xT = last(inversion_steps(estimate, noise, x0, path, iterations=iterations))
        assert bool(torch.isfinite(xT).all())
        return float((last(ddim(estimate, noise, xT, path, no_noise)) - x0).square().mean().sqrt())

    errors = [error_of(iterations) for iterations in (0, 4, 30)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.2 * errors[1]


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    noise, path, x0 = GaussianNoise(cosine(100)), timesteps(100, 5), images()
    together = last(inversion_steps(rough_denoiser(noise), noise, x0, path))
    assert torch.equal(last(inversion_steps(rough_denoiser(noise), noise, x0[1:2], path)), together[1:2])
