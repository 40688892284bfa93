"""Copies of training images are near to them, mirrored ones too where the training showed them so."""

from __future__ import annotations

import pytest
import torch

from diffcli.data.sources import ImageSet
from diffcli.evaluation.distances import Distances
from diffcli.utils.cache import Cache
from diffcli.utils.devices import Processes


def pictures(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.full((count,), -1))


def nearest(samples: torch.Tensor, *, mirrored: bool) -> dict[str, float]:
    judge = Distances(
        train=pictures(30, 0),
        test=pictures(20, 1),
        metrics=frozenset({"nearest"}),
        extractors=[],
        classifier=None,
        n=len(samples),
        seed=0,
        processes=Processes(torch.device("cpu")),
        quiet=True,
        cache=Cache(None),
        mirrored=mirrored,
    )
    return judge.of(samples, None)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mirrored_copy_is_one_where_the_training_was_mirrored(mirrored: bool) -> None:
    copies = pictures(30, 0).images
    assert nearest(copies, mirrored=mirrored)["nearest"] == pytest.approx(0, abs=1e-3)
    scores = nearest(copies.flip(-1), mirrored=mirrored)
    if mirrored:
        assert scores["nearest"] == pytest.approx(0, abs=1e-3)
    else:
        assert scores["nearest"] > 0.5 * scores["nearest_test"]


def test_test_images_are_measured_alike() -> None:
    samples = pictures(20, 1).images
    for mirrored in (False, True):
        scores = nearest(samples, mirrored=mirrored)
        assert scores["nearest"] == pytest.approx(scores["nearest_test"], rel=1e-6)
    assert nearest(samples, mirrored=True)["nearest"] < nearest(samples, mirrored=False)["nearest"]
