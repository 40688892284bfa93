"""Schedules against closed forms, golden constants and bad arguments."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffcli.diffusion.noise_levels import NOISE_LEVELS
from diffcli.diffusion.schedules import SCHEDULES, checked_width, constant, cosine, linear, log_widths


@pytest.mark.parametrize(
    ("betas", "alpha_T"),
    [
        (constant(2000, 0.001), 0.1352),
        (constant(200, 0.1), 7.06e-10),
        (linear(1000, 1e-4, 0.02), 4.036e-5),
    ],
    ids=["lowbeta", "highbeta", "linear"],
)
def test_alpha_at_T_of_the_reports_schedules(betas: torch.Tensor, alpha_T: float) -> None:
    assert float(torch.prod(1 - betas)) == pytest.approx(alpha_T, rel=1e-3)


def test_linear_golden_constant() -> None:
    assert float(torch.prod(1 - linear(1000))) == pytest.approx(4.0358e-5, rel=1e-4)


def test_linear_is_a_line_between_its_ends() -> None:
    betas = linear(11, 0.1, 0.2)
    assert torch.allclose(betas[1:].diff(), torch.full((10,), 0.01, dtype=torch.float64))
    assert (float(betas[1]), float(betas[-1])) == pytest.approx((0.1, 0.2))


def test_cosine_follows_its_formula_until_the_clip() -> None:
    T, s = 100, 0.008
    alphas = torch.cumprod(1 - cosine(T, s), dim=0)

    def f(t: int) -> float:
        return math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2

    for t in range(T):
        assert float(alphas[t]) == pytest.approx(f(t) / f(0), rel=1e-9)
    assert float(cosine(T, s)[T]) == pytest.approx(0.999)


def test_a_shift_multiplies_the_signal_to_noise_ratio_of_the_cosine() -> None:
    def snr(shift: float) -> torch.Tensor:
        alphas = torch.cumprod(1 - cosine(100, shift=shift), dim=0)[1:-1]
        return alphas / (1 - alphas)

    assert torch.allclose(snr(4.0), 16 * snr(1.0), rtol=1e-9)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_tables_are_float64_with_a_zero_first(name: str) -> None:
    required: dict[str, dict[str, Any]] = {"constant": {"T": 7, "beta": 0.5}, "betas": {"values": [0.5] * 7}}
    betas = SCHEDULES[name](**required.get(name, {"T": 7}))
    assert betas.dtype == torch.float64
    assert betas.shape == (8,)
    assert float(betas[0]) == 0
    assert bool((betas[1:] > 0).all())
    assert name == "log-widths" or bool((betas[1:] < 1).all())  # those are square pixels


@given(T=st.integers(1, 500), beta=st.floats(1e-5, 0.999))
def test_alpha_falls_at_every_step(T: int, beta: float) -> None:
    alphas = torch.cumprod(1 - constant(T, beta), dim=0)
    assert bool((alphas.diff() <= 0).all())


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_a_beta_that_is_no_variance_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        constant(10, beta)
    with pytest.raises(ValueError, match="must be positive"):
        linear(10, beta, 0.5)
    with pytest.raises(ValueError, match="must be positive"):
        cosine(10, shift=beta)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\)"):
        cosine(10, beta_clip=beta)


@pytest.mark.parametrize("T", [0, -1, 10**9])
def test_T_out_of_range_is_refused(T: int) -> None:
    for schedule in (lambda: constant(T, 0.1), lambda: linear(T), lambda: cosine(T), lambda: log_widths(T)):
        with pytest.raises(ValueError, match="T must be in"):
            schedule()


def test_a_falling_line_is_refused() -> None:
    with pytest.raises(ValueError, match="beta_max must be at least beta_min"):
        linear(10, 0.5, 0.1)


def test_noise_levels_start_at_0_and_are_lines() -> None:
    assert NOISE_LEVELS["constant"](T=3, sigma=0.01).tolist() == [0, 0.01, 0.01, 0.01]
    levels = NOISE_LEVELS["linear"](T=4, sigma_max=0.3, sigma_min=0.1)
    assert levels.dtype == torch.float64
    assert levels.tolist() == pytest.approx([0, 0.15, 0.2, 0.25, 0.3])


def test_widths_of_heat_dissipation_grow_by_the_same_factor() -> None:
    widths = log_widths(100).cumsum(0).sqrt()
    assert (float(widths[1]), float(widths[100])) == pytest.approx((0.5, 20))
    assert (widths[2:] / widths[1:-1]).tolist() == pytest.approx([40 ** (1 / 99)] * 99)
    assert float(log_widths(1)[1]) == pytest.approx(400)
    for widest, message in ((0.5, "must be more than width_min, got 0.5 <= 0.5"), (math.inf, "must be positive")):
        with pytest.raises(ValueError, match=message):
            log_widths(5, 0.5, widest)


def test_noise_levels_that_grow_by_a_factor_and_as_a_sine() -> None:
    levels = NOISE_LEVELS["geometric"](T=3, sigma_min=0.01, sigma_max=1.0)
    assert levels.tolist() == pytest.approx([0, 0.01, 0.1, 1.0])
    assert NOISE_LEVELS["geometric"](T=1, sigma_min=0.01, sigma_max=1.0).tolist() == [0, 1.0]
    levels = NOISE_LEVELS["sine"](T=6, sigma_max=2.0)
    assert levels.tolist() == pytest.approx([2 * math.sin(math.pi * t / 12) for t in range(7)])
    # The noise of the cosine schedule without its offset.
    alphas = torch.cumprod(1 - cosine(6, s=1e-9, beta_clip=1 - 1e-12), dim=0)
    assert torch.allclose(NOISE_LEVELS["sine"](T=6)[:6], (1 - alphas[:6]).sqrt(), atol=1e-4)


def test_a_width_in_percent_is_of_the_images_shorter_side() -> None:
    for sides in ((32, 32), (64, 64), (64, 48)):
        side = min(sides)
        widths = log_widths(60, 0.3, "12.5%", image_shape=(3, *sides)).cumsum(0).sqrt()
        assert (float(widths[1]), float(widths[60])) == pytest.approx((0.3, side / 8))
    assert torch.equal(log_widths(9, "1%", "25%", image_shape=(3, 200, 300)), log_widths(9, 2.0, 50.0))
    with pytest.raises(ValueError, match="a width of 14% needs the `image_shape`"):
        log_widths(9, 0.3, "14%")
    with pytest.raises(ValueError, match=r"got 1% <= 0\.5, in pixels 0\.32 <= 0\.5"):
        log_widths(9, 0.5, "1%", image_shape=(3, 32, 32))
    with pytest.raises(ValueError, match=r"width_min must be positive, got 0\.0"):
        log_widths(9, "0%", "1%", image_shape=(3, 32, 32))


@pytest.mark.parametrize("width", ["14", "%", "-3%", "14 %", "1e1%", "wide", True, None, [1.0]])
def test_what_is_no_width_is_refused(width: object) -> None:
    with pytest.raises(ValueError, match="a width is a number of pixels, or a percentage"):
        checked_width(width)
    assert (checked_width(4), checked_width("14%")) == (4.0, "14%")
