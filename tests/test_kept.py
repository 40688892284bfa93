"""Weights that a training keeps along its way, so that they can be measured beside the best."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from conftest import TINY

from diffcli.checkpoints import read_checkpoint
from diffcli.runs import Run

TRAIN = ["train", "--preset", "tiny.yaml", "--accelerator", "cpu", "-q"]


def test_the_weights_of_the_sample_epochs_are_kept(cli, tiny: Path) -> None:
    assert cli(*TRAIN, "--out", "two").code == 0
    assert cli(*TRAIN, "--out", "one", "--epochs", 1).code == 0
    run = Run(Path("two"))
    assert list(run.kept()) == [1]
    kept, then = read_checkpoint(run.kept()[1]), read_checkpoint(Run(Path("one")).last)
    assert all(torch.equal(kept["state_dict"][name], weight) for name, weight in then["state_dict"].items())
    assert not {"optimizer_states", "loops", "callbacks"} & set(kept)
    result = cli("eval", "--checkpoint", run.kept()[1], "--rmse", "--n-test", 4, "--steps", 2, "--json", "-q")
    assert result.code == 0, result.err
    assert json.loads(result.out)["settings"]["epoch"] == 1


def test_the_average_is_kept_where_there_is_one(cli, workplace: Path) -> None:
    Path("tiny.yaml").write_text(TINY.replace("sample_n: 4}", "sample_n: 4, ema: 0.9, guide_at: 0.1}"))
    assert cli(*TRAIN, "--out", "run", "--epochs", 1).code == 0
    run = Run(Path("run"))
    kept, last = read_checkpoint(run.kept()[1]), read_checkpoint(run.last)
    assert all(torch.equal(kept["state_dict"][name], weight) for name, weight in last["state_dict"].items())
    assert set(kept["guide"]) == {name.removeprefix("denoiser.") for name in kept["state_dict"]}


def test_other_files_are_no_kept_weights(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.checkpoints.mkdir()
    for name in ("epoch-.ckpt", "epoch-x.ckpt", "epoch-010.ckpt", "epoch-9.ckpt", "best.ckpt"):
        (run.checkpoints / name).touch()
    assert list(run.kept()) == [9, 10]
