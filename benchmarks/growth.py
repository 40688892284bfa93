"""How cost grows: training with the batch and the image's side, sampling with n and steps, memory with n."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.memory import peak
from benchmarks.rounds import alternate, rate_of, spread, table
from benchmarks.sampling import sampling_of
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.schedules import cosine
from diffcli.inference.sampling import generate
from diffcli.networks.compact import CompactUNet

SIDES = (8, 16, 28, 32, 64)
BATCHES = (16, 32, 64, 128, 256, 512)
COUNTS = (16, 64, 256, 1024)
STEPS = (10, 25, 50, 100)
IMAGES = 512


def _steps(side: int, batch: int) -> Callable[[], None]:
    """Training steps over 512 random images of that side."""
    denoiser = Denoiser(CompactUNet((1, side, side), 32, 2), GaussianNoise(cosine(1000)), "v")
    optimizer = torch.optim.AdamW(denoiser.parameters(), fused=True)
    x0 = torch.rand(batch, 1, side, side) - 0.5

    def work() -> None:
        for _ in range(IMAGES // batch):
            t = torch.randint(1, 1001, (batch,))
            denoiser.loss(x0, t, torch.randn_like(x0)).mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    return work


def training(rounds: int) -> str:
    """Images/s against the batch at 28 pixels, and against the side at a batch of 64."""
    by_batch = alternate({str(size): rate_of(_steps(28, size), IMAGES) for size in BATCHES}, rounds)
    by_side = alternate({str(side): rate_of(_steps(side, 64), IMAGES) for side in SIDES}, rounds)
    tables = [
        table(["batch, at 28x28", "images/s"], [[key, spread(rates)] for key, rates in by_batch.items()]),
        table(["side, at a batch of 64", "images/s"], [[key, spread(rates)] for key, rates in by_side.items()]),
    ]
    return "\n\n".join(tables)


def sampling(rounds: int) -> str:
    """Images/s of DDIM against n at 25 steps, and against the steps for 256 images; at most 256 at a time."""
    network = CompactUNet((1, 28, 28), 32, 2).eval().requires_grad_(False)

    def side(count: int, steps: int) -> Callable[[], float]:
        setup = sampling_of(network, min(count, 256), steps)
        return rate_of(lambda: list(generate(setup, count, (1, 28, 28))), count)

    by_count = alternate({str(count): side(count, 25) for count in COUNTS}, rounds)
    by_steps = alternate({str(steps): side(256, steps) for steps in STEPS}, rounds)
    tables = [
        table(["n, at 25 steps", "images/s"], [[key, spread(rates)] for key, rates in by_count.items()]),
        table(["steps, for 256 images", "images/s"], [[key, spread(rates)] for key, rates in by_steps.items()]),
    ]
    return "\n\n".join(tables)


def memory() -> str:
    """Peak memory of ``diffcli sample`` on 8x8 digits against n: samples stream to the file."""
    rows = []
    for count in (100, 1000, 20_000):
        mebibytes = peak("benchmarks.memory:sample_digits", count)
        rows.append([f"{count:,}", f"{mebibytes:,.0f} MiB"])
    return table(["n, to a .npz", "peak memory of the process"], rows)


def training_memory(data_dir: Path) -> str:
    """Peak memory of a process that trains for ten batches of 64, the data set in memory."""
    sides = {
        "diffcli, compact UNet": "benchmarks.memory:train_ours",
        "denoising-diffusion-pytorch": "benchmarks.memory:train_ddp",
        "diffusers": "benchmarks.memory:train_diffusers",
    }
    rows = [[name, f"{peak(function, str(data_dir)):,.0f} MiB"] for name, function in sides.items()]
    return table(["ten training steps", "peak memory of the process"], rows)
