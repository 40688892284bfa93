"""The floor: what real training images score in place of samples."""

from __future__ import annotations

import torch

from diffcli.evaluation.frechet import Reference
from diffcli.experiments.distances import floor_of


def test_the_floor_hardly_depends_on_which_images_are_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    real, known = torch.randn(4000, 8, generator=generator), torch.randn(4000, 8, generator=generator)
    distance = Reference.of(real).distance
    single = torch.tensor([distance(known[k * 200 : (k + 1) * 200]) for k in range(20)])
    means = torch.tensor([floor_of(distance, known, 200, seed) for seed in range(10)])
    assert abs(means.mean() - single.mean()) < 0.1 * single.mean()
    assert means.std() < 0.5 * single.std()
    assert floor_of(distance, known, 200, 3) == floor_of(distance, known, 200, 3)


def test_images_that_are_no_more_than_asked_for_are_the_floor_as_they_are() -> None:
    known = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    distance = Reference.of(torch.randn(60, 4, generator=torch.Generator().manual_seed(2))).distance
    assert floor_of(distance, known, 50, 0) == distance(known)
    assert floor_of(distance, known, 90, 0) == distance(known)
