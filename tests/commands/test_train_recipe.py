"""The training recipe by command: averages, budgets of time, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from conftest import TINY

from diffcli.checkpoints.runs import Run

RECIPE = TINY.replace("lr: 1e-3", "lr: 1e-3, lr_decay: true, warmup: 2, ema: 0.9, weight_decay: 0.01, clip_norm: 1.0")


@pytest.mark.parametrize("text", ["10", "m", "0m", "-1s", "10 minutes", ""])
def test_bad_durations_are_refused(cli, tiny: Path, text: str) -> None:
    result = cli("train", "--preset", tiny, f"--set=training.max_time='{text}'")
    assert result.code == 2
    assert "10m" in result.err


def test_the_average_is_in_state_dict_and_the_weights_beside_it(cli, workplace: Path) -> None:
    Path("recipe.yaml").write_text(RECIPE)
    assert cli("train", "--preset", "recipe.yaml", "--out", "run", "--accelerator", "cpu", "-q").code == 0
    content = torch.load(Run(Path("run")).last, weights_only=True)
    averages, current = content["state_dict"], content["current_model_state"]
    key = next(key for key in averages if key.endswith("weight"))
    assert not torch.equal(averages[key], current[key])
    assert (averages[key] - current[key]).abs().max() < 0.1
    from diffcli.inference.loading import read_model

    sampled_with = read_model(Run(Path("run")).last).denoiser.state_dict()[key.removeprefix("denoiser.")]
    assert torch.equal(sampled_with, averages[key])


def test_a_resumed_recipe_ends_where_an_uninterrupted_one_does(cli, workplace: Path) -> None:
    recipe = RECIPE.replace("lr_decay: true", "lr_decay: false, optimizer: muon, guide_at: 0.2")
    Path("recipe.yaml").write_text(recipe + "labels: {dropped: 0.3}\n")
    train = ["train", "--accelerator", "cpu", "-q"]
    assert cli(*train, "--preset", "recipe.yaml", "--out", "whole", "--epochs", 2).code == 0
    assert cli(*train, "--preset", "recipe.yaml", "--out", "parts", "--epochs", 1).code == 0
    assert cli(*train, "--resume", "parts", "--epochs", 2).code == 0
    whole, parts = (torch.load(Run(Path(name)).last, weights_only=True) for name in ("whole", "parts"))
    # Of the shorter plan the early average is earlier.
    assert any(not torch.equal(weight, parts["guide"][key]) for key, weight in whole["guide"].items())
    for state in ("state_dict", "current_model_state"):
        for key, value in whole[state].items():
            assert torch.equal(value, parts[state][key]), (state, key)


def test_a_time_budget_ends_the_training_its_learning_rate_and_its_resumes(cli, workplace: Path) -> None:
    Path("recipe.yaml").write_text(RECIPE)
    train = ["train", "--accelerator", "cpu", "-q"]
    result = cli(*train, "--preset", "recipe.yaml", "--out", "run", "--epochs", 100_000, "--max-time", "3s")
    assert result.code == 0, result.err
    run = Run(Path("run"))
    content = torch.load(run.last, weights_only=True)
    assert content["optimizer_states"][0]["param_groups"][0]["lr"] < 1e-5  # of 1e-3
    rows = list(csv.DictReader(run.metrics_file.open()))
    assert 0 < len(rows) < 10_000
    assert rows[-1]["val_loss"]
    assert run.best.is_file()
    again = cli(*train, "--resume", "run")
    assert again.code == 2
    assert "3s" in again.err
    assert "--max-time" in again.err
    assert cli(*train, "--resume", "run", "--max-time", "1h", "--epochs", len(rows) + 2).code == 0
    assert len(list(csv.DictReader(run.metrics_file.open()))) > len(rows)


def test_min_snr_on_a_blur_is_refused(cli, workplace: Path) -> None:
    result = cli("train", "--preset", "quickstart-blur", "--set", "training.min_snr=5", "--dry-run")
    assert result.code == 2
    assert "training.min_snr" in result.err


def test_a_budget_that_is_spent_between_two_epochs_ends_the_training_after_a_step(
    cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcli.training.callbacks import EpochSamples
    from diffcli.training.pace import TimeBudget

    late = 0.0

    def draw(*_: object) -> None:
        nonlocal late
        late = 100_000.0

    elapsed = TimeBudget.elapsed
    monkeypatch.setattr(TimeBudget, "elapsed", lambda self: elapsed(self) + late)
    monkeypatch.setattr(EpochSamples, "_draw", draw)
    Path("recipe.yaml").write_text(RECIPE)
    train = ["train", "--accelerator", "cpu", "-q", "--epochs", 5, "--max-time", "1h"]
    result = cli(*train, "--preset", "recipe.yaml", "--out", "run")
    assert result.code == 0, result.err
    content = torch.load(Run(Path("run")).last, weights_only=True)
    assert content["global_step"] == 10  # an epoch of nine, and one at a learning rate of nothing
    assert content["optimizer_states"][0]["param_groups"][0]["lr"] < 1e-9
