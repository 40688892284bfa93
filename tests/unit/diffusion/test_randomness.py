"""One generator per image: draws depend on the seed and the index, never on the batch."""

from __future__ import annotations

import pytest
import torch

from diffcli.diffusion import randomness
from diffcli.diffusion.priors import StandardNormal
from diffcli.diffusion.randomness import Noise, Stream, generator_for, image_generators, randn_images


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
    samples = StandardNormal()(image_generators(0, Stream.SAMPLE, range(200)), (1, 16, 16))
    assert abs(float(samples.mean())) < 0.02
    assert abs(float(samples.var()) - 1) < 0.02


SHAPES = [(1, 1, 1), (1, 3, 3), (1, 4, 4), (3, 5, 5), (1, 7, 7), (1, 8, 8), (3, 6, 8), (1, 28, 28), (3, 32, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("calls", [-1, 1, 4, 5, 9])
def test_noise_drawn_ahead_is_that_of_one_call_after_another(shape: tuple[int, ...], calls: int) -> None:
    # Smaller images than 16 pixels, and others that 16 does not divide, take their numbers in another order.
    one_by_one, ahead = (image_generators(1, Stream.SAMPLE, range(3)) for _ in range(2))
    for generator in [*one_by_one, *ahead]:
        torch.multinomial(torch.ones(5), 1, generator=generator)  # as the mixture prior begins
    noise = Noise(ahead, shape, calls=calls)
    for _ in range(7):
        expected = torch.stack([torch.randn(shape, generator=generator) for generator in one_by_one])
        assert torch.equal(noise(), expected)


def test_noise_is_drawn_in_as_few_calls_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, **options: counts.append(size[0]) or randn(*size, **options))
    monkeypatch.setattr(randomness, "AHEAD_BYTES", 2 * 64 * 4 * 3)  # three calls for two images of 8x8
    noise = Noise(image_generators(0, Stream.SAMPLE, range(2)), (1, 8, 8), calls=5)
    for _ in range(5):
        noise()
    assert counts == [3, 3, 2, 2]
    monkeypatch.setattr(randomness, "AHEAD_BYTES", 0)
    noise = Noise(image_generators(0, Stream.SAMPLE, range(2)), (1, 8, 8), calls=5)
    assert noise().shape == (2, 1, 8, 8)
    assert counts[4:] == [1, 1]
