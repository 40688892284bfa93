"""The last term of the bound on the likelihood: a discretised Gaussian over the 8-bit levels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from diffcli.diffusion.likelihood import fit_width, pixel_cost

SHAPE = (1, 8, 8)


@pytest.mark.parametrize("width", [0.001, 0.01, 0.3])
def test_the_256_levels_share_one_probability(width: float) -> None:
    levels = (torch.arange(256) / 255 - 0.5).view(256, 1, 1, 1)
    for mean in (-0.5, -0.31, 0.1234, 0.5, 0.7):
        cost = pixel_cost(levels, torch.full_like(levels, mean), width)
        assert bool(cost.isfinite().all())
        assert float(torch.exp(-cost).sum()) == pytest.approx(1, abs=1e-6)


def test_the_cost_of_a_pixel_is_its_intervals() -> None:
    # In float64 by the distribution function itself, where that is exact enough.
    grey, mean, width = 100 / 255 - 0.5, torch.tensor(-0.1), 0.02
    normal = Normal(mean.double(), torch.tensor(width).double())
    for level, probability in (
        (grey, normal.cdf(torch.tensor(100.5 / 255 - 0.5)) - normal.cdf(torch.tensor(99.5 / 255 - 0.5))),
        (-0.5, Normal(-0.49, 0.02).cdf(torch.tensor(0.5 / 255 - 0.5).double())),
    ):
        at = mean if level == grey else torch.tensor(-0.49)
        cost = pixel_cost(torch.full((1, 1, 1, 1), level), at.view(1, 1, 1, 1), width)
        assert float(cost) == pytest.approx(-math.log(float(probability)), rel=1e-4)


def test_the_width_is_that_of_the_errors() -> None:
    x0 = ((torch.rand(50, *SHAPE) * 0.5 + 0.25) * 255).round() / 255 - 0.5
    for spread in (0.01, 0.1):
        width = fit_width(x0, x0 + spread * torch.randn(50, *SHAPE, generator=torch.Generator().manual_seed(0)))
        assert width == pytest.approx(spread, rel=0.06)
