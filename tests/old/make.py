"""Makes the files that a user of version 0.3.0 has, in the current folder, with that version: see README.md."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
STEP = 25
"""The step of the second epoch at which the training in ``stopped`` is told to stop."""
SAMPLES = {
    "hot": ["--run", "studies/mine/hot"],
    "hot-labels": ["--run", "studies/mine/hot", "--label", "0-9", "--guidance", "1.5"],
    "hot-epoch": ["--checkpoint", "studies/mine/hot/checkpoints/epoch-002.ckpt"],
    "hot-ancestral": ["--run", "studies/mine/hot", "--sampler", "ancestral"],
    "hot-dpm-solver": ["--run", "studies/mine/hot", "--sampler", "dpm-solver++", "--steps", "5"],
    "hot-heun": ["--run", "studies/mine/hot", "--sampler", "heun", "--steps", "5"],
    "hot-file": ["--checkpoint", "hot.safetensors"],
    "compact-file": ["--checkpoint", "compact.safetensors"],
    "cold": ["--run", "studies/mine/cold"],
    "cold-gaussian": ["--run", "studies/mine/cold", "--prior", "gaussian"],
    "cold-blurred-data": ["--run", "studies/mine/cold", "--prior", "blurred-data"],
    "cold-uniform": ["--run", "studies/mine/cold", "--prior", "uniform"],
    "cold-file": ["--checkpoint", "cold.safetensors"],
}


def diffcli(*words: str) -> None:
    try:
        main([*words, "--quiet"])
    except SystemExit as end:
        code = end.code
    assert not code or words[0] == "train", (words, code)


def stopping(module: DiffusionModule, batch: Any, number: int) -> Any:
    if module.global_step == STEP:
        os.kill(os.getpid(), signal.SIGTERM)
    return training_step(module, batch, number)


assert __version__ == "0.3.0"
torch.set_num_threads(1)
training_step = DiffusionModule.training_step
for name, content in {"hot": HOT, "cold": COLD, "compact": COMPACT, "mine": STUDY}.items():
    Path(f"{name}.yaml").write_text(content)
diffcli("study", "mine.yaml", "--extractor", "classifier", "--accelerator", "cpu")
for name in ("hot", "cold"):
    diffcli("export", f"studies/mine/{name}", "--out", f"{name}.safetensors")
diffcli("train", "--preset", "compact.yaml", "--epochs", "1", "--out", "compact", "--accelerator", "cpu")
diffcli("export", "compact", "--half")
Path("model.safetensors").rename("compact.safetensors")
shutil.rmtree("compact")
Path("drawn").mkdir()
for name, words in SAMPLES.items():
    diffcli("sample", *words, "--n", "16", "--seed", "5", "--accelerator", "cpu", "--out", f"drawn/{name}.npz")
with patch.object(DiffusionModule, "training_step", stopping):
    diffcli("train", "--preset", "cold.yaml", "--out", "stopped", "--accelerator", "cpu", "--logger", "csv")
shutil.copytree("stopped", "resumed")
diffcli("train", "--resume", "resumed", "--accelerator", "cpu", "--logger", "csv")
shutil.copy("resumed/logs/metrics.csv", "resumed.csv")
shutil.rmtree("resumed")
for suffix in ("html", "md", "json"):  # the page is large, and made anew
    Path(f"studies/mine/mine.{suffix}").unlink()
