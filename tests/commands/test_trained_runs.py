"""Run folders that trainings left: what they hold, and which checkpoints are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from conftest import Cli
from killing import start

from diffcli.checkpoints.model_file import read_checkpoint
from diffcli.checkpoints.runs import Run, all_runs, best_checkpoint
from diffcli.inference.loading import read_model
from diffcli.utils.errors import UserError


def test_the_newest_training_is_sampled_listed_and_resumed(cli: Cli, workplace: Path, tiny: Path) -> None:
    train = ["train", "--preset", tiny, "--epochs", 1, "--limit-batches", 1, "--accelerator", "cpu", "-q"]
    old = cli(*train).out.strip()
    assert cli(*train, "--out", "runs/mine").out == "runs/mine\n"
    rows = json.loads(cli("runs", "--json").out)
    assert [(row["run"], row["preset"]) for row in rows] == [("runs/mine", "tiny"), (old, "tiny")]
    for name, several in (([], ""), (["--run", "tiny"], " called tiny")):
        result = cli("sample", *name, "--n", 1, "--steps", 1, "-q")
        assert result.code == 0
        assert result.err == f"note: the run runs/mine is used, the newest of 2{several}\n"
    result = cli("train", "--resume", "last", "--epochs", 2, "-q", "--accelerator", "cpu")
    assert (result.out, "note: the run runs/mine is used" in result.err) == ("runs/mine\n", True)


def test_a_trained_run_holds_what_it_promises(hot_run: Path) -> None:
    run = Run(hot_run)
    info = run.info()
    assert info["preset"] == "tiny"
    assert info["seed"] == 0
    assert info["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt", "epoch-001.ckpt"}
    assert {path.name for path in run.samples.iterdir()} == {
        "epoch-001-unconditional.png",
        "epoch-001-conditional.png",
    }
    assert len(run.metrics_file.read_text().splitlines()) == 3
    assert list((hot_run / "logs").glob("events.out.tfevents.*"))
    assert best_checkpoint(run) == run.best


def test_a_checkpoint_loads_into_the_same_weights(hot_run: Path) -> None:
    model = read_model(Run(hot_run).last)
    state = read_checkpoint(Run(hot_run).last)["state_dict"]
    assert (model.preset_name, model.image_shape, model.epoch) == ("tiny", (1, 8, 8), 2)
    for key, value in model.denoiser.state_dict().items():
        assert torch.equal(value, state[f"denoiser.{key}"])


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_bad_checkpoints_are_refused_in_one_line(workplace: Path, hot_run: Path) -> None:
    good = Run(hot_run).last.read_bytes()
    mark = workplace / "executed"
    Path("truncated.ckpt").write_bytes(good[: len(good) // 2])
    Path("noise.ckpt").write_bytes(b"\x00\x01\x02 not a checkpoint")
    Path("empty.ckpt").write_bytes(b"")
    torch.save({"hello": 1}, "other.ckpt")
    torch.save([1, 2], "list.ckpt")
    torch.save({"code": Trap(mark)}, "code.ckpt")
    with Path("pickle.ckpt").open("wb") as stream:
        pickle.dump(Trap(mark), stream)
    for name in ("truncated", "noise", "empty", "other", "list", "code", "pickle", "missing"):
        with pytest.raises(UserError, match=rf"checkpoint {name}\.ckpt ") as error:
            read_model(Path(f"{name}.ckpt"))
        assert "\n" not in str(error.value)
    assert not mark.exists()


def test_a_checkpoint_of_another_network_is_refused(workplace: Path, hot_run: Path) -> None:
    content = torch.load(Run(hot_run).last, weights_only=True)
    content["hyper_parameters"]["preset"]["network"]["channels"] = [4, 6]
    torch.save(content, "changed.ckpt")
    with pytest.raises(UserError, match=r"is of another network: network\.blocks"):
        read_model(Path("changed.ckpt"))
    content["hyper_parameters"]["preset"]["network"]["channels"] = [4, 4, 4]
    torch.save(content, "changed.ckpt")
    with pytest.raises(UserError, match="is of another network"):
        read_model(Path("changed.ckpt"))


def test_four_trainings_started_together_are_four_runs(workplace: Path, tiny: Path) -> None:
    words = ["train", "--preset", "tiny.yaml", "--epochs", 1, "--limit-batches", 1, "--accelerator", "cpu", "-q"]
    processes = [start(workplace, *words) for _ in range(4)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4, (workplace / "messages.txt").read_text()
    folders = [run.folder for run in all_runs() if run.last.is_file()]
    assert len(set(folders)) == 4
    assert set((workplace / "messages.txt").read_text().split()) == {str(folder) for folder in folders}


def test_a_training_deep_below_the_runs_is_listed_and_sampled(cli: Cli, workplace: Path, tiny: Path) -> None:
    train = ["train", "--preset", tiny, "--epochs", 1, "--limit-batches", 1, "--accelerator", "cpu", "-q"]
    assert cli(*train, "--out", "runs/a/b/c").out == "runs/a/b/c\n"
    assert [row["run"] for row in json.loads(cli("runs", "--json").out)] == ["runs/a/b/c"]
    for name in ("last", "tiny", "a", "b", "c"):
        assert cli("sample", "--run", name, "--n", 1, "--steps", 1, "-q").code == 0, name
