"""A training survives what happens to it: kills, interrupts, full disks, a loss that is no number."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY
from killing import start

from diffcli.checkpoints.runs import Run
from diffcli.training.checkpoint_callbacks import AtomicCheckpointIO

RECIPE = TINY.replace("epochs: 2", "epochs: 4").replace(
    "lr: 1e-3", "lr: 1e-3, lr_decay: true, warmup: 2, ema: 0.9, stratified_t: true, clip_norm: 1.0"
)
TRAIN = ["train", "--accelerator", "cpu", "-q"]


def new_run(folder: Path) -> Run:
    """A run folder as a training finds it when it saves."""
    folder.mkdir(exist_ok=True)
    (folder / "preset.yaml").touch()
    return Run(folder)


def states_of(run: Path) -> list[torch.Tensor]:
    """Everything in a run's last checkpoint that training goes on from."""
    content = torch.load(Run(run).last, weights_only=True)
    optimizer = [value for state in content["optimizer_states"][0]["state"].values() for value in state.values()]
    weights = [*content["state_dict"].values(), *content.get("current_model_state", {}).values()]
    assert content["global_step"] == 36  # 4 epochs of 1,150 images in batches of 128
    return [*weights, *optimizer]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The run folder of an uninterrupted training, and the seconds that it took."""
    place = tmp_path_factory.mktemp("whole")
    (place / "recipe.yaml").write_text(RECIPE)
    start(place, "train", "--preset", "recipe.yaml", "--dry-run").join()  # imports, once for all
    moment = time.monotonic()
    process = start(place, *TRAIN, "--preset", "recipe.yaml", "--out", "run")
    process.join()
    assert process.exitcode == 0, (place / "messages.txt").read_text()
    return place / "run", time.monotonic() - moment


def finish(place: Path) -> None:
    """Goes on with the run in ``place`` as its user would, to its end."""
    how = (
        ["--resume", "run"] if Run(place / "run").preset_file.is_file() else ["--preset", "recipe.yaml", "--out", "run"]
    )
    process = start(place, *TRAIN, *how)
    process.join()
    messages = (place / "messages.txt").read_text()
    assert process.exitcode == 0 or "is done" in messages, messages


@pytest.mark.parametrize("number", [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 20))])
def test_a_kill_at_any_moment_costs_nothing_but_time(workplace: Path, whole: tuple[Path, float], number: int) -> None:
    run, seconds = whole
    (workplace / "recipe.yaml").write_text(RECIPE)
    process = start(workplace, *TRAIN, "--preset", "recipe.yaml", "--out", "run")
    time.sleep(random.Random(number).uniform(0.05, 0.95) * seconds)
    process.kill()
    process.join()
    finish(workplace)
    for ours, theirs in zip(states_of(workplace / "run"), states_of(run), strict=True):
        assert torch.equal(ours, theirs)
    names = {file.name for file in Run(workplace / "run").checkpoints.iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "epoch-001.ckpt"}


def test_a_run_killed_before_its_first_checkpoint_starts_again(cli, workplace: Path, hot_run: Path) -> None:
    shutil.copytree(hot_run, "run")
    shutil.rmtree("run/checkpoints")
    assert cli(*TRAIN, "--resume", "run").code == 0
    both = [torch.load(Run(run).last, weights_only=True)["state_dict"] for run in (hot_run, Path("run"))]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])


def test_a_run_can_be_moved_and_resumed(cli, workplace: Path, hot_run: Path) -> None:
    shutil.copytree(hot_run, workplace / "elsewhere" / "renamed")
    result = cli(*TRAIN, "--resume", "elsewhere/renamed", "--epochs", 3)
    assert result.code == 0, result.err
    assert torch.load(Run(Path("elsewhere/renamed")).last, weights_only=True)["epoch"] == 2
    assert {path.name for path in workplace.iterdir()} == {"elsewhere"}


def test_a_checkpoint_is_written_between_epochs_too(workplace: Path) -> None:
    (workplace / "recipe.yaml").write_text(RECIPE.replace("epochs: 4", "epochs: 4000"))
    process = start(workplace, *TRAIN, "--preset", "recipe.yaml", "--out", "run", seconds_between=0)
    steps: set[int] = set()
    deadline = time.monotonic() + 60
    while not any(step % 9 for step in steps) and time.monotonic() < deadline:
        time.sleep(0.02)
        if Run(workplace / "run").last.is_file():
            steps.add(torch.load(Run(workplace / "run").last, weights_only=True)["global_step"])
    process.kill()
    process.join()
    assert any(step % 9 for step in steps)


def test_a_second_interrupt_stops_at_once(workplace: Path) -> None:
    # Saving is made to hang, as on a dead network drive: the first interrupt saves, so it hangs; the second does not.
    code = (
        "import time, diffcli.training.checkpoint_callbacks as checkpoints\n"
        "from diffcli.cli import main\n"
        "def hang(self, trainer):\n"
        "    if self._interrupts.stop_agreed:\n"
        "        print('saving', flush=True)\n"
        "        time.sleep(60)\n"
        "    before(self, trainer)\n"
        "before, checkpoints.LastCheckpoint._save = checkpoints.LastCheckpoint._save, hang\n"
        "checkpoints.SECONDS_BETWEEN = 0.2\n"
        "main(['train', '--preset', 'tiny.yaml', '--batch-size', '1', '--epochs', '5000', '--out', 'run', "
        "'--accelerator', 'cpu', '-q'])\n"
    )
    (workplace / "tiny.yaml").write_text(TINY)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while not Run(workplace / "run").last.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 130
    assert error == "stopped at once; the last checkpoint is whole\n"


def test_a_failed_save_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(tmp_path / "run")
    AtomicCheckpointIO(run).save_checkpoint({"step": 1}, run.last)

    def half(content: object, stream) -> None:
        stream.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO(run).save_checkpoint({"step": 2}, run.last)
    assert torch.load(run.last, weights_only=True) == {"step": 1}
    assert [file.name for file in run.checkpoints.iterdir()] == ["last.ckpt"]


def test_a_diverged_training_ends_in_one_line_and_keeps_the_last_good_checkpoint(cli, tiny: Path) -> None:
    assert cli(*TRAIN, "--preset", tiny, "--out", "run").code == 0
    good = Run(Path("run")).last.read_bytes()
    content = torch.load(Run(Path("run")).last, weights_only=True)
    key = next(key for key in content["state_dict"] if key.endswith("weight"))
    content["state_dict"][key].fill_(float("inf"))
    torch.save(content, Run(Path("run")).last)
    last = Run(Path("run")).last.read_bytes()
    assert last != good
    result = cli(*TRAIN, "--resume", "run", "--epochs", 4)
    assert result.code == 1
    assert "finite" in result.err
    assert "last.ckpt" in result.err
    assert result.err.count("\n") == 1
    assert Run(Path("run")).last.read_bytes() == last  # nothing was saved over it


def test_a_vanished_run_folder_ends_in_one_line(cli, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = AtomicCheckpointIO.save_checkpoint

    def vanish(self, checkpoint, path, storage_options=None) -> None:
        shutil.rmtree("run")
        before(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", vanish)
    result = cli(*TRAIN, "--preset", tiny, "--out", "run")
    assert result.code == 1
    assert "run has vanished while it was trained in; nothing was saved yet" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
)
def test_out_of_memory_ends_in_one_line(cli, tiny: Path, hot_run: Path, monkeypatch, error: Exception) -> None:
    from diffcli.diffusion.denoiser import Denoiser

    shutil.copytree(hot_run, "run")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Denoiser, "loss", fail)
    result = cli(*TRAIN, "--resume", "run", "--epochs", 3)
    assert result.code == 1
    assert result.err == (
        "error: out of memory; the last good checkpoint is run/checkpoints/last.ckpt. A smaller --batch-size needs "
        "less\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(cli, tiny: Path, workplace: Path, hot_run: Path) -> None:
    (workplace / "locked").mkdir(mode=0o500)
    for command in (
        [*TRAIN, "--preset", tiny, "--out", "locked/run"],
        ["sample", "--run", hot_run, "--n", 1, "--out", "locked/grid.png"],
    ):
        result = cli(*command)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert "locked cannot be written" in result.err


@pytest.mark.slow
def test_slurm_requeues_the_job_and_the_next_start_goes_on(workplace: Path, whole: tuple[Path, float]) -> None:
    (workplace / "recipe.yaml").write_text(RECIPE)
    (workplace / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {workplace}/requeued\n')
    (workplace / "scontrol").chmod(0o755)
    slurm = {"JOB_ID": "17", "JOB_NAME": "night", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    environment = os.environ | {f"SLURM_{key}": value for key, value in slurm.items()}
    environment |= {"PATH": f"{workplace}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    # Slow steps, so that the signal comes in the middle.
    code = (
        "import sys, time, diffcli.training.module as module\n"
        "from diffcli.cli import main\n"
        "before = module.DiffusionModule.training_step\n"
        "def slow(self, *batch):\n"
        "    time.sleep(0.2)\n"
        "    return before(self, *batch)\n"
        "if sys.argv[1] == '--preset': module.DiffusionModule.training_step = slow\n"
        "main(['train', '--accelerator', 'cpu', '-q', *sys.argv[1:]])\n"
    )
    command = [sys.executable, "-c", code]
    first = subprocess.Popen(
        [*command, "--preset", "recipe.yaml", "--out", "run"], env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not Run(workplace / "run").last.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGUSR1)
    while not (workplace / "requeued").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (workplace / "requeued").read_text() == "requeue 17\n"
    first.send_signal(signal.SIGTERM)
    _, error = first.communicate(timeout=60)
    assert first.returncode == 143, error
    assert list((workplace / "run").glob("hpc_ckpt_*.ckpt"))
    assert torch.load(Run(workplace / "run").last, weights_only=True)["global_step"] < 36
    subprocess.run([*command, "--resume", "run"], env=environment, check=True, timeout=120)
    for ours, theirs in zip(states_of(workplace / "run"), states_of(whole[0]), strict=True):
        assert torch.equal(ours, theirs)
