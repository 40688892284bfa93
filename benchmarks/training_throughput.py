"""Training images/s of diffcli against a plain PyTorch loop around the same network, in one run.

The plain loop is what a notebook does: a DataLoader over torchvision's MNIST, shuffled, with per-image transforms, Adam,
and Algorithm 1 written out. Both sides take the same number of batches of the same size; rounds alternate, so that a
noisy machine is noisy to both; given are the median of the rounds' ratios and the ratio of the medians.

    python benchmarks/training_throughput.py --data-dir data [--compile] [--rounds 5] [--batches 20]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from diffcli.commands.train import Plan, plan_new
from diffcli.runs import Run
from diffcli.training.trainer import Hardware, build_trainer, compile_in_place

PRESET = "ddpm-const-lowbeta"


def plain_loop(plan: Plan, data_dir: Path, batches: int, fused: bool) -> Callable[[], float]:
    """A function that trains for ``batches`` batches and returns images/s."""
    denoiser = plan.module.denoiser
    network, T = denoiser.network, denoiser.degradation.T
    alphas = denoiser.degradation.alphas_cumprod.float()
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (1.0,))])
    images = torch.utils.data.Subset(MNIST(data_dir, train=True, transform=to_tensor), range(48_000))
    loader = DataLoader(images, batch_size=plan.preset.training.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.preset.training.lr, fused=fused or None)

    def run() -> float:
        network.train()
        seen, started = 0, time.perf_counter()
        for batch, (x, _) in enumerate(loader):
            if batch == batches:
                break
            t = torch.randint(1, T + 1, (len(x),))
            eps = torch.randn_like(x)
            alpha = alphas[t].view(-1, 1, 1, 1)
            z = alpha.sqrt() * x + (1 - alpha).sqrt() * eps
            loss = torch.nn.functional.mse_loss(network(z, t / T), eps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(x)
        return seen / (time.perf_counter() - started)

    return run


def ours(plan: Plan) -> Callable[[], float]:
    """A function that trains as ``diffcli train`` does, all callbacks and logs included, and returns images/s."""

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            place = Run(Path(folder))
            trainer = build_trainer(place, plan.preset, Hardware("cpu"), plan.data.val.images, plan.limit_batches, True)
            trainer.fit(plan.module, datamodule=plan.data)
            row = place.metrics_file.read_text().splitlines()[-1].split(",")
        return float(row[4])

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="compile our network; the plain loop stays eager")
    options = parser.parse_args()
    settings = ["training.epochs=1", "training.sample_epochs=[]", "training.val_every=1000"]
    plans = [plan_new(PRESET, settings, options.data_dir, options.batches, download=False) for _ in range(3)]
    if options.compile:
        compile_in_place(plans[0].module.denoiser.network, torch.device("cpu"))
    sides = {
        "diffcli": ours(plans[0]),
        "plain loop": plain_loop(plans[1], options.data_dir, options.batches, fused=False),
        "plain loop, fused Adam": plain_loop(plans[2], options.data_dir, options.batches, fused=True),
    }
    for side in sides.values():
        side()  # compiles, fills caches
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds):
        # Each round begins with another side: none always has the machine at its coolest.
        names = list(sides)
        for name in names[number % 3 :] + names[: number % 3]:
            rates[name].append(sides[name]())
    print(f"{PRESET}, batch 128, {options.batches} batches a round, {options.rounds} rounds, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads, {platform.machine()}{', compiled' if options.compile else ''}")  # fmt: skip
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(rates["diffcli"], values, strict=True)]
        print(f"{name:<24} {statistics.median(values):7.1f} images/s ({min(values):.1f} to {max(values):.1f}); "
              f"diffcli is {statistics.median(ratios):.3f} times that "
              f"({min(ratios):.3f} to {max(ratios):.3f}), by medians {statistics.median(rates['diffcli']) / statistics.median(values):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
