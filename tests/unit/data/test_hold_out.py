"""Which images are held out: the same share of each class; and that runs from before keep their split and their
classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import images_with, make_folders

from diffcli.data.datasets import ImageSet, folder
from diffcli.data.sources import NO_LABEL, split


def counts(images: ImageSet) -> dict[int, int]:
    return {int(label): int((images.labels == label).sum()) for label in images.labels.unique()}


@pytest.mark.parametrize("seed", range(5))
def test_each_class_gives_its_share(seed: int) -> None:
    images = images_with([0] * 50 + [1] * 20 + [2] * 5 + [NO_LABEL] * 25)
    train, held_out = split(images, 0.2, seed, by_class=True)
    assert counts(held_out) == {0: 10, 1: 4, 2: 1, NO_LABEL: 5}
    assert counts(train) == {0: 40, 1: 16, 2: 4, NO_LABEL: 20}
    both = torch.cat([train.images, held_out.images]).flatten(1)
    assert len(both.unique(dim=0)) == 100
    again = split(images, 0.2, seed, by_class=True)[1]
    assert torch.equal(again.images, held_out.images)
    assert not torch.equal(split(images, 0.2, seed + 1, by_class=True)[1].images, held_out.images)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("sizes", [[1] * 8 + [92], [2] * 50, [3, 3, 4], [1] * 10, [10], [1, 99]])
def test_the_last_image_of_a_class_is_kept_where_that_is_possible(share: float, sizes: list[int]) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    for seed in range(20):
        train, held_out = split(images_with(labels), share, seed, by_class=True)
        assert len(held_out) == round(share * len(labels))
        missing = len(sizes) - len(counts(train))
        assert missing == max(0, len(held_out) - sum(size - 1 for size in sizes))


def test_small_classes_are_held_out_by_chance_not_by_name() -> None:
    labels = [label for label in range(50) for _ in range(2)]
    choices = [sorted(counts(split(images_with(labels), 0.2, seed, by_class=True)[1])) for seed in range(20)]
    assert len({tuple(one) for one in choices}) == 20
    assert {label for one in choices for label in one} == set(range(50))


def test_images_without_classes_are_split_as_before() -> None:
    images = images_with([NO_LABEL] * 40)
    for share in (0.2, 0.5):
        for by_class, at_random in zip(split(images, share, 3, by_class=True), split(images, share, 3), strict=True):
            assert torch.equal(by_class.images, at_random.images)


def test_folders_called_by_numbers_are_in_their_order(workplace: Path) -> None:
    make_folders(workplace / "images", {"10": 5, "2": 5, "b": 5, "1": 5, "-1": 5, "A": 5, "02": 5})
    source = folder("images", size=8, channels=1)
    assert source.classes == ("-1", "1", "02", "2", "10", "A", "b")
    for part in (source.development, source.test):
        first = part.images[:, 0, 0, 0] // 5  # which of the folders above
        names = [source.classes[label] for label in part.labels.tolist()]
        assert names == [["10", "2", "b", "1", "-1", "A", "02"][number] for number in first.tolist()]
