"""The cold sampler where there is noise: its stochastic form, on noise alone and on anything with noise."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diffcli.config.build import resolve
from diffcli.config.presets import load_preset
from diffcli.config.schema import Sampler
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation, GaussianBlur, GaussianNoise
from diffcli.diffusion.noise_levels import NOISE_LEVELS
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.diffusion.samplers import Draw, cold, ddim, last, timesteps
from diffcli.diffusion.schedules import constant, cosine, linear
from diffcli.utils.errors import UserError

SHAPE = (1, 8, 8)


def draws(seed: int, count: int) -> Draw:
    generators = image_generators(seed, Stream.SAMPLE, range(count))
    return lambda: randn_images(generators, SHAPE)


def predict(xt: Tensor, t: Tensor) -> Tensor:
    """A smooth stand-in for a denoiser."""
    return 0.4 * torch.tanh(2 * xt) + 0.002 * t.view(-1, 1, 1, 1)


def no_noise() -> Tensor:
    raise AssertionError("nothing is drawn with eta 0")


def noisy(kind: str) -> Degradation:
    blur: Degradation = {
        "blur": lambda: GaussianBlur(constant(30, 0.5), SHAPE, kernel_size=7),
        "heat": lambda: DEGRADATIONS["heat"](betas=constant(30, 0.5), image_shape=SHAPE),
        "pixelate": lambda: DEGRADATIONS["pixelate"](image_shape=SHAPE, T=30, grid=2),
    }[kind]()
    blur.sigmas = NOISE_LEVELS["linear"](T=30, sigma_max=0.5, sigma_min=0.05)
    return blur


def new_share(degradation: Degradation, t: int, s: int) -> float:
    """tau / sigma_s at eta 1, from what is left of white noise."""
    x0 = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0)) - 0.5
    snr = {}
    for step in (t, s):
        signal = degradation.signal(x0, torch.tensor([step])).double()
        snr[step] = float(signal.square().sum() / degradation.sigmas[step] ** 2)
    return math.sqrt(1 - snr[t] / snr[s])


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [None, 9, 2, 1])
@pytest.mark.parametrize("betas", [constant(40, 0.05), linear(40, 1e-3, 0.3), cosine(40)], ids=["c", "l", "cos"])
def test_on_noise_it_is_ddim_with_the_same_eta(betas: Tensor, steps: int | None, eta: float) -> None:
    noise, path = GaussianNoise(betas), timesteps(40, steps)
    ends = [last(sampler(predict, noise, draws(7, 3)(), path, draws(1, 3), eta=eta)) for sampler in (cold, ddim)]
    assert torch.allclose(*ends, atol=2e-5)
    if eta and len(path) > 2:
        still = last(cold(predict, noise, draws(7, 3)(), path, no_noise))
        assert float((ends[0] - still).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["blur", "heat", "pixelate"])
@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_it_is_its_formula_in_float64(kind: str, eta: float) -> None:
    degradation, path = noisy(kind), timesteps(30, 10)
    end = last(cold(predict, degradation, draws(7, 3)(), path, draws(1, 3), eta=eta))
    xt, draw = draws(7, 3)().double(), draws(1, 3)
    for t, s in pairwise(path):
        x0_hat = predict(xt, torch.full((3,), t))
        signals = [degradation.signal(x0_hat.float(), torch.full((3,), at)).double() for at in (t, s)]
        sigma_t, sigma_s = float(degradation.sigmas[t]), float(degradation.sigmas[s])
        tau = eta * new_share(degradation, t, s) * sigma_s if s else 0.0
        spread = math.sqrt(sigma_s**2 - tau**2)
        xt = signals[1] + spread * (xt - signals[0]) / sigma_t + (tau * draw().double() if s else 0)
    assert torch.allclose(end.double(), xt, atol=1e-4)


@pytest.mark.parametrize("kind", ["blur", "heat", "pixelate"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_perfect_denoiser_keeps_the_distribution_of_every_step(kind: str, eta: float) -> None:
    torch.manual_seed(0)
    degradation = noisy(kind)
    x0 = torch.rand(400, *SHAPE, generator=torch.Generator().manual_seed(0)) - 0.5
    at_T = torch.full((400,), 30)
    xT = degradation.degrade(x0, at_T, draws(5, 400)())
    *between, end = cold(lambda xt, t: x0, degradation, xT, timesteps(30, 6), draws(0, 400), eta=eta)
    assert torch.allclose(end.xs, x0, atol=1e-5)
    before = (xT - degradation.signal(x0, at_T)) / 0.5
    for step in between:
        noise = step.xs - degradation.signal(x0, torch.full((400,), step.s))
        sigma = float(degradation.sigmas[step.s])
        assert float(noise.std()) == pytest.approx(sigma, rel=0.05)
        # What is kept of the noise before, as eta says.
        correlation = float((noise / sigma * before).mean())
        share = eta * new_share(degradation, step.s + 5, step.s)
        assert correlation == pytest.approx(math.sqrt(1 - share**2), abs=0.04)
        before = noise / sigma


def test_power_is_what_is_left_of_white_noise() -> None:
    noise = GaussianNoise(cosine(20))
    noise.image_shape = SHAPE
    t = torch.tensor([0, 5, 20])
    assert torch.allclose(noise.power(t).double(), noise.alphas_cumprod[t], rtol=1e-4)
    # The colour that is faded to is no signal.
    fade = DEGRADATIONS["fade"](image_shape=SHAPE, T=20, colour=1, left=0.1)
    assert fade.power(t).tolist() == pytest.approx([1, 0.775**2, 0.01], rel=1e-4)
    blur = noisy("heat")
    exact = float(blur.rows[10].square().sum() * blur.columns[10].square().sum()) / 64  # the mean over white noise
    assert float(blur.power(torch.tensor([10]))) == pytest.approx(exact, rel=0.5)
    nothing = DEGRADATIONS["fade"](image_shape=SHAPE, T=4, left=1e-300)
    nothing.sigmas = NOISE_LEVELS["constant"](T=4, sigma=0.1)
    steps = cold(predict, nothing, draws(3, 2)(), timesteps(4), draws(1, 2), eta=1.0)
    assert all(bool(step.xs.isfinite().all()) for step in steps)


def test_without_eta_nothing_is_drawn_and_the_arithmetic_is_algorithm_2s() -> None:
    for degradation in (
        noisy("blur"),
        GaussianNoise(linear(30)),
        GaussianBlur(constant(30, 0.5), SHAPE, kernel_size=7),
    ):
        xT = draws(3, 2)()
        xt = xT
        for t, s in pairwise(timesteps(30, 7)):
            at_t, at_s = torch.full((2,), t), torch.full((2,), s)
            x0_hat = predict(xt, at_t)
            eps = degradation.noise_from(xt, at_t, x0_hat)
            xt = xt - degradation.degrade(x0_hat, at_t, eps) + degradation.degrade(x0_hat, at_s, eps)
        assert torch.equal(last(cold(predict, degradation, xT, timesteps(30, 7), no_noise)), xt)


def test_eta_without_noise_is_refused() -> None:
    stochastic = Sampler.model_validate({"name": "cold", "eta": 0.5})
    still = load_preset("quickstart-blur")[1].model_copy(update={"sampler": stochastic})
    with pytest.raises(
        UserError, match="sampler: eta draws noise anew, and a gaussian-blur has none; add noise, or leave"
    ):
        resolve(still)
    resolved = resolve(load_preset("quickstart-blur", {"noise": {"name": "constant", "sigma": 0.01}})[1]).preset
    assert resolved.sampler.parameters == {"eta": 0.0}
    assert resolve(resolved.model_copy(update={"sampler": stochastic})).preset.sampler.parameters == {"eta": 0.5}
