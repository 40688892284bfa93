"""The floor: what real training images with the samples' labels score in their place."""

from __future__ import annotations

import pytest
import torch

from diffcli.diffusion.labels import SampleLabels
from diffcli.evaluation.floors import FLOORS, POOL, Pool, floor_of
from diffcli.evaluation.frechet import Reference

ANY = torch.full((200,), -1)


def test_the_floor_hardly_depends_on_which_images_are_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    real, training = torch.randn(4000, 8, generator=generator), torch.randn(4000, 8, generator=generator)
    distance = Reference.of(real).distance
    single = torch.tensor([distance(training[k * 200 : (k + 1) * 200]) for k in range(20)])

    def floor(seed: int) -> float:
        pool = Pool.like(ANY, torch.zeros(4000), seed)
        return floor_of(distance, training[pool.indices], pool.sets(ANY, FLOORS, seed))

    means = torch.tensor([floor(seed) for seed in range(10)])
    assert abs(means.mean() - single.mean()) < 0.1 * single.mean()
    assert means.std() < 0.5 * single.std()
    assert floor(3) == floor(3)


@pytest.mark.parametrize("count", [50, 90])
def test_images_that_are_no_more_than_asked_for_are_the_floor_as_they_are(count: int) -> None:
    training = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    distance = Reference.of(torch.randn(60, 4, generator=torch.Generator().manual_seed(2))).distance
    pool = Pool.like(ANY[:count], torch.zeros(50), 0)
    sets = pool.sets(ANY[:count], FLOORS, 0)
    assert [len(one) for one in sets] == [50]
    assert floor_of(distance, training[pool.indices], sets) == pytest.approx(distance(training), rel=1e-9)


def test_real_images_have_the_labels_of_the_samples() -> None:
    training = torch.randint(10, (6000,), generator=torch.Generator().manual_seed(0))
    samples = SampleLabels(shares=(0.1,) * 10).of(0, range(400))
    pool = Pool.like(samples, training, seed=1)
    assert torch.equal(training[pool.indices], pool.labels)
    assert len(pool.indices) == POOL * 400
    sets = pool.sets(samples, 7, seed=2)
    assert len(sets) == 7
    for positions in sets:
        assert torch.equal(training[pool.indices[positions]].bincount(), samples.bincount())
        assert len(positions.unique()) == 400
    assert not torch.equal(sets[0], sets[1])
    # Samples without a label stand for any image; a label that the training images hardly have gives what there is.
    labels = torch.tensor([-1] * 30 + [3] * 10)
    (positions,) = Pool.like(labels, training[:60], seed=0).sets(labels, 1, seed=0)
    assert 30 < len(positions) <= 40


def test_a_floor_of_even_labels_is_lower_than_one_of_independent_images() -> None:
    """The case that flattered labelled models: their own labels are even, those of the floor were not."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(10, 8, generator=generator)
    labels = torch.randint(10, (6000,), generator=generator)
    images = centres[labels] + torch.randn(6000, 8, generator=generator)
    distance, training = Reference.of(images[3000:]).distance, images[:3000]
    even = SampleLabels(shares=tuple((labels.bincount() / 6000).tolist())).of(0, range(300))

    def floor(classes: torch.Tensor) -> float:
        pool = Pool.like(classes, labels[:3000], 0)
        return floor_of(distance, training[pool.indices], pool.sets(classes, FLOORS, 0))

    assert floor(even) < 0.7 * floor(torch.full((300,), -1))
