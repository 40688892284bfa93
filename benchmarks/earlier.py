"""Whole commands of this version and of an earlier one, in turn: samples of ready models, and trainings.

The earlier version is a ``diffcli`` of an environment of its own, by its path.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.jobs import COMMAND, call
from benchmarks.rounds import Side, alternate, rate_of, ratios, spread, table

SAMPLES = (("mnist-fast", 64), ("mnist-fast", 1), ("mnist-fast", 256), ("blur-fast", 64), ("mnist-one-step", 64))
PREDECESSORS = {"mnist-one-step": "mnist-fast"}
"""By ready model that came after 0.3.0: the one that drew such images before. Their images are others."""
TRAININGS = {"mnist-fast": (64, 20, 100), "ddpm-cosine-unet": (128, 1, 3)}
"""By preset: images a batch, and the batches of a short and of a long training."""


def _sample(program: Sequence[str], model: str, n: int, out: Path) -> Side:
    """One over the seconds of a whole command that samples a ready model."""
    words = ["--model", model, "--n", str(n), "--accelerator", "cpu", "--out", str(out), "-q"]
    return rate_of(lambda: call([*program, "sample", *words]), 1)


def _train(program: Sequence[str], preset: str, data_dir: Path, folder: Path) -> Side:
    """Images a second of a training in float32: what more batches take, so that its start and its end do not count."""
    size, short, long = TRAININGS[preset]

    def seconds(batches: int) -> float:
        words = ["--epochs", "1", "--limit-batches", str(batches), "--batch-size", str(size)]
        words += ["--precision", "32-true", "--accelerator", "cpu", "--set", "training.sample_epochs=[]", "-q"]
        with tempfile.TemporaryDirectory(dir=folder) as out:
            words += ["--data-dir", str(data_dir), "--out", str(Path(out) / "run")]
            start = time.perf_counter()
            call([*program, "train", "--preset", preset, *words])
            return time.perf_counter() - start

    return lambda: (long - short) * size / (seconds(long) - seconds(short))


def _images(file: Path) -> np.ndarray:
    with np.load(file) as arrays:
        return arrays[arrays.files[0]].astype(int)


def commands(program: Path, data_dir: Path, rounds: int) -> str:
    """Seconds of samples and images a second of trainings, by version, and how far apart the samples are."""
    programs = {"earlier": [str(program)], "now": COMMAND}
    version = subprocess.run([str(program), "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    alone = alternate({"python": rate_of(lambda: call([sys.executable, "-c", "import torch"]), 1)}, rounds)["python"]
    rows = [['`python -c "import torch"`', "", f"{spread([1 / rate for rate in alone])} s", "", ""]]
    with tempfile.TemporaryDirectory() as place:
        for model, n in SAMPLES:
            files = {side: Path(place) / f"{side}.npz" for side in programs}
            models = {"earlier": PREDECESSORS.get(model, model), "now": model}
            sides = {side: _sample(words, models[side], n, files[side]) for side, words in programs.items()}
            rates = alternate(sides, rounds)
            cells = [f"{spread([1 / rate for rate in rates[side]])} s" for side in programs]
            name, apart = f"`sample --model {model} --n {n}`", ""
            if model in PREDECESSORS:
                name += f", earlier `{PREDECESSORS[model]}`"
            else:
                apart = str(np.abs(_images(files["now"]) - _images(files["earlier"])).max())
            rows.append([name, *cells, spread(ratios(rates, "now", "earlier")), apart])
        for preset in TRAININGS:
            sides = {side: _train(words, preset, data_dir, Path(place)) for side, words in programs.items()}
            rates = alternate(sides, rounds)
            cells = [f"{spread(rates[side])} images/s" for side in programs]
            rows.append([f"`train --preset {preset}`, float32", *cells, spread(ratios(rates, "now", "earlier")), ""])
    return table(["command", f"diffcli {version}", "now", "times as fast", "levels of grey apart at most"], rows)
