"""Noise between two noises: as likely as they are, and theirs at the ends."""

from __future__ import annotations

import math

import pytest
import torch

from diffcli.diffusion.randomness import (
    InterpolatedGenerator,
    Noise,
    Stream,
    generator_for,
    normals,
    randn_images,
    slerp,
)

SHAPE = (3, 20, 20)


def between(share: float, index: int = 0) -> InterpolatedGenerator:
    return InterpolatedGenerator(generator_for(3, Stream.SAMPLE, index), generator_for(7, Stream.SAMPLE, index), share)


@pytest.mark.parametrize("angle", [0.3, 1.5, 3.0])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_an_arc_turns_evenly(angle: float, share: float) -> None:
    first = torch.zeros(5)
    first[1] = 2.0
    second = torch.tensor([0.0, math.cos(angle), 0.0, math.sin(angle), 0.0]) * 2
    point = torch.tensor([0.0, math.cos(share * angle), 0.0, math.sin(share * angle), 0.0]) * 2
    assert torch.allclose(slerp(first, second, share), point, atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.0, -1.0])
def test_of_one_direction_an_arc_is_a_line(factor: float) -> None:
    first = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(slerp(first, factor * first, 0.25), (0.75 + 0.25 * factor) * first, atol=1e-6)


def test_noise_in_between_is_as_large_and_as_normal_where_a_line_shrinks_it() -> None:
    sources = [between(0.5, index) for index in range(200)]
    noise = randn_images(sources, SHAPE)
    ends = [randn_images([getattr(between(0.5, i), end) for i in range(200)], SHAPE) for end in ("first", "second")]
    assert abs(float(noise.std()) - 1) < 0.01
    assert abs(float(noise.pow(4).mean()) - 3) < 0.05
    assert float(((ends[0] + ends[1]) / 2).std()) < 0.72
    # It has as much of the one as of the other.
    for end in ends:
        assert abs(float((noise * end).mean()) - math.sqrt(0.5)) < 0.01


@pytest.mark.parametrize(("share", "seed"), [(0.0, 3), (1.0, 7)])
def test_at_its_ends_are_the_numbers_of_the_two_seeds_to_the_bit(share: float, seed: int) -> None:
    for calls in (1, 4):
        noise = Noise([between(share)], SHAPE, calls=calls)
        alone = Noise([generator_for(seed, Stream.SAMPLE, 0)], SHAPE, calls=calls)
        for _ in range(3):
            assert torch.equal(noise(), alone())


def test_each_draw_is_interpolated_by_itself_however_many_are_drawn_at_once() -> None:
    together, source = normals(between(0.3), 3, SHAPE), between(0.3)
    assert torch.equal(together, torch.cat([normals(source, 1, SHAPE) for _ in range(3)]))
