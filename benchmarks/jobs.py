"""Whole commands: how long they take to start, and what two at once leave each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rounds import Side, alternate, rate_of, ratios, spread, table

COMMAND = [sys.executable, "-m", "diffcli"]
TRAIN = [
    "train",
    "--preset",
    "mnist-fast",
    "--set",
    "training.max_time=null",
    "--set",
    "training.sample_epochs=[]",
    "-q",
]
CPU = ["--accelerator", "cpu", "--devices", "1"]


def _train(out: Path, data_dir: Path, epochs: int, batches: int) -> list[str]:
    words = [*TRAIN, *CPU, "--epochs", str(epochs), "--limit-batches", str(batches), "--data-dir", str(data_dir)]
    return [*COMMAND, *words, "--out", str(out)]


def _sample(run: Path, folder: Path, n: int, *others: str) -> list[str]:
    return [
        *COMMAND,
        "sample",
        "--run",
        str(run),
        *CPU,
        "--n",
        str(n),
        *others,
        "--out",
        str(folder / "grid.png"),
        "-q",
    ]


def call(command: Sequence[str]) -> None:
    """Runs a command whose stdout nobody reads."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def starting(data_dir: Path, rounds: int) -> str:
    """The seconds of short commands, beside those of PyTorch's own import."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = folder / "run"
        call(_train(run, data_dir, 1, 2))
        commands = {
            'python -c "import torch"': [sys.executable, "-c", "import torch"],
            "diffcli --help": [*COMMAND, "--help"],
            "diffcli sample --n 1 --steps 1": _sample(run, folder, 1, "--steps", "1"),
            "diffcli sample --n 64 (mnist-fast, guided)": _sample(run, folder, 64),
        }
        rates = alternate(
            {name: rate_of(lambda words=words: call(words), 1) for name, words in commands.items()}, rounds
        )
    first = next(iter(commands))
    rows = []
    for name, values in rates.items():
        rows.append([f"`{name}`", spread([1 / rate for rate in values]), spread(ratios(rates, first, name))])
    return table(["command", "seconds", "times the import"], rows)


@contextmanager
def _run_beside(command: Sequence[str] | None) -> Iterator[None]:
    """While another job runs a command again and again."""
    if command is None:
        yield
        return
    loop = 'while true; do "$@" >/dev/null || exit; done'
    other = subprocess.Popen(["sh", "-c", loop, "sh", *command], start_new_session=True)
    try:
        yield
        if other.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} failed")
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()


def two_at_once(data_dir: Path, rounds: int, batches: int) -> str:
    """Images/s of a training alone, beside samplings, and beside another training."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = folder / "run"
        call(_train(run, data_dir, 1, 2))
        others = {
            "alone": None,
            "beside `diffcli sample --n 250`, again and again": _sample(run, folder, 250),
            "beside another": _train(folder / "other", data_dir, 1000, 1000),
        }

        def side(other: list[str] | None) -> Side:
            def train() -> float:
                with tempfile.TemporaryDirectory(dir=folder) as out, _run_beside(other):
                    call(_train(Path(out) / "run", data_dir, 3, batches))
                    rows = (Path(out) / "run" / "logs" / "metrics.csv").read_text().splitlines()
                call(["rm", "-rf", str(folder / "other")])
                return float(rows[-1].split(",")[4])

            return train

        rates = alternate({name: side(other) for name, other in others.items()}, rounds)
    rows = [[name, spread(rates[name]), spread(ratios(rates, name, "alone"))] for name in others]
    return table(["a training of mnist-fast", "images/s", "times alone"], rows)
