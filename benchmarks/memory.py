"""Peak memory: each measurement in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path


def peak(function: str, argument: object) -> float:
    """Peak resident memory, MiB, of a fresh process that calls ``module:function`` with one argument (Linux only)."""
    command = [sys.executable, "-m", "benchmarks.memory", function, str(argument)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(process.stdout.splitlines()[-1])


def high_water() -> float:
    """Peak resident memory of this process so far, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def sample_digits(count: str) -> None:
    """Trains ``quickstart`` for a few batches and samples ``count`` images into a file, 20 steps each."""
    from diffcli.inference.options import SampleOptions
    from diffcli.inference.save_samples import sample
    from diffcli.training.run import train
    from diffcli.utils.devices import Devices

    with tempfile.TemporaryDirectory() as folder:
        devices, out = Devices("cpu", "1"), Path(folder) / "run"
        short = {"training.epochs": 1, "training.sample_epochs": []}
        run = train("quickstart", short, out=out, limit_batches=2, devices=devices, quiet=True)
        file = Path(folder) / "images.npz"
        sample(
            SampleOptions(run, int(count), file, devices=devices, sampler="ddim", steps=20, batch_size=256, quiet=True)
        )


def train_ours(data_dir: str) -> None:
    from benchmarks.training import FAST, ours, plan_of

    ours(plan_of(FAST, Path(data_dir), 10))()


def train_ddp(data_dir: str) -> None:
    from benchmarks import peers

    _train_peer(peers.ddp_network, peers.ddp_step, data_dir)


def train_diffusers(data_dir: str) -> None:
    from benchmarks import peers

    _train_peer(peers.diffusers_network, peers.diffusers_step, data_dir)


def _train_peer(build, make_step, data_dir: str) -> None:  # type: ignore[no-untyped-def]
    from benchmarks.peers import random_batches
    from diffcli.data.datasets import mnist

    images = mnist(data_dir=Path(data_dir), download=False).development.images
    step = make_step(build(), random_batches(images, 64))
    for _ in range(10):
        step()


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    getattr(import_module(module), name)(sys.argv[2])
    print(high_water())
