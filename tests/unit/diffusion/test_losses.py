"""The loss of a validation: t and noise belong to the image, and are drawn once."""

from __future__ import annotations

import pytest
import torch

from diffcli.diffusion.degradations import Degradation, GaussianBlur, GaussianNoise
from diffcli.diffusion.losses import Draws, KeptDraws, fixed_draws
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.diffusion.schedules import constant, cosine

SHAPE = (1, 8, 8)


@pytest.mark.parametrize("degradation", [GaussianNoise(cosine(50)), GaussianBlur(constant(50, 0.1), SHAPE, 7)])
def test_draws_belong_to_the_image(degradation: Degradation) -> None:
    draws = fixed_draws(degradation, [7, 3], SHAPE, 5, Stream.VALIDATION)
    for row, index in enumerate([7, 3]):
        generator = generator_for(5, Stream.VALIDATION, index)
        assert int(draws.t[row]) == int(torch.randint(1, 51, (1,), generator=generator))
        noise = torch.randn(SHAPE, generator=generator)
        assert (draws.noise is None) == (not degradation.stochastic)
        assert draws.noise is None or torch.equal(draws.noise[row], noise)


def test_what_is_kept_is_drawn_once_and_takes_no_more_than_its_bytes() -> None:
    drawn: list[int] = []

    def of(kept: KeptDraws, batch: int) -> Draws:
        return kept.of(batch, lambda: drawn.append(batch) or Draws(torch.full((4,), batch), torch.zeros(4, *SHAPE)))  # type: ignore[func-returns-value]

    kept = KeptDraws(limit=2 * (4 * 8 + 4 * 64 * 4))
    for _ in range(3):
        assert [int(of(kept, batch).t[0]) for batch in (0, 1, 2)] == [0, 1, 2]
    assert drawn == [0, 1, 2, 2, 2]
