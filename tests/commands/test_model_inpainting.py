"""In-painting with a trained model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sampler_names import ON_NOISE
from torch import Tensor

import diffcli

CPU = diffcli.Devices("cpu", "1")


@pytest.fixture(scope="module")
def model(hot_run: Path) -> diffcli.Model:
    return diffcli.load(hot_run, devices=CPU)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


LOWER = (torch.arange(8) >= 4).view(8, 1).expand(8, 8)


@pytest.mark.parametrize("sampler", ON_NOISE)
def test_a_model_paints_what_is_marked_and_nothing_else(model: diffcli.Model, images: Tensor, sampler: str) -> None:
    painting = model.inpaint(images, LOWER, 2, sampler=sampler, steps=5)
    assert painting.dtype == torch.uint8
    assert torch.equal(painting[:, :, :4], images[:, :, :4])
    assert not torch.equal(painting[:, :, 4:], images[:, :, 4:])


def test_the_same_seed_paints_the_same_whatever_the_batch_size(model: diffcli.Model, images: Tensor) -> None:
    painting = model.inpaint(images, LOWER, seed=3)
    for size in (1, 2):
        apart = model.inpaint(images, LOWER, seed=3, batch_size=size)
        assert int((apart.int() - painting.int()).abs().max()) <= 1  # rounding
    assert not torch.equal(model.inpaint(images, LOWER, seed=4), painting)
    assert not torch.equal(model.inpaint(images, LOWER, seed=3, resampling=1), painting)


def test_what_is_under_the_mask_does_not_matter(model: diffcli.Model, images: Tensor) -> None:
    hidden = images.masked_fill(LOWER, 255)
    assert torch.equal(model.inpaint(hidden, LOWER, 1), model.inpaint(images, LOWER, 1))


def test_each_image_may_have_its_own_mask(model: diffcli.Model, images: Tensor) -> None:
    masks = torch.stack([LOWER, ~LOWER, LOWER.T, LOWER, LOWER])
    painting = model.inpaint(images, masks, 1)
    assert torch.equal(painting[~masks.unsqueeze(1)], images[~masks.unsqueeze(1)])
    assert torch.equal(painting[0], model.inpaint(images, LOWER, 1)[0])


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (torch.ones(8, 8), "`mask` must be bool, (8, 8) or (5, 8, 8), got float32 (8, 8)"),
        (torch.ones(7, 8, dtype=torch.bool), "got bool (7, 8)"),
        (torch.ones(4, 8, 8, dtype=torch.bool), "got bool (4, 8, 8)"),
        (torch.zeros(8, 8, dtype=torch.bool), "`mask` marks nothing to be painted"),
        (torch.ones(8, 8, dtype=torch.bool), "`mask` marks all of an image"),
    ],
)
def test_a_mask_that_is_none_is_refused(model: diffcli.Model, images: Tensor, mask: Tensor, expected: str) -> None:
    with pytest.raises(diffcli.UserError) as error:
        model.inpaint(images, mask)
    assert expected in str(error.value)
