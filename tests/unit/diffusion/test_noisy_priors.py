"""Priors to which noise is added: only what the noise leaves visible is fitted, as it will be drawn."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor

from diffcli.data.datasets import digits
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation, GaussianBlur, Pixelate
from diffcli.diffusion.priors import FIT_VALUES, PRIORS, Gaussian, Mixture, Prior
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.schedules import constant
from diffcli.inference.sampling import fit_prior, images_to_fit

SHAPE = (1, 8, 8)


def independent(count: int, spreads: list[float], shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Images (count, *shape) whose first pixels vary independently, by ``spreads``, and the others not at all."""
    images = torch.zeros(count, shape[0] * shape[1] * shape[2], dtype=torch.float64)
    images[:, : len(spreads)] = torch.randn(count, len(spreads), dtype=torch.float64) * torch.tensor(spreads)
    return images.view(-1, *shape).float() + 0.25


@pytest.mark.parametrize("kind", [Gaussian, Mixture])
def test_modes_that_noise_hides_are_left_out(kind: type[Mixture]) -> None:
    torch.manual_seed(0)
    images = independent(400, [1.0, 0.3, 0.02, 0.005, 0.001])
    for sigma, count in ((0.0, 5), (0.0015, 5), (0.02, 4), (0.1, 3), (1.0, 2), (50.0, 0)):
        prior = kind(components=3) if kind is Mixture else kind()
        prior.fit(images, None, sigma)
        assert len(prior.modes) == count, sigma
        assert torch.allclose(
            prior(image_generators(0, Stream.SAMPLE, range(4)), SHAPE)[:, 0, 0, 7], torch.tensor(0.25)
        )


@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_one_gaussian_has_the_covariance_of_the_images_whatever_the_noise(sigma: float) -> None:
    torch.manual_seed(0)
    images = independent(300, [1.0, 0.5, 0.25])
    prior = Gaussian()
    prior.fit(images, None, sigma)
    spread = (prior.modes.double().T @ prior.factors[0].double())[:3]
    expected = images.flatten(1)[:, :3].double().T.cov(correction=0)
    assert torch.allclose(spread @ spread.T, expected, atol=1e-5)
    centre = prior.mean.double() + prior.means[0].double() @ prior.modes.double()
    assert torch.allclose(centre, images.flatten(1).double().mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.02])
@pytest.mark.parametrize(("count", "shape"), [(300, (3, 32, 32)), (60, (3, 32, 32)), (2000, (1, 28, 28))])
def test_draws_vary_as_the_images_whatever_way_their_modes_are_found(
    sigma: float, count: int, shape: tuple[int, int, int]
) -> None:
    # scikit-learn chooses between three ways by the number of images, pixels and modes.
    torch.manual_seed(0)
    images = 0.05 * (torch.randn(count, 80) @ torch.randn(80, shape[0] * shape[1] * shape[2])).view(-1, *shape)
    prior = Gaussian()
    prior.fit(images, None, sigma)
    samples = prior(image_generators(0, Stream.SAMPLE, range(500)), shape).flatten(1)
    modes = torch.nn.functional.normalize(prior.modes)
    expected, spread = ((part.flatten(1) @ modes.T).std(dim=0) for part in (images, samples))
    assert torch.allclose(spread, expected, rtol=0.15)


def test_a_covariance_of_few_images_leans_on_the_average_of_all() -> None:
    # Two lumps far apart; the small one happens to be flat in the second direction.
    torch.manual_seed(0)
    many, few = independent(2000, [0.5, 0.5]), independent(20, [0.5, 0.0]) + 20
    prior = Mixture(components=2)
    prior.fit(torch.cat([many, few]), None, 0.1)
    roots = (prior.modes.T @ prior.factors).double()  # (N, D, K), of each covariance
    pixel = [float((root @ root.T)[1, 1]) for root in roots[prior.weights.argsort()]]
    modes, count = len(prior.modes), 20
    average = (2000 * pixel[1] + 0) / 2020
    assert pixel[1] == pytest.approx(0.25, rel=0.1)
    assert pixel[0] == pytest.approx(modes * average / (count + modes), rel=0.02)


