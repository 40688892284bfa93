"""Time of the blur in closed form against as many calls of torchvision's ``gaussian_blur``, in one run.

Degrades MNIST images to t = 100 (variance 1 a step, kernel 11, reflect padding) both ways and compares the results.

    python benchmarks/blur.py --data-dir data [--images 256] [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from diffcli.data.datasets import mnist
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import GaussianBlur
from diffcli.diffusion.schedules import constant

T = 100


def seconds(function: Callable[[], Tensor]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    x0 = to_model(mnist(data_dir=options.data_dir, download=False).test.images[: options.images])
    blur = GaussianBlur(constant(T, 1.0), (1, 28, 28))
    at_T = torch.full((len(x0),), T)

    def closed_form() -> Tensor:
        return blur.degrade(x0, at_T)

    def one_after_another() -> Tensor:
        xt = x0
        for _ in range(T):
            xt = gaussian_blur(xt, [11, 11], [1.0, 1.0])
        return xt

    difference = float((closed_form() - one_after_another()).abs().max())
    pairs = [(seconds(closed_form), seconds(one_after_another)) for _ in range(options.rounds)]
    ratios = [slow / fast for fast, slow in pairs]
    print(f"{len(x0)} images of 28x28 to t = {T}, {options.rounds} rounds, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    for name, times in zip(("closed form", f"{T} x gaussian_blur"), zip(*pairs, strict=True), strict=True):
        print(
            f"{name:<22} {1000 * statistics.median(times):9.2f} ms ({1000 * min(times):.2f} to {1000 * max(times):.2f})"
        )
    print(f"ratio {statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f}); "
          f"largest difference {difference:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
