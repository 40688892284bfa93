"""Batches as large as the device holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli
from torch import Tensor, nn

from diffcli.inference.loading import load
from diffcli.inference.options import SamplerOptions
from diffcli.inference.sampling import CPU_BATCH, LARGEST_BATCH, Sampling
from diffcli.utils.devices import Processes


class Small(nn.Module):
    """A denoiser on a device with memory for so many images."""

    def __init__(self, like: Any, holds: int) -> None:
        super().__init__()
        self.degradation, self.classes, self.holds = like.degradation, like.classes, holds
        self.measurement_noise = self.sigma = 0.0

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        if len(xt) > self.holds:
            raise torch.OutOfMemoryError("no more memory")
        return xt


class Accelerator:
    """Stands for a device that is no CPU, for tensors that stay on it."""

    type = "cuda"


@pytest.mark.parametrize(("holds", "expected"), [(1, 1), (100, 64), (128, 128), (10**6, LARGEST_BATCH)])
def test_the_largest_batch_is_found(hot_run: Path, monkeypatch: pytest.MonkeyPatch, holds: int, expected: int) -> None:
    model = load(hot_run)
    sampling = model.sampling(SamplerOptions())
    small: Any = Small(sampling.denoiser, holds)
    places = iter([Accelerator()])
    monkeypatch.setattr(Sampling, "device", property(lambda self: next(places, torch.device("cpu"))))
    largest = replace(sampling, denoiser=small, guide=None).with_largest_batches()
    assert largest.batch_size == expected


def test_a_cpu_takes_a_fixed_number(hot_run: Path) -> None:
    sampling = load(hot_run).sampling(SamplerOptions(batch_size="auto"))
    assert sampling.processes == Processes(torch.device("cpu"))
    assert sampling.batch_size == CPU_BATCH


def test_auto_draws_the_same_images(cli: Cli, hot_run: Path, workplace: Path) -> None:
    for size in ("auto", "3"):
        words = ["--n", 5, "--steps", 2, "--batch-size", size, "--out", f"{size}.npz", "-q"]
        assert cli("sample", "--run", hot_run, *words).code == 0
    assert Path("auto.npz").read_bytes() == Path("3.npz").read_bytes()


@pytest.mark.parametrize("size", ["many", "0", "-1", "1.5"])
def test_other_sizes_are_refused(cli: Cli, hot_run: Path, workplace: Path, size: str) -> None:
    for command in ("sample", "eval"):
        result = cli(command, "--run", hot_run, f"--batch-size={size}")
        assert result.code == 2
        assert result.err.startswith("error: --batch-size must be")
        assert result.err.count("\n") == 1
