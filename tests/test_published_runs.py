"""The run folders that docs/trainings keeps: whole tables, weights that load, nothing of the machine that made them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

import diffcli

TRAININGS = Path(__file__).parents[1] / "docs" / "trainings"
RUNS = sorted(path.parent for path in TRAININGS.glob("*/run.json"))


def test_there_are_runs() -> None:
    assert RUNS


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_published_run_has_an_unbroken_table_and_its_last_epoch_s_weights(run: Path) -> None:
    with (run / "logs" / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    epoch = int(rows[0]["step"])
    assert 0 <= stored["global_step"] - int(rows[-1]["step"]) < epoch


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_published_run_removes_noise_from_a_stroke(run: Path) -> None:
    stroke = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    stroke[:, :, 5:23, 12:16] = 255
    model = diffcli.load(run, devices=diffcli.Devices("cpu", "1"))
    xt = model.degrade(stroke, t=model.T // 10)
    clean = stroke / 127.5 - 1
    estimate = model.estimate(xt, t=model.T // 10) / 127.5 - 1
    assert (estimate - clean).square().mean() < 0.5 * (xt - clean).square().mean()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_published_run_names_no_folder_of_the_machine_that_made_it(run: Path) -> None:
    for session in json.loads((run / "run.json").read_text(encoding="utf-8"))["sessions"]:
        assert not [word for word in session["command"] if Path(word).is_absolute()]
