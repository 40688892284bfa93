"""A training draws t and noise for its validations once."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import diffcli.training.module as training_module
from diffcli.diffusion import losses
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.losses import Draws, fixed_draws
from diffcli.training.run import train
from diffcli.utils.devices import Devices


def validation_losses(preset: Path, folder: Path) -> list[float]:
    options: Any = {"devices": Devices("cpu", "1"), "quiet": True}
    run = train(str(preset), {"training.epochs": 3, "training.val_every": 1}, out=folder, **options)
    with run.metrics_file.open() as stream:
        return [float(row["val_loss"]) for row in csv.DictReader(stream)]


def test_a_training_draws_for_its_validations_once(
    tiny: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []

    def record(degradation: Degradation, indices: list[int], *rest: Any, **options: Any) -> Draws:
        numbers.extend(indices)
        return fixed_draws(degradation, indices, *rest, **options)

    monkeypatch.setattr(training_module, "fixed_draws", record)
    once = validation_losses(tiny, workplace / "once")
    assert len(once) == 3
    assert numbers == sorted(set(numbers))
    images = len(numbers)
    numbers.clear()
    monkeypatch.setattr(training_module, "KeptDraws", lambda: losses.KeptDraws(limit=0))
    assert validation_losses(tiny, workplace / "anew") == once
    assert len(numbers) == 3 * images
