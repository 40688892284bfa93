"""The label of a measured image: found by what the estimates of each label explain, in words of probability."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mixtures import PixelMixture, smooth_mixture
from torch import Tensor, nn

from diffcli.config.schema import Sampler
from diffcli.diffusion.degradations import GaussianNoise, Pixelate
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.measurements import measurement_at
from diffcli.diffusion.posterior import POSTERIORS, moments
from diffcli.diffusion.priors import StandardNormal
from diffcli.diffusion.schedules import cosine
from diffcli.inference.label_evidence import label_log_likelihoods, label_probabilities, labels_drawn
from diffcli.inference.posterior import draw_posterior
from diffcli.inference.sampling import Sampling
from diffcli.utils.devices import Processes

SHAPE = (1, 4, 4)


class Exact(nn.Module):
    """The exact denoiser of images of three labels, each a Gaussian of its own."""

    def __init__(self, degradation: GaussianNoise, mixtures: list[PixelMixture]) -> None:
        super().__init__()
        self.degradation, self.classes = degradation, len(mixtures)
        self.estimates = [mixture.denoiser(degradation) for mixture in mixtures]

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        every = torch.stack([estimate(xt.double(), t) for estimate in self.estimates])
        return every[labels, torch.arange(len(xt))].float()


def labelled() -> list[PixelMixture]:
    """Three labels whose images differ by their means."""
    together = smooth_mixture(3, SHAPE, 1.0)
    one = torch.ones(1, dtype=torch.float64)
    return [
        PixelMixture(one, m[None], c[None], SHAPE) for m, c in zip(together.means, together.covariances, strict=True)
    ]


def sampling_of(batch_size: int) -> Sampling:
    noise = GaussianNoise(cosine(30))
    noise.image_shape = SHAPE
    denoiser: Any = Exact(noise, labelled())
    sampler = Sampler.model_validate({"name": "ddim", "eta": 1.0})
    cpu = Processes(torch.device("cpu"))
    return Sampling(denoiser, StandardNormal(), sampler, [30, 25, 20, 15, 10, 5, 0], 0, batch_size, cpu)


@pytest.mark.parametrize("method", ["moments", "isotropic"])
def test_the_label_that_explains_the_measurement_is_found(method: str) -> None:
    pixelate = Pixelate(SHAPE, T=1, block=2)
    count, sigma = 20, 0.1
    labels = torch.arange(3).repeat_interleave(count)
    x0 = torch.cat([mixture.draw(count, 5 + label) for label, mixture in enumerate(labelled())]).float()
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    y = pixelate.degrade(x0, torch.ones(3 * count, dtype=torch.int64)) + sigma * noise
    pixelate.image_shape = SHAPE
    measurement = measurement_at(pixelate, 1, y, sigma=sigma)
    logs = label_log_likelihoods(sampling_of(64), measurement, method, [0, 1, 2])
    probabilities = label_probabilities(logs, [0, 1, 2], [1 / 3] * 3)
    # Bayes' rule with the true densities, which nobody does better than.
    exact = torch.stack([_density(mixture, pixelate, y, sigma) for mixture in labelled()], dim=1).softmax(dim=1)
    right = float((probabilities.argmax(dim=1) == labels).double().mean())
    assert right > float((exact.argmax(dim=1) == labels).double().mean()) - 0.12
    assert right > 0.6
    sure = float(probabilities.amax(dim=1).mean())
    assert abs(sure - right) < 0.2
    for size in (1, 7):
        assert torch.equal(label_log_likelihoods(sampling_of(size), measurement, method, [0, 1, 2]), logs)


def test_labels_are_weighed_with_one_gradient_and_samples_drawn_with_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[int | None] = []

    def recorder(*parts: Any, iterations: int | None) -> X0Function:
        limits.append(iterations)
        return moments(*parts, iterations=iterations)

    monkeypatch.setitem(POSTERIORS, "moments", recorder)
    pixelate = Pixelate(SHAPE, T=1, block=2)
    pixelate.image_shape = SHAPE
    measurement = measurement_at(pixelate, 1, torch.zeros(2, *SHAPE), sigma=0.1)
    label_log_likelihoods(sampling_of(8), measurement, "moments", [0, 1, 2])
    assert set(limits) == {1}
    limits.clear()
    draw_posterior(sampling_of(8), measurement, "moments", torch.zeros(1, 2, dtype=torch.int64))
    assert set(limits) == {None}


def _density(mixture: PixelMixture, pixelate: Pixelate, y: Tensor, sigma: float) -> Tensor:
    from mixtures import matrix_of

    A = matrix_of(measurement_at(pixelate, 1, y).operator, SHAPE)
    covariance = A @ mixture.covariances[0] @ A.T + sigma**2 * torch.eye(16)
    return torch.distributions.MultivariateNormal(A @ mixture.means[0], covariance).log_prob(y.double().flatten(1))


def test_probabilities_are_by_bayes_rule() -> None:
    likelihoods = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    probabilities = label_probabilities(likelihoods, [0, 2], [0.25, 0.0, 0.75])
    odds = float(probabilities[0, 0] / probabilities[0, 2])
    assert odds == pytest.approx(torch.tensor(2.0).exp().item() / 3)
    assert float(probabilities[0, 1]) == 0
    assert float(probabilities.sum()) == pytest.approx(1)


def test_labels_are_drawn_in_proportion_the_most_probable_first() -> None:
    probabilities = torch.tensor([[0.1, 0.6, 0.3], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert labels_drawn(probabilities, 1).tolist() == [[1, 2]]
    ten = labels_drawn(probabilities, 10)
    assert ten[:, 0].tolist() == [1] * 6 + [2] * 3 + [0]
    assert ten[:, 1].tolist() == [2] * 10
