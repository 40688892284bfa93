"""Fitted priors of the signal where the degradation is noise: x_T = sqrt(alpha_T) x_0 + sigma_T eps, alpha_T not yet
0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcli.config.schema import Sampler
from diffcli.data.datasets import digits
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import PRIORS
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.schedules import constant
from diffcli.inference.sampling import Sampling, draw_xT, fit_prior
from diffcli.utils.devices import Processes

SHAPE = (1, 8, 8)
IMAGES = digits().development.images
COUNT = 4000


def draw(name: str, noise: GaussianNoise) -> Tensor:
    prior = fit_prior(PRIORS[name](), noise, IMAGES)
    denoiser = Denoiser(nn.Identity(), noise, "x0")
    sampling = Sampling(denoiser, prior, Sampler(name="ddim"), [noise.T, 0], 0, 8, Processes(torch.device("cpu")))
    return draw_xT(sampling, image_generators(0, Stream.SAMPLE, range(COUNT)), SHAPE).flatten(1).double()


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_x_T_has_the_moments_of_degraded_images_and_a_standard_normal_has_not(name: str) -> None:
    noise = GaussianNoise(constant(200, 0.01))
    alpha = float(noise.alphas_cumprod[200])
    assert alpha == pytest.approx(0.134, abs=0.001)  # what the report's low-beta schedule leaves
    x0 = to_model(IMAGES).flatten(1).double()
    mean = alpha**0.5 * x0.mean(dim=0)
    _, _, modes = torch.linalg.svd(x0 - x0.mean(dim=0), full_matrices=False)
    variances = alpha * ((x0 - x0.mean(dim=0)) @ modes[:5].T).var(dim=0) + (1 - alpha)
    xT, normal = draw(name, noise), draw("standard-normal", noise)
    assert torch.allclose(xT.mean(dim=0), mean, atol=0.08)
    assert torch.allclose((xT @ modes[:5].T).var(dim=0), variances, rtol=0.12)
    assert float((normal.mean(dim=0) - mean).abs().max()) > 0.15
    # The mean brightness of a noise image is nearly 0, and no digit's is.
    assert float(xT.mean()) == pytest.approx(float(mean.mean()), abs=0.01)
    assert float((normal.mean() - mean.mean()).abs()) > 0.05


def test_where_nothing_is_left_it_is_a_standard_normal() -> None:
    noise = GaussianNoise(constant(200, 0.1))
    xT = draw("mixture", noise)
    assert float(xT.mean()) == pytest.approx(0, abs=0.01)
    assert float(xT.std()) == pytest.approx(1, abs=0.01)
