"""Makes the files of a user of version 0.3.0 or 1.0.0, in the current folder, with that version: see README.md."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from diffcli import __version__
from diffcli.cli import main
from diffcli.training.module import DiffusionModule

HOT = """\
description: 8x8 digits by label, from noise, guided by an early average
data: {name: digits}
schedule: {name: cosine, T: 20}
degradation: {name: gaussian-noise}
network: {name: cnn, channels: [4, 4], kernel_size: 3}
prediction: x0
prior: {name: standard-normal}
sampler: {name: ddim, eta: 1.0, steps: 6, autoguidance: 1.5, guided_t: [0.3, 0.85]}
labels: {dropped: 0.1}
training: {epochs: 4, batch_size: 64, lr: 2e-3, lr_decay: true, ema: 0.9, guide_at: 0.3, sample_epochs: [2], sample_n: 4}
"""  # noqa: E501
COLD = """\
description: 8x8 digits, from a blur, without labels
data: {name: digits}
schedule: {name: constant, T: 10, beta: 0.35}
degradation: {name: gaussian-blur, kernel_size: 7}
network: {name: cnn, channels: [4, 4], kernel_size: 3}
prediction: x0
prior: {name: mixture, components: 2}
sampler: {name: cold, clip: true}
training: {epochs: 2, batch_size: 64, lr: 2e-3, seed: 3}
"""
COMPACT = (
    HOT.replace("{name: cnn, channels: [4, 4], kernel_size: 3}", "{name: compact-unet, width: 8, blocks: 1}")
    .replace("lr: 2e-3, lr_decay: true, ema: 0.9, guide_at: 0.3, sample_epochs: [2], sample_n: 4", "lr: 2e-3")
    .replace(", autoguidance: 1.5, guided_t: [0.3, 0.85]", "")
)
STUDY = """\
title: Hot and cold
models:
  hot: {preset: hot.yaml, label: none}
  cold: {preset: cold.yaml, set: {training.lr: 4e-3}}
