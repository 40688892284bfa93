"""The loss of a validation: t and noise belong to the image, and are drawn once."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import diffcli.training.module as training_module
from diffcli.diffusion import losses
from diffcli.diffusion.degradations import Degradation, GaussianBlur, GaussianNoise
from diffcli.diffusion.losses import Draws, KeptDraws, fixed_draws
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.diffusion.schedules import constant, cosine
from diffcli.training.run import train
from diffcli.utils.devices import Devices

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


def validation_losses(preset: Path, folder: Path) -> list[float]:
    options: Any = {"devices": Devices("cpu", "1"), "quiet": True}
    run = train(str(preset), {"training.epochs": 3, "training.val_every": 1}, out=folder, **options)
    with run.metrics_file.open() as stream:
        return [float(row["val_loss"]) for row in csv.DictReader(stream)]


def test_a_training_draws_for_its_validations_once(
    tiny: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def counted(degradation: Degradation, indices: list[int], *rest: Any) -> Draws:
        drawn.extend(indices)
        return fixed_draws(degradation, indices, *rest)

    monkeypatch.setattr(training_module, "fixed_draws", counted)
    once = validation_losses(tiny, workplace / "once")
    assert len(once) == 3
    assert drawn == sorted(set(drawn))
    images = len(drawn)
    drawn.clear()
    monkeypatch.setattr(training_module, "KeptDraws", lambda: losses.KeptDraws(limit=0))
    assert validation_losses(tiny, workplace / "anew") == once
    assert len(drawn) == 3 * images