def noisy_pixels() -> Degradation:
    degradation = Pixelate(SHAPE, T=5, grid=4)
    degradation.sigmas = torch.full((degradation.T + 1,), 0.1, dtype=torch.float64)
    return degradation


@pytest.mark.parametrize("labelled", [False, True])
def test_real_images_are_likelier_than_by_a_fit_that_ignores_the_noise(labelled: bool) -> None:
    data, degradation = digits(), noisy_pixels()
    train, test = data.development, data.test
    labels, held_labels = (train.labels, test.labels) if labelled else (None, None)
    x0 = to_model(test.images)
    at_T = torch.full((len(x0),), degradation.T)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    xT = degradation.degrade(x0, at_T, noise)
    aware = fit_prior(Mixture(), degradation, train.images, labels)
    ignorant = Mixture()
    ones = to_model(train.images)
    ignorant.fit(degradation.degrade(ones, torch.full((len(ones),), degradation.T), torch.zeros_like(ones)), labels)
    gain = aware.log_density(xT, 0.1, held_labels) - ignorant.log_density(xT, 0.1, held_labels)
    assert float(gain.mean()) > 3 * float(gain.std()) / len(gain) ** 0.5


def test_without_noise_the_mixture_is_scikit_learns() -> None:
    blur = GaussianBlur(constant(20, 0.35), SHAPE, kernel_size=7)
    x0 = to_model(digits().development.images)
    signal = blur.degrade(x0, torch.full((len(x0),), 20))
    prior = Mixture(components=12)
    prior.fit(signal)
    flat, count = signal.flatten(1).double().numpy(), len(prior.modes)
    pca = PCA(n_components=count, random_state=0, whiten=True)
    reference = GaussianMixture(12, init_params="k-means++", max_iter=25, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(pca.fit_transform(flat))
    assert np.allclose(prior.weights.numpy(), reference.weights_, atol=1e-6)
    assert np.allclose(prior.means.numpy(), reference.means_, atol=1e-5)
    covariances = (prior.factors.double() @ prior.factors.double().mT).numpy()
    assert np.allclose(covariances, reference.covariances_, atol=1e-4)


@pytest.mark.parametrize("name", sorted(name for name, kind in PRIORS.items() if kind.needs_fit))
@pytest.mark.parametrize("labelled", [False, True])
def test_a_fit_tells_how_far_it_is(name: str, labelled: bool) -> None:
    train = digits().development
    steps: list[int] = []
    fit_prior(PRIORS[name](), noisy_pixels(), train.images, train.labels if labelled else None, steps.append)
    assert sum(steps) == len(train)
    assert min(steps) >= 0
    assert len([step for step in steps if step]) > (1 if name == "mixture" or (labelled and name == "gaussian") else 0)


class Brief(Prior):
    """One of a plug-in, whose fit takes the images and their labels and no more."""

    def fit(self, signal: Tensor, labels: Tensor | None = None) -> None:  # type: ignore[override]
        self.count = len(signal)


def test_a_fit_need_not_take_the_noise_and_the_bar() -> None:
    steps: list[int] = []
    prior = Brief()
    fit_prior(prior, noisy_pixels(), digits().development.images[:30], None, steps.append)
    assert (prior.count, sum(steps)) == (30, 30)


def test_large_images_are_fitted_to_as_many_as_memory_has_place_for() -> None:
    def of(count: int, *shape: int) -> int:
        return images_to_fit(torch.empty(1, dtype=torch.uint8).expand(count, *shape))

    assert of(57_000, 1, 28, 28) == 50_000
    assert of(50_000, 3, 32, 32) == 50_000
    assert of(50_000, 3, 64, 64) == 12_500 == FIT_VALUES // (3 * 64 * 64)
    assert of(1000, 3, 64, 64) == 1000
    assert of(10, 3, 4096, 4096) == 3


@pytest.mark.parametrize(("sigma", "copies"), [(0.1, 2), (0.0, 4)])
def test_a_fit_copies_its_images_few_times(sigma: float, copies: int) -> None:
    torch.manual_seed(0)
    images = independent(300, [1.0, 0.5, 0.25, 0.1], (3, 64, 64))
    Gaussian().fit(images[:50], None, sigma)  # imports
    tracemalloc.start()
    Gaussian().fit(images, None, sigma)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < copies * images.numel() * 4
