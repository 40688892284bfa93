"""One generator per image: draws depend on the seed and the index, never on the batch."""

from __future__ import annotations

import torch

from diffcli.diffusion.priors import StandardNormal
from diffcli.diffusion.randomness import Stream, generator_for, image_generators, randn_images


def test_an_images_numbers_do_not_depend_on_its_batch() -> None:
    together = randn_images(image_generators(7, Stream.SAMPLE, range(5)), (1, 3, 3))
    alone = randn_images(image_generators(7, Stream.SAMPLE, [3]), (1, 3, 3))
    assert torch.equal(together[3], alone[0])


def test_seeds_streams_and_indices_all_matter() -> None:
    keys = [
        (0, Stream.SAMPLE, 0),
        (1, Stream.SAMPLE, 0),
        (0, Stream.TEST, 0),
        (0, Stream.SAMPLE, 1),
        (0, Stream.TRAIN, 0),
    ]
    draws = {float(torch.rand((), generator=generator_for(seed, stream, index))) for seed, stream, index in keys}
    assert len(draws) == len(keys)


def test_standard_normal_has_mean_0_and_variance_1() -> None:
    drawn = StandardNormal()(image_generators(0, Stream.SAMPLE, range(200)), (1, 16, 16))
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.var()) - 1) < 0.02