evaluation: {n_test: 10, n_fid: 20, steps: 4, metrics: [fid, rmse, class_kept]}
claims: [{better: hot, than: cold, metric: fid}]
"""
NOISY = """\
description: 8x8 digits by label, from a blur with noise that the transformer is told of
data: {name: digits}
schedule: {name: constant, T: 10, beta: 0.35}
degradation: {name: gaussian-blur, kernel_size: 7}
network: {name: dit, width: 8, depth: 1}
input: wiener
measurement_noise: 0.02
prediction: x0
prior: {name: mixture, components: 2}
sampler: {name: cold, clip: true}
labels: {dropped: 0.2}
training: {epochs: 2, batch_size: 64, lr: 2e-3}
"""
OWN = """\
description: waves of a file, by cluster, from noise
data: {name: npz, path: own.npz}
labels: {clusters: 4}
schedule: {name: cosine, T: 20}
degradation: {name: gaussian-noise}
network: {name: dit, width: 8, depth: 1}
prediction: v
prior: {name: standard-normal}
sampler: {name: dpm-solver++, steps: 5}
training: {epochs: 10, batch_size: 16, lr: 2e-3, optimizer: muon}
"""
STEP = 25
"""The step of the second epoch at which the training in ``stopped`` is told to stop."""
STOP_CODE = 128 + signal.SIGTERM
COMMANDS = json.loads((Path(__file__).parent / "commands.json").read_text())
"""By the version that brought them, and by the name of a file in ``drawn``, the commands that draw it."""
FIRST = __version__ == "0.3.0"
"""Whether the files are those of 0.3.0, which knows less."""


def diffcli(*words: str) -> None:
    try:
        main([*words, "--quiet"])
    except SystemExit as end:
        code = end.code
    assert not code or code == STOP_CODE, (words, code)


def stopping(module: DiffusionModule, batch: Any, number: int) -> Any:
    if module.global_step == STEP:
        os.kill(os.getpid(), signal.SIGTERM)
    return training_step(module, batch, number)


def diffcli_on_cpu(*words: str) -> None:
    diffcli(*words, "--accelerator", "cpu")


def make_first_files() -> None:
    """Makes the files that a user of each version can have."""
    for name, content in {"hot": HOT, "cold": COLD, "compact": COMPACT, "mine": STUDY}.items():
        if not FIRST:  # few weights take little room
            content = content.replace("kernel_size: 3}", "kernel_size: 3, time_width: 16}")
        Path(f"{name}.yaml").write_text(content)
    diffcli_on_cpu("study", "mine.yaml", "--extractor", "classifier")
    for name in ("hot", "cold"):
        diffcli("export", f"studies/mine/{name}", "--out", f"{name}.safetensors")
    diffcli_on_cpu("train", "--preset", "compact.yaml", "--epochs", "1", "--out", "compact")
    diffcli("export", "compact", "--half")
    Path("model.safetensors").rename("compact.safetensors")
    shutil.rmtree("compact")
    with patch.object(DiffusionModule, "training_step", stopping):
        diffcli_on_cpu("train", "--preset", "cold.yaml", "--out", "stopped", "--logger", "csv")
    resume("stopped", "resumed.csv")
    for suffix in ("html", "md", "json"):  # the page is large, and made anew
        Path(f"studies/mine/mine.{suffix}").unlink()


def make_new_files() -> None:
    """Makes the files that a user of 0.3.0 could not have."""
    rows, columns = np.mgrid[:8, :8] * 0.7
    phases = np.linspace(0, 6, 100)[:, None, None]
    waves = 127 + 60 * np.cos(columns + phases) + 60 * np.sin(rows + 2 * phases)
    np.savez_compressed("own.npz", images=waves.astype(np.uint8))
    for name, content in {"noisy": NOISY, "own": OWN}.items():
        Path(f"{name}.yaml").write_text(content)
        diffcli_on_cpu("train", "--preset", f"{name}.yaml", "--out", name, "--logger", "csv")
    few = ["--set", "sampler.steps=2", "--set", "training.max_time=null", "--set", "training.lr_decay=false"]
    student = ["--teacher", "hot.safetensors", *few, "--epochs", "1", "--limit-batches", "4"]
    diffcli_on_cpu("train", *student, "--out", "student", "--logger", "csv")
    # Runs name the files that they need by their whole paths, too, which are others where the tests have the files.
    for file in Path().glob("*/run.json"):
        file.write_text(file.read_text().replace(f"{Path.cwd()}/", ""))
    resume("student", "student.csv", "--epochs", "2")
    for name in ("noisy", "own", "student"):
        diffcli("export", name, "--out", f"{name}.safetensors")
    metrics = ["--fid", "--swd", "--rmse", "--ssim", "--loss", "--class-kept", "--extractor", "classifier"]
    diffcli_on_cpu("eval", "--run", "studies/mine/hot", *metrics, "--n-test", "10", "--n-fid", "20", "--steps", "4")
    diffcli_on_cpu("restore", "drawn/hot.npz", "--run", "noisy", "--t", "6", "--out", "degraded.npz")


def resume(run: str, table: str, *words: str) -> None:
    """Resumes a copy of a run, of which the table of losses stays."""
    shutil.copytree(run, "resumed")
    diffcli_on_cpu("train", "--resume", "resumed", *words, "--logger", "csv")
    shutil.copy("resumed/logs/metrics.csv", table)
    shutil.rmtree("resumed")


def draw(commands: dict[str, str]) -> None:
    """Draws images by each command, with PyTorch, which 0.3.0 always does."""
    engine = [] if FIRST else ["--engine", "torch"]
    for name, command in commands.items():
        diffcli_on_cpu(*shlex.split(command), "--seed", "5", *engine, "--out", f"drawn/{name}.npz")


assert __version__ in COMMANDS
torch.set_num_threads(1)
training_step = DiffusionModule.training_step
Path("drawn").mkdir()
make_first_files()
draw(COMMANDS["0.3.0"])
if not FIRST:
    make_new_files()
    draw(COMMANDS["1.0.0"])
