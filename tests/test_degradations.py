"""Gaussian noise: the chain's moments against the closed form, per-image t, inverses."""

from __future__ import annotations

import pytest
import torch

from diffcli.diffusion.degradations import DEGRADATIONS, GaussianNoise
from diffcli.diffusion.schedules import constant, cosine, linear


@pytest.fixture(params=["constant", "linear", "cosine"])
def noise(request: pytest.FixtureRequest) -> GaussianNoise:
    return GaussianNoise({"constant": constant(40, 0.05), "linear": linear(40), "cosine": cosine(40)}[request.param])


def test_stepwise_moments_equal_the_closed_form(noise: GaussianNoise) -> None:
    # Through Eq. 1 alone: mean and variance of x_t for a point x0 = 1, as exact recursions in float64.
    mean, variance = 1.0, 0.0
    for t in range(1, noise.T + 1):
        # step() is affine in (x, eps); its coefficients are read off by probing it.
        at_t = torch.tensor([t])
        one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
        signal, sigma = float(noise.step(one, at_t, zero)), float(noise.step(zero, at_t, one))
        mean, variance = signal * mean, signal**2 * variance + sigma**2
        assert float(noise.degrade(one, at_t, zero)) == pytest.approx(mean, rel=1e-5)
        assert float(noise.degrade(zero, at_t, one)) ** 2 == pytest.approx(variance, rel=1e-4)


def test_sampled_chain_has_the_closed_forms_moments() -> None:
    torch.manual_seed(0)
    noise = GaussianNoise(linear(20, 0.01, 0.2))
    x0 = torch.full((40_000, 1, 1, 1), 0.5)
    xt = x0
    for t in range(1, 21):
        xt = noise.step(xt, torch.full((len(xt),), t))
    alpha = float(noise.alphas_cumprod[20])
    assert float(xt.mean()) == pytest.approx(0.5 * alpha**0.5, abs=0.02)
    assert float(xt.var()) == pytest.approx(1 - alpha, rel=0.03)  # not alpha, as the report's section 3.2 has it


def test_t_zero_is_the_identity(noise: GaussianNoise) -> None:
    x0 = torch.randn(3, 1, 8, 8)
    assert torch.equal(noise.degrade(x0, torch.zeros(3, dtype=torch.int64)), x0)


def test_mixed_t_batch_equals_the_per_image_loop(noise: GaussianNoise) -> None:
    x0, eps = torch.randn(6, 3, 5, 5), torch.randn(6, 3, 5, 5)
    t = torch.tensor([0, 1, 7, 39, 40, 20])
    whole = noise.degrade(x0, t, eps)
    single = torch.cat([noise.degrade(x0[i : i + 1], t[i : i + 1], eps[i : i + 1]) for i in range(6)])
    assert torch.equal(whole, single)


def test_noise_and_image_are_recovered() -> None:
    noise = GaussianNoise(linear(50, 0.001, 0.05))
    x0, eps, t = torch.randn(4, 1, 6, 6), torch.randn(4, 1, 6, 6), torch.tensor([1, 10, 30, 50])
    xt = noise.degrade(x0, t, eps)
    assert torch.allclose(noise.noise_from(xt, t, x0), eps, atol=1e-4)
    assert torch.allclose(noise.x0_from(xt, t, eps), x0, atol=1e-4)


@pytest.mark.parametrize("beta", [1.0, 1.5])
def test_noise_of_variance_1_or_more_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=rf"beta must lie in \(0, 1\), got {beta}"):
        GaussianNoise(constant(10, beta))


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_tables_are_not_weights(name: str) -> None:
    shape = {"image_shape": (1, 8, 8)} if name == "gaussian-blur" else {}
    degradation = DEGRADATIONS[name](betas=linear(10), **shape)
    assert not list(degradation.parameters())
    assert not degradation.state_dict()
    assert {buffer.dtype for buffer in degradation.buffers()} == {torch.float32}
