"""The loss of a validation: t and noise belong to the image, and are drawn once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffcli.diffusion.degradations import Degradation, GaussianBlur, GaussianNoise
from diffcli.diffusion.losses import Draws, KeptDraws, fixed_draws, fixed_loss
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
    calls: list[int] = []

    def of(store: KeptDraws, batch: int) -> Draws:
        return store.of(batch, lambda: calls.append(batch) or Draws(torch.full((4,), batch), torch.zeros(4, *SHAPE)))  # type: ignore[func-returns-value]

    store = KeptDraws(limit=2 * (4 * 8 + 4 * 64 * 4))
    for _ in range(3):
        assert [int(of(store, batch).t[0]) for batch in (0, 1, 2)] == [0, 1, 2]
    assert calls == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("labels", [None, torch.tensor([2, 0])])
def test_a_fixed_loss_is_of_the_draws_and_of_the_labels(labels: torch.Tensor | None) -> None:
    calls: list[tuple[torch.Tensor | None, ...]] = []

    def loss(*arguments: torch.Tensor | None) -> torch.Tensor:
        calls.append(arguments)
        return torch.tensor([1.0, 2.0])

    denoiser: Any = SimpleNamespace(loss=loss)
    x0, draws = torch.rand(2, *SHAPE), Draws(torch.tensor([3, 4]), torch.ones(2, *SHAPE))
    assert fixed_loss(denoiser, x0, draws, labels).tolist() == [1.0, 2.0]
    for argument, expected in zip(calls[0], (x0, draws.t, draws.noise, labels, draws.sigma), strict=True):
        assert argument is expected is None or torch.equal(argument, expected)  # type: ignore[arg-type]
