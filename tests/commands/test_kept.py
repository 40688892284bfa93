"""Weights that a training keeps along its way, so that they can be measured beside the best."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import torch
from conftest import TINY

from diffcli.checkpoints.model_file import StoredModel, read_checkpoint, read_stored
from diffcli.checkpoints.runs import Run
from diffcli.inference.loading import read_model

TRAIN = ["train", "--preset", "tiny.yaml", "--accelerator", "cpu", "-q"]


def test_the_weights_of_the_sample_epochs_are_kept(cli, tiny: Path) -> None:
    assert cli(*TRAIN, "--out", "two").code == 0
    assert cli(*TRAIN, "--out", "one", "--epochs", 1).code == 0
    run = Run(Path("two"))
    assert list(run.milestones()) == [1]
    milestone, then = read_checkpoint(run.milestones()[1]), read_checkpoint(Run(Path("one")).last)
    assert all(torch.equal(milestone["state_dict"][name], weight) for name, weight in then["state_dict"].items())
    assert not {"optimizer_states", "loops", "callbacks"} & set(milestone)
    result = cli("eval", "--checkpoint", run.milestones()[1], "--rmse", "--n-test", 4, "--steps", 2, "--json", "-q")
    assert result.code == 0, result.err
    assert json.loads(result.out)["settings"]["epoch"] == 1


def test_the_average_is_kept_where_there_is_one(cli, workplace: Path) -> None:
    Path("tiny.yaml").write_text(TINY.replace("sample_n: 4}", "sample_n: 4, ema: 0.9, guide_at: 0.1}"))
    assert cli(*TRAIN, "--out", "run", "--epochs", 1).code == 0
    run = Run(Path("run"))
    milestone, last = read_checkpoint(run.milestones()[1]), read_checkpoint(run.last)
    assert all(torch.equal(milestone["state_dict"][name], weight) for name, weight in last["state_dict"].items())
    assert set(milestone["guide"]) == {name.removeprefix("denoiser.") for name in milestone["state_dict"]}


def test_weights_kept_along_a_training_with_clusters_are_a_model(cli, workplace: Path) -> None:
    Path("tiny.yaml").write_text(TINY + "labels: {clusters: 4}\n")
    assert cli(*TRAIN, "--out", "run", "--epochs", 1).code == 0
    milestone, last = read_model(Run(Path("run")).milestones()[1]), read_model(Run(Path("run")).last)
    assert milestone.clusters is not None
    assert last.clusters is not None
    assert torch.equal(milestone.clusters, last.clusters)
    assert torch.equal(milestone.sample(3, label=2, steps=2, quiet=True), last.sample(3, label=2, steps=2, quiet=True))


def test_kept_weights_are_all_that_a_model_is_read_from(cli, workplace: Path) -> None:
    Path("tiny.yaml").write_text(
        TINY.replace("sample_n: 4}", "sample_n: 4, ema: 0.9, guide_at: 0.1}") + "labels: {clusters: 4}\n"
    )
    assert cli(*TRAIN, "--out", "run", "--epochs", 1).code == 0
    run = Run(Path("run"))
    milestone, last = read_stored(run.milestones()[1]), read_stored(run.last)
    for field in fields(StoredModel):
        if field.name != "file":
            assert same(getattr(milestone, field.name), getattr(last, field.name)), field.name


def same(a: object, b: object) -> bool:
    """Whether two values are equal, tensors in them bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


def test_other_files_are_no_kept_weights(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.checkpoints.mkdir()
    for name in ("epoch-.ckpt", "epoch-x.ckpt", "epoch-010.ckpt", "epoch-9.ckpt", "best.ckpt"):
        (run.checkpoints / name).touch()
    assert list(run.milestones()) == [9, 10]
