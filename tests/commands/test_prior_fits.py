"""What a training fits its priors to: the training split, image by image with its label, and no other image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import diffcli
from diffcli.config.build import splits
from diffcli.config.registry import build
from diffcli.config.schema import Component
from diffcli.data.datasets import ImageSet
from diffcli.diffusion.priors import Prior
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.inference.sampling import fit_prior


@pytest.fixture
def model(blur_run: Path) -> diffcli.Model:
    return diffcli.load(blur_run)


def fitted_to(model: diffcli.Model, component: Component, images: ImageSet) -> dict[str, torch.Tensor]:
    prior = fit_prior(build("prior", component), model.denoiser.degradation, images.images, images.labels)
    return dict(prior.state_dict())


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(
        one[name].shape == table.shape and torch.allclose(one[name].double(), table.double(), atol=1e-4)
        for name, table in other.items()
    )


@pytest.mark.parametrize("name", ["uniform", "gaussian", "mixture"])
def test_a_training_fits_priors_to_its_training_split(model: diffcli.Model, name: str) -> None:
    train, val = splits(model.preset, model.source())
    component = model.prior_component(name)
    assert equal(model.prior_states[name], fitted_to(model, component, train))
    # So that another split, or labels of other images, would be seen.
    for others in (val, model.source().test, train[torch.arange(len(train) // 2)]):
        assert not equal(model.prior_states[name], fitted_to(model, component, others))
    if name != "uniform":
        mismatch = ImageSet(train.images, train.labels.roll(1))
        assert not equal(model.prior_states[name], fitted_to(model, component, mismatch))


def draws(prior: Prior, model: diffcli.Model, labels: torch.Tensor) -> torch.Tensor:
    generators = image_generators(0, Stream.SAMPLE, range(len(labels)))
    return prior(generators, model.image_shape, "cpu", labels).flatten(1)


def test_blurred_data_are_training_images_of_the_label(model: diffcli.Model) -> None:
    labels = torch.arange(200) % 10
    points = draws(model.prior("blurred-data"), model, labels)
    source = model.source()
    train, val = splits(model.preset, source)

    def nearest(images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
        """(distance to the nearest degraded image, its label) of each draw."""
        distances = torch.cdist(points.double(), model.degrade(images.images, model.T).flatten(1).double())
        return distances.min(dim=1).values, images.labels[distances.argmin(dim=1)]

    distance, label = nearest(train)
    assert distance.max() < 1e-5
    assert torch.equal(label, labels)
    for others in (val, source.test):
        assert (nearest(others)[0] > 1e-3).double().mean() > 0.9
