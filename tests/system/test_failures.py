"""One of several processes fails: one line says so, and none waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY

from diffcli.checkpoints.runs import Run

FAILING = """\
import os, signal, sys, time
from diffcli.utils import distributed as peers
from diffcli.cli import main
from diffcli.diffusion.denoiser import Denoiser
from diffcli.training import module

rank, how = sys.argv[1:3]
calls = []
def failing(before):
    def call(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 12 and how == "kill unseen" and "LOCAL_RANK" not in os.environ:
            peers.SECONDS_TO_NOTICE = 0.5
            time.sleep(100)
        if len(calls) == 12 and rank in (os.environ.get("LOCAL_RANK", "0"), "all"):
            if how == "memory":
                raise MemoryError
            if how == "disk":
                raise OSError(28, "No space left on device")
            if how == "bug":
                raise AssertionError("a bug")
            if how == "nan":
                return before(self, *arguments, **options) * float("nan")
            os.kill(os.getpid(), signal.SIGKILL)
        return before(self, *arguments, **options)
    return call
if "train" in sys.argv:
    module.DiffusionModule.training_step = failing(module.DiffusionModule.training_step)
else:
    Denoiser.forward = failing(Denoiser.forward)
main(sys.argv[3:])
"""
TWO = ["--devices", "2", "--strategy", "ddp", "--accelerator", "cpu", "-q"]


def failure(place: Path, rank: str, how: str, *command: str) -> subprocess.CompletedProcess[str]:
    """``command`` in two processes, of which ``rank`` fails."""
    (place / "tiny.yaml").write_text(TINY)
    (place / "failing.py").write_text(FAILING)
    words = [sys.executable, "failing.py", rank, how, *command, *TWO]
    process = subprocess.run(
        words, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert process.returncode != 0
    assert process.stdout == ""
    return process


TRAIN = ("train", "--preset", "tiny.yaml", "--out", "run")
SAMPLE = ("sample", "--n", "64", "--batch-size", "8", "--out", "grid.png")
CASES = {
    "second": ("1", "memory", "error: process 2: out of memory; "),
    "first": ("0", "memory", "error: out of memory; "),
    "first's disk": ("0", "disk", "error: a file cannot be written: No space left on device"),
    "second killed": ("1", "kill", "error: process 2 was ended by SIGKILL"),
}


QUICK = [(TRAIN, "second"), (SAMPLE, "second killed")]
ALL = [(command, case) for command in (TRAIN, SAMPLE) for case in CASES]


@pytest.mark.parametrize(
    ("command", "case"), [pytest.param(*one, marks=[] if one in QUICK else pytest.mark.slow) for one in ALL]
)
def test_a_process_that_fails_is_told_of_once(
    workplace: Path, hot_run: Path, command: tuple[str, ...], case: str
) -> None:
    rank, how, expected = CASES[case]
    words = command if command is TRAIN else (*command, "--run", str(hot_run))
    error = failure(workplace, rank, how, *words).stderr
    assert error.startswith(expected), error
    assert error.count("\n") == 1, error
    if command is TRAIN:
        assert str(Run(Path("run")).last) in error
        names = {file.name for file in Run(workplace / "run").checkpoints.iterdir()} - {"epoch-001.ckpt"}
        assert names == {"best.ckpt", "last.ckpt"}
    assert not (workplace / "grid.png").exists()
    assert not list(workplace.glob(".*"))


@pytest.mark.slow
def test_what_all_processes_find_is_told_of_once(workplace: Path) -> None:
    error = failure(workplace, "all", "nan", *TRAIN).stderr
    assert "finite" in error
    assert (error.startswith("error: "), error.count("\n")) == (True, 1), error


@pytest.mark.slow
def test_a_bug_shows_itself_where_it_is_and_nowhere_else(workplace: Path) -> None:
    error = failure(workplace, "1", "bug", *TRAIN).stderr
    assert error.count("AssertionError: a bug") == 1
    assert error.count("Traceback") == 1
    assert "gloo" not in error


@pytest.mark.slow
def test_a_process_that_fails_while_the_first_cannot_notice_is_told_of(workplace: Path) -> None:
    process = failure(workplace, "1", "kill unseen", *TRAIN)
    assert process.returncode == 1
    assert process.stderr.startswith("error: process 2 was ended by SIGKILL; the last good checkpoint is run/")
    assert process.stderr.count("\n") == 1
