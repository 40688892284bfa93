"""Networks of pixels in [-1, 1] against the formulas of that range; a schedule that leaves nothing of the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.denoiser import PREDICTIONS, Denoiser
from diffcli.diffusion.full_range import to_full_range, to_half_range
from diffcli.diffusion.samplers import SAMPLERS, ancestral, last, spaced_timesteps, timesteps
from diffcli.diffusion.schedules import SCHEDULES, betas_of, linear

T = 20
THEIRS = torch.cumprod(1 - linear(T, 0.01, 0.3)[1:], dim=0)
"""Products of a schedule of pixels in [-1, 1], float64 (T,)."""


def zero_snr() -> GaussianNoise:
    """A schedule whose last beta is 1."""
    alphas = torch.linspace(0.97, 0, T, dtype=torch.float64)
    return GaussianNoise(SCHEDULES["betas"](betas_of(alphas)))


class Knowing(nn.Module):
    """A network of pixels in [-1, 1] that knows the image and the noise, and answers a prediction of theirs."""

    def __init__(self, prediction: str, x0: Tensor, noise: Tensor) -> None:
        super().__init__()
        self.prediction, self.image, self.noise = prediction, 2 * x0, noise
        self.inputs: list[Tensor] = []

    def forward(self, zt: Tensor, time: Tensor) -> Tensor:
        self.inputs.append(zt)
        a = THEIRS.float()[(time * T).round().long() - 1].view(-1, 1, 1, 1)
        v = a.sqrt() * self.noise - (1 - a).sqrt() * self.image
        return {"eps": self.noise, "x0": self.image, "v": v}[self.prediction]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_network_of_the_full_range_is_given_and_answers_what_it_knows(prediction: str) -> None:
    noise = GaussianNoise(SCHEDULES["betas"](betas_of(to_half_range(THEIRS))))
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(T, 1, 4, 4, generator=generator) - 0.5
    eps = torch.randn(T, 1, 4, 4, generator=generator)
    network, t = Knowing(prediction, x0, eps), torch.arange(1, T + 1)
    denoiser = Denoiser(network, noise, prediction, input="full-range")
    xt = noise.degrade(x0, t, eps)
    a = THEIRS.float().view(-1, 1, 1, 1)
    torch.testing.assert_close(denoiser(xt, t), x0, atol=2e-5, rtol=0)
    torch.testing.assert_close(network.inputs[0], a.sqrt() * 2 * x0 + (1 - a).sqrt() * eps, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        denoiser.output(xt, t), PREDICTIONS[prediction].target(noise, x0, t, eps), atol=2e-6, rtol=0
    )
    assert float(denoiser.loss(x0, t, eps).max()) < 1e-10


def test_products_of_the_two_ranges_are_each_others_inverse() -> None:
    alphas = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(to_full_range(to_half_range(alphas)), alphas, atol=1e-15, rtol=0)
    # The same ratio of signal to noise, of an image of twice the range.
    inner = alphas[1:-1]
    ours = to_half_range(inner)
    torch.testing.assert_close(ours / (1 - ours), 4 * inner / (1 - inner))


def test_listed_betas_are_the_table() -> None:
    values = linear(T, 0.01, 0.3)
    assert torch.equal(SCHEDULES["betas"](values[1:].tolist()), values)
    torch.testing.assert_close(torch.tensor(betas_of(THEIRS), dtype=torch.float64), values[1:])
    for values_, message in (([], "T must be in 1"), ([0.1, 0.0], "beta_2 must be positive"), ([0.1, -1.0], "beta_2")):
        with pytest.raises(ValueError, match=message):
            SCHEDULES["betas"](values_)
    with pytest.raises(ValueError, match="beta_1 must be positive, got nan"):
        SCHEDULES["betas"]([float("nan")])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("spacing", ["even", "log-snr"])
@pytest.mark.parametrize("steps", [T, 5, 1])
def test_a_schedule_that_leaves_nothing_can_be_sampled(name: str, spacing: str, steps: int) -> None:
    noise = zero_snr()
    assert float(noise.alphas_cumprod[-1]) == 0
    x0 = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    xT = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    path = spaced_timesteps(noise, steps, spacing)
    end = last(SAMPLERS[name](lambda xt, t: x0, noise, xT, path, lambda: torch.zeros_like(xT)))
    torch.testing.assert_close(end, x0, atol=1e-5, rtol=0)
    assert all(bool(curve.isfinite().all()) for curve in noise.describe().values())


def test_only_the_last_beta_may_be_1() -> None:
    for betas in ([0.1, 1.0, 0.1], [1.0, 1.0], [1.0], [0.1, 1.5]):
        with pytest.raises(ValueError, match=r"beta must lie in \(0, 1\)"):
            GaussianNoise(SCHEDULES["betas"](betas))
    with pytest.raises(ValueError, match="prediction eps needs something of the image at T"):
        Denoiser(nn.Identity(), zero_snr(), "eps")


def test_ancestral_is_the_reports_formula() -> None:
    noise = GaussianNoise(linear(T, 0.01, 0.3))
    x0 = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double() - 0.5
    xt = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)).double()
    alphas, new = noise.alphas_cumprod, torch.ones_like(xt)
    steps = ancestral(lambda xt, t: x0, noise, xt, timesteps(T), lambda: new)
    for step in steps:
        t, s = step.s + 1, step.s
        beta = 1 - alphas[t] / alphas[s]
        eps = (xt - alphas[t].sqrt() * x0) / (1 - alphas[t]).sqrt()
        xt = (xt - beta / (1 - alphas[t]).sqrt() * eps) / (1 - beta).sqrt() + (s > 0) * beta.sqrt() * new
        torch.testing.assert_close(step.xs, xt, atol=1e-10, rtol=0)
