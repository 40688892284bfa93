"""The training recipe: where t falls, weights of the loss, averages, learning rates, budgets of time."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diffcli.checkpoints.runs import Run
from diffcli.config.schema import seconds
from diffcli.diffusion.degradations import GaussianBlur, GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.schedules import constant, cosine
from diffcli.diffusion.times import draw_times
from diffcli.training.pace import lr_factor

RECIPE = TINY.replace("lr: 1e-3", "lr: 1e-3, lr_decay: true, warmup: 2, ema: 0.9, weight_decay: 0.01, clip_norm: 1.0")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    count=st.integers(1, 300),
    T=st.integers(1, 100_000),
    distribution=st.sampled_from(["uniform", "logit-normal"]),
    stratified=st.booleans(),
)
def test_times_lie_in_1_to_T(count: int, T: int, distribution, stratified: bool) -> None:
    t = draw_times(count, T, distribution, stratified, seeded())
    assert t.shape == (count,)
    assert t.dtype == torch.int64
    assert int(t.min()) >= 1
    assert int(t.max()) <= T


def test_uniform_times_are_uniform() -> None:
    counts = torch.bincount(draw_times(100_000, 10, "uniform", False, seeded()), minlength=11)[1:]
    assert counts.min() > 9_600
    assert counts.max() < 10_400


def test_stratified_times_fill_every_stratum() -> None:
    t = draw_times(50, 50, "uniform", True, seeded())
    assert t.tolist() == list(range(1, 51))


def test_logit_normal_times_are_sigmoids_of_a_standard_normal() -> None:
    t = draw_times(200_000, 10_000, "logit-normal", False, seeded()).double() / 10_000
    logits = torch.logit(t.clamp(max=1 - 1e-5))
    assert abs(float(logits.mean())) < 0.02
    assert abs(float(logits.std()) - 1) < 0.02


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_min_snr_makes_every_prediction_weigh_x0_the_same(prediction: str) -> None:
    noise = GaussianNoise(cosine(50))
    t = torch.arange(2, 50)
    x0 = torch.rand(len(t), 1, 4, 4) - 0.5
    eps = torch.randn_like(x0)
    denoiser = Denoiser(nn.Identity(), noise, prediction)
    off = 0.1 * torch.ones_like(x0)  # an output that is wrong by this much
    denoiser.output = lambda xt, t, labels: denoiser_target + off  # type: ignore[method-assign]
    targets = {"eps": eps, "x0": x0, "v": noise.velocity(x0, t, eps)}
    denoiser_target = targets[prediction]
    weighted = denoiser.loss(x0, t, eps) * denoiser.min_snr_weight(t, 5.0)
    x0_error = (denoiser(noise.degrade(x0, t, eps), t) - x0).square().flatten(1).mean(1)
    expected = noise.snr(t).clamp(max=5.0) * x0_error
    assert torch.allclose(weighted, expected, rtol=1e-3)


def test_min_snr_needs_noise() -> None:
    blur = GaussianBlur(constant(5, 1.0), (1, 8, 8), kernel_size=5)
    with pytest.raises(ValueError, match="noise"):
        Denoiser(nn.Identity(), blur, "x0").min_snr_weight(torch.tensor([1]), 5.0)


def test_learning_rate_warms_up_and_decays() -> None:
    factors = [lr_factor(step, step / 100, warmup=9, decay=True) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors.index(max(factors)) in (8, 9)
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert lr_factor(10_000, 1.0, warmup=0, decay=False) == 1


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["10", "m", "0m", "-1s", "10 minutes", ""])
def test_bad_durations_are_refused(cli, tiny: Path, text: str) -> None:
    result = cli("train", "--preset", tiny, f"--set=training.max_time='{text}'")
    assert result.code == 2
    assert "10m" in result.err


def test_the_average_is_in_state_dict_and_the_weights_beside_it(cli, workplace: Path) -> None:
    Path("recipe.yaml").write_text(RECIPE)
    assert cli("train", "--preset", "recipe.yaml", "--out", "run", "--accelerator", "cpu", "-q").code == 0
    content = torch.load(Run(Path("run")).last, weights_only=True)
    averaged, current = content["state_dict"], content["current_model_state"]
    key = next(key for key in averaged if key.endswith("weight"))
    assert not torch.equal(averaged[key], current[key])
    assert (averaged[key] - current[key]).abs().max() < 0.1
    from diffcli.inference.loading import read_model

    sampled_with = read_model(Run(Path("run")).last).denoiser.state_dict()[key.removeprefix("denoiser.")]
    assert torch.equal(sampled_with, averaged[key])


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
