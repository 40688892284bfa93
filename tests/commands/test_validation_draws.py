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
    drawn: list[int] = []

    def counted(degradation: Degradation, indices: list[int], *rest: Any, **named: Any) -> Draws:
        drawn.extend(indices)
        return fixed_draws(degradation, indices, *rest, **named)

    monkeypatch.setattr(training_module, "fixed_draws", counted)
    once = validation_losses(tiny, workplace / "once")
    assert len(once) == 3
    assert drawn == sorted(set(drawn))
    images = len(drawn)
    drawn.clear()
    monkeypatch.setattr(training_module, "KeptDraws", lambda: losses.KeptDraws(limit=0))
    assert validation_losses(tiny, workplace / "anew") == once
    assert len(drawn) == 3 * images
