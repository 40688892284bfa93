"""The densities of priors: against dense Gaussians, and against what the priors draw."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from diffcli.data.datasets import digits
from diffcli.diffusion.degradations import DEGRADATIONS
from diffcli.diffusion.gaussians import mixture_log_density
from diffcli.diffusion.priors import PRIORS, Mixture, Prior
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.schedules import log_widths
from diffcli.inference.sampling import fit_prior

SHAPE = (1, 8, 8)
SIGMA = 0.05
DEVELOPMENT = digits().development
HEAT = DEGRADATIONS["heat"](betas=log_widths(10, 0.3, 3.0), image_shape=SHAPE)


def prior_of(name: str, labels: bool = False, **parameters: int) -> Prior:
    return fit_prior(PRIORS[name](**parameters), HEAT, DEVELOPMENT.images, DEVELOPMENT.labels if labels else None)


def degraded_images() -> Tensor:
    """x_T of twenty images."""
    at_T = torch.full((20,), 10)
    x0 = DEVELOPMENT.images[:20].float() / 255 - 0.5
    noise = torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(0))
    return HEAT.degrade(x0, at_T) + SIGMA * noise


def dense(prior: Mixture, xT: Tensor, which: Tensor) -> Tensor:
    """log density of the Gaussians ``which`` of a mixture, with full covariances."""
    modes, logs = prior.modes.double(), []
    weights = prior.weights.double() * which
    for k in which.nonzero().flatten():
        spread = modes.T @ prior.factors[k].double()
        covariance = spread @ spread.T + SIGMA**2 * torch.eye(64)
        component = MultivariateNormal(prior.mean.double() + prior.means[k].double() @ modes, covariance)
        logs.append(component.log_prob(xT.flatten(1).double()) + (weights[k] / weights.sum()).log())
    return torch.logsumexp(torch.stack(logs), dim=0)


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_a_fitted_prior_has_the_density_of_its_gaussians(name: str) -> None:
    prior, xT = prior_of(name), degraded_images()
    assert isinstance(prior, Mixture)
    densities = prior.log_density(xT, SIGMA)
    assert densities.dtype == torch.float64
    assert torch.allclose(densities, dense(prior, xT, torch.ones(len(prior.weights))), rtol=1e-6)


def test_with_labels_it_is_the_density_of_the_label() -> None:
    prior, xT = prior_of("mixture", labels=True, components=30), degraded_images()
    assert isinstance(prior, Mixture)
    labels = torch.tensor([3, -1] * 10)
    densities = prior.log_density(xT, SIGMA, labels)
    assert torch.allclose(densities[::2], dense(prior, xT[::2], (prior.labels == 3).double()), rtol=1e-6)
    assert torch.allclose(densities[1::2], dense(prior, xT[1::2], torch.ones(len(prior.weights))), rtol=1e-6)


def test_the_uniform_prior_is_a_gaussian_of_flat_images() -> None:
    prior = PRIORS["uniform"](noise=0.02)
    signal = torch.tensor([[0.1, -0.2], [0.3, 0.1], [-0.2, 0.0], [0.0, 0.25]])[:, :, None, None].expand(4, 2, 3, 2)
    prior.fit(signal)
    ones = torch.kron(torch.eye(2).double(), torch.ones(6, 1).double())
    spread = ones @ prior.factor.double()
    noise = 0.02**2 + SIGMA**2
    exact = MultivariateNormal(ones @ prior.mean.double(), spread @ spread.T + noise * torch.eye(12))
    xT = signal + SIGMA * torch.randn(4, 2, 3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(prior.log_density(xT, SIGMA), exact.log_prob(xT.flatten(1).double()), rtol=1e-6)


def test_the_standard_normal_is_one_whatever_noise_is_left() -> None:
    xT = torch.randn(5, *SHAPE)
    exact = MultivariateNormal(torch.zeros(64), torch.eye(64)).log_prob(xT.flatten(1))
    assert torch.allclose(PRIORS["standard-normal"]().log_density(xT, 0.97).float(), exact, rtol=1e-5)


def test_images_that_are_all_alike_leave_noise_alone() -> None:
    prior = PRIORS["mixture"]()
    prior.fit(torch.full((30, *SHAPE), 0.25))
    xT = 0.25 + SIGMA * torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    noise = MultivariateNormal(torch.full((64,), 0.25).double(), SIGMA**2 * torch.eye(64).double())
    assert torch.allclose(prior.log_density(xT, SIGMA), noise.log_prob(xT.flatten(1).double()), rtol=1e-5)


def test_a_prior_is_nearer_to_its_own_draws_than_to_anothers() -> None:
    # E_p[log p - log q] is a divergence: positive, for draws of either of two.
    priors = {name: prior_of(name) for name in ("uniform", "mixture")}
    for name, other in (("uniform", "mixture"), ("mixture", "uniform")):
        generators = image_generators(0, Stream.SAMPLE, range(400))
        points = priors[name](generators, SHAPE) + SIGMA * torch.randn(400, *SHAPE)
        assert float((priors[name].log_density(points, SIGMA) - priors[other].log_density(points, SIGMA)).mean()) > 1


def test_in_one_dimension_it_integrates_to_one() -> None:
    x = torch.linspace(-8, 8, 4001).double()[:, None]
    arguments = (torch.tensor([[2.0]]), torch.tensor([[-1.0], [1.5]]), torch.tensor([[[0.5]], [[0.2]]]))
    density = mixture_log_density(x, *arguments, torch.tensor([0.3, 0.7]).log(), 0.4).exp()
    assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1, abs=1e-6)
    peak = mixture_log_density(torch.tensor([[3.0]]), *arguments, torch.tensor([0.3, 0.7]).log(), 0.4).exp()
    sd = math.hypot(0.4, 0.4)
    far = 0.3 * math.exp(-(5**2) / (2 * (1 + 0.16))) / math.sqrt(2 * math.pi * 1.16)
    assert float(peak) == pytest.approx(0.7 / (sd * math.sqrt(2 * math.pi)) + far, rel=1e-6)
