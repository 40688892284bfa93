"""The training recipe: where t falls, weights of the loss, averages, learning rates, budgets of time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diffcli.config.schema import seconds
from diffcli.diffusion.degradations import GaussianBlur, GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.schedules import constant, cosine
from diffcli.diffusion.times import draw_times
from diffcli.training.pace import lr_factor


def generator_of(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    count=st.integers(1, 300),
    T=st.integers(1, 100_000),
    distribution=st.sampled_from(["uniform", "logit-normal"]),
    stratified=st.booleans(),
)
def test_times_lie_in_1_to_T(count: int, T: int, distribution, stratified: bool) -> None:
    t = draw_times(count, T, distribution, stratified, generator_of())
    assert t.shape == (count,)
    assert t.dtype == torch.int64
    assert int(t.min()) >= 1
    assert int(t.max()) <= T


def test_uniform_times_are_uniform() -> None:
    counts = torch.bincount(draw_times(100_000, 10, "uniform", False, generator_of()), minlength=11)[1:]
    assert counts.min() > 9_600
    assert counts.max() < 10_400


def test_stratified_times_fill_every_stratum() -> None:
    t = draw_times(50, 50, "uniform", True, generator_of())
    assert t.tolist() == list(range(1, 51))


def test_logit_normal_times_are_sigmoids_of_a_standard_normal() -> None:
    t = draw_times(200_000, 10_000, "logit-normal", False, generator_of()).double() / 10_000
    logits = torch.logit(t.clamp(max=1 - 1e-5))
    assert abs(float(logits.mean())) < 0.02
    assert abs(float(logits.std()) - 1) < 0.02


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_min_snr_makes_every_prediction_weigh_x0_the_same(prediction: str) -> None:
    noise = GaussianNoise(cosine(50))
    t = torch.arange(2, 50)
    x0 = torch.rand(len(t), 1, 4, 4) - 0.5
    eps = torch.randn_like(x0)
    denoiser = Denoiser(nn.Identity(), noise, prediction)
    off = 0.1 * torch.ones_like(x0)  # an output that is wrong by this much
    denoiser.output = lambda xt, t, labels, sigma=None: denoiser_target + off  # type: ignore[method-assign]
    targets = {"eps": eps, "x0": x0, "v": noise.velocity(x0, t, eps)}
    denoiser_target = targets[prediction]
    losses = denoiser.loss(x0, t, eps) * denoiser.min_snr_weight(t, 5.0)
    x0_error = (denoiser(noise.degrade(x0, t, eps), t) - x0).square().flatten(1).mean(1)
    expected = noise.snr(t).clamp(max=5.0) * x0_error
    assert torch.allclose(losses, expected, rtol=1e-3)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("loss", ["eps", "x0", "v"])
def test_a_loss_counts_the_errors_of_the_prediction_that_it_names(prediction: str, loss: str) -> None:
    noise = GaussianNoise(cosine(50))
    t = torch.arange(2, 50)
    x0 = torch.rand(len(t), 1, 4, 4) - 0.5
    eps = torch.randn_like(x0)
    xt, own = noise.degrade(x0, t, eps), Denoiser(nn.Identity(), noise, prediction)
    targets = {"eps": eps, "x0": x0, "v": noise.velocity(x0, t, eps)}
    answer = targets[prediction] + 0.1 * torch.randn_like(x0)
    own.output = lambda xt, t, labels, sigma=None: answer  # type: ignore[method-assign]
    # What the other prediction would have been, of the same estimate of the image.
    estimate = own(xt, t)
    signal = noise.alphas_cumprod[t].float().view(-1, 1, 1, 1)
    other = {"eps": (xt - signal.sqrt() * estimate) / (1 - signal).sqrt(), "x0": estimate}
    other["v"] = noise.velocity(estimate, t, other["eps"])
    expected = (other[loss] - targets[loss]).square().flatten(1).mean(1)
    losses = own.loss(x0, t, eps) * own.loss_weight(t, loss)
    assert torch.allclose(losses, expected, rtol=1e-2)


def test_min_snr_needs_noise() -> None:
    blur = GaussianBlur(constant(5, 1.0), (1, 8, 8), kernel_size=5)
    with pytest.raises(ValueError, match="noise"):
        Denoiser(nn.Identity(), blur, "x0").min_snr_weight(torch.tensor([1]), 5.0)
    with pytest.raises(ValueError, match="noise"):
        Denoiser(nn.Identity(), blur, "x0").loss_weight(torch.tensor([1]), "v")


def test_learning_rate_warms_up_and_decays() -> None:
    factors = [lr_factor(step, step / 100, warmup=9, decay=True) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors.index(max(factors)) in (8, 9)
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert lr_factor(10_000, 1.0, warmup=0, decay=False) == 1


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected
