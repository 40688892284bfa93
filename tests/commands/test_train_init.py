"""Trainings that begin from another model's weights: what fits is copied, the rest is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY, Cli
from safetensors.torch import save_file
from torch import Tensor

import diffcli
from diffcli.checkpoints.model_file import read_checkpoint, read_stored
from diffcli.training.initial_weights import begin_from, initial_model
from diffcli.training.options import TrainOptions
from diffcli.training.plan import Plan, plan
from diffcli.utils.errors import UserError

QUICK = ["--epochs", "1", "--limit-batches", "1", "--accelerator", "cpu"]
LABELLED = {"labels": {}, "network": {"name": "compact-unet", "width": 8, "blocks": 1}}


def write_preset(name: str, **changes: object) -> Path:
    Path(name).write_text(yaml.safe_dump(yaml.safe_load(TINY) | changes, sort_keys=False))
    return Path(name)


def train(cli: Cli, preset: Path, *more: str) -> Path:
    result = cli("train", "--preset", preset, *QUICK, "--quiet", *more)
    assert result.code == 0, result.err
    return Path(result.out.strip())


def plan_of(preset: Path | str | None, init: Path | str, **overrides: object) -> Plan:
    return plan(TrainOptions(preset, overrides, init=init))


def state(training: Plan) -> dict[str, Tensor]:
    return training.module.denoiser.state_dict()


def test_a_training_begins_from_the_weights_of_another(cli: Cli, workplace: Path) -> None:
    run = train(cli, write_preset("first.yaml"))
    weights = read_stored(run / "checkpoints" / "best.ckpt").weights
    assert cli("export", run, "--out", "first.safetensors").code == 0
    for init in (run, str(run), "first", "first.safetensors", run / "checkpoints" / "best.ckpt"):
        training = plan_of("first.yaml", init, **{"training.seed": 7})
        assert all(torch.equal(state(training)[key], value) for key, value in weights.items())
        assert training.beginning is not None
        assert training.beginning.facts["weights"] == len(weights)
        assert (training.beginning.facts["anew"], training.beginning.facts["left"]) == ([], [])
    # Another degradation and prediction are taken, and said.
    training = plan_of(write_preset("blur.yaml", prediction="x0"), run)
    assert any("its prediction was eps, and is x0 here" in line for line in training.first_notes)
    assert not any("degradation" in line for line in training.first_notes)


def test_the_first_step_is_taken_from_there(cli: Cli, workplace: Path) -> None:
    run = train(cli, write_preset("first.yaml"))
    result = cli("train", "--init", run, *QUICK, "--set", "training.lr=1e-9", "--out", "again")
    assert (result.code, result.out) == (0, "again\n"), result.err
    before, after = (read_stored(Path(place) / "checkpoints" / "best.ckpt").weights for place in (run, "again"))
    assert f"note: begins from checkpoint {run}/checkpoints/best.ckpt: {len(before)} weights fit" in result.err
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, atol=1e-7, rtol=0)
    facts = json.loads(Path("again/run.json").read_text())["init"]
    assert facts["file"] == str((run / "checkpoints" / "best.ckpt").absolute())
    assert (facts["weights"], facts["anew"], facts["left"]) == (len(before), [], [])
    assert facts["preset"] == "first"
    assert diffcli.load("again").preset_name == "first"
    resumption = cli("train", "--resume", "again", "--epochs", "2", "--quiet")
    assert resumption.code == 0, resumption.err
    assert json.loads(Path("again/run.json").read_text())["init"] == facts
    dry = cli("train", "--preset", "first.yaml", "--init", run, "--dry-run")
    assert "# note: begins from checkpoint" in dry.out


def test_rows_of_labels_are_taken_by_their_names(cli: Cli, workplace: Path) -> None:
    run = train(cli, write_preset("first.yaml", **LABELLED))
    table = read_stored(run / "checkpoints" / "best.ckpt").weights["network.label.table.weight"]
    # Without labels the table is left out; clusters are others each time.
    none = plan_of("first.yaml", run, labels=None)
    assert none.beginning is not None
    assert none.beginning.facts["left"] == ["network.label.table.weight"]
    assert any("1 weights are left out: network.label.table.weight" in line for line in none.first_notes)
    clusters = plan_of("first.yaml", run, labels={"clusters": 10}, **{"training.seed": 7})
    rows = state(clusters)["network.label.table.weight"]
    assert torch.equal(rows[0], table[0])
    assert not (rows[1:] == table[1:]).any()
    assert any("network.label.table.weight of 10 clusters" in line for line in clusters.first_notes)


def test_labels_and_channels_that_differ_are_named(cli: Cli, workplace: Path) -> None:
    run = train(cli, write_preset("first.yaml", **LABELLED))
    content = read_stored(run / "checkpoints" / "best.ckpt")
    pictures = Path("pictures")
    from PIL import Image

    for name in ("7", "cat"):
        (pictures / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8), (number * 20, 9 * len(name), 200)).save(pictures / name / f"{number}.png")
    folder = {"name": "folder", "path": "pictures", "size": 8}
    training = plan_of(write_preset("mine.yaml", **LABELLED, data=folder), run)
    assert training.beginning is not None
    anew = training.beginning.facts["anew"]
    assert [line.split(",")[0].split(" of ")[0] for line in anew] == [
        "network.stem.1.weight",
        "network.head.2.weight",
        "network.head.2.bias",
        "network.label.table.weight",
    ]
    assert "network.stem.1.weight, (8, 4, 3, 3) there and (8, 12, 3, 3) here" in anew
    assert "network.label.table.weight of cat" in anew
    rows = state(training)["network.label.table.weight"]
    assert torch.equal(rows[:2], content.weights["network.label.table.weight"][[0, 8]])
    assert torch.equal(state(training)["network.join.weight"], content.weights["network.join.weight"])
    # The model's own preset on these pictures, which have other classes; the run is called as the folder.
    own = plan(TrainOptions(init=run, images="pictures"))
    assert (own.name, own.preset.network.name, own.preset.prediction) == ("pictures", "compact-unet", "eps")
    assert own.beginning is not None
    assert torch.equal(state(own)["network.join.weight"], content.weights["network.join.weight"])


def test_where_nothing_fits_nothing_is_begun(cli: Cli, workplace: Path) -> None:
    run = train(cli, write_preset("first.yaml"))
    before = sorted(Path("runs").rglob("*"))
    for words, message in (
        (["--preset", "quickstart", "--init", run], "--init runs/first/"),
        (["--preset", "first.yaml", "--init", "nothing"], "unknown run 'nothing'"),
        (["--resume", "last", "--init", run], "--init is what a new run begins from; leave it out with --resume"),
        (["--resume", "last", "--preset", "first.yaml"], "give one of --preset NAME and --resume RUN"),
    ):
        result = cli("train", *words, *QUICK)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert message in result.err
    assert "of network cnn do not fit network compact-unet" in cli("train", "--preset", "quickstart", "--init", run).err
    initial = initial_model(run)
    strange = replace(initial, stored_model=replace(initial.stored_model, weights={"network.a": torch.zeros(3)}))
    with pytest.raises(UserError, match=r"none of its weights fit: network\.\S+, none there and \("):
        begin_from(strange, diffcli.load(run).denoiser, initial.preset)
    assert sorted(Path("runs").rglob("*")) == before
    save_file({"a": torch.zeros(1)}, "other.safetensors")
    with pytest.raises(UserError, match="was not written by diffcli"):
        plan_of("first.yaml", "other.safetensors")


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_there_again(cli: Cli, workplace: Path) -> None:
    run = train(cli, write_preset("first.yaml"))
    result = cli("train", "--init", run, *QUICK, "--set", "training.lr=1e-9", "--out", "again")
    assert result.code == 0, result.err
    for file in Path("again/checkpoints").iterdir():
        file.unlink()
    assert cli("train", "--resume", "again", "--quiet").code == 0
    before = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    after = read_checkpoint(Path("again/checkpoints/best.ckpt"))["state_dict"]
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, atol=1e-7, rtol=0)
    for file in [*Path("again/checkpoints").iterdir(), run / "checkpoints" / "best.ckpt"]:
        file.unlink()
    refusal = cli("train", "--resume", "again", "--quiet")
    assert (refusal.code, refusal.err.count("\n")) == (2, 1)
    assert "again cannot go on: the model that it began from is not what it was, or not there" in refusal.err
