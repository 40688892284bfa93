"""What taking each step of an in-painting several times gains, and at what cost, as a Markdown table.

Of test images, drawn at random, a part is hidden. ``seam`` is the mean difference between neighbours on either side of
its border, for pixels in 0..1; ``error`` the root mean square difference from what was hidden, which varies where
several things fit; ``read right`` the share that the digit classifier reads as their label.

    python -m benchmarks.inpainting mnist-fast --data-dir data [--n 128]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from diffcli.config.build import load_source
from diffcli.evaluation.classifier import load_classifier, probabilities
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.loading import load

WAYS = ((1, 1), (2, 1), (5, 1), (10, 1), (1, 5))
"""How often each step is taken, and how many times the preset's steps there are."""


def masks(height: int, width: int) -> dict[str, Tensor]:
    """What is hidden, bool (H, W), by name."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    middle = (rows >= height // 4) & (rows < height - height // 4)
    middle &= (columns >= width // 4) & (columns < width - width // 4)
    return {"lower half": rows >= height // 2, "middle quarter": middle}


def seam(images: Tensor, mask: Tensor) -> float:
    """Of uint8 images (N, C, H, W): the mean difference across the border of a mask."""
    levels = images.float() / 255
    across = (levels[:, :, 1:] - levels[:, :, :-1]).abs()[:, :, mask[1:] != mask[:-1]]
    along = (levels[..., 1:] - levels[..., :-1]).abs()[:, :, mask[:, 1:] != mask[:, :-1]]
    return float(torch.cat([across.flatten(), along.flatten()]).mean())


def measure(run: str, n: int, data_dir: Path) -> None:
    """Prints the table of one run."""
    model = load(run, data_dir=data_dir)
    test = load_source(model.preset, data_dir, download=False).test
    test = test[random_subset(len(test), n, 0)]
    classifier = load_classifier(model.preset.data.name).network

    def row(name: str, steps: str, rounds: str, images: Tensor, mask: Tensor, seconds: str) -> None:
        right = float((probabilities(classifier, images.float() / 255).argmax(1) == test.labels).float().mean())
        error = float(((images.float() - test.images) / 255)[:, :, mask].square().mean().sqrt())
        print(
            f"| {name} | {steps} | {rounds} | {seam(images, mask):.3f} | {error:.3f} | {right:.3f} | {seconds} |",
            flush=True,
        )

    print(f"\n`{model.preset_name}`, epoch {model.epoch}, {n} test images\n")
    print(
        "| hidden | steps | each taken | seam | error | read right | seconds |\n| --- | --- | --- | --- | --- | --- | "
        "--- |"
    )
    preset_steps = model.preset.sampler.steps or model.T
    for name, mask in masks(*model.image_shape[1:]).items():
        row(f"{name}: the images themselves", "", "", test.images, mask, "")
        row(f"{name}: black in its place", "", "", test.images.masked_fill(mask, 0), mask, "")
        for rounds, times in WAYS:
            steps, start = min(preset_steps * times, model.T), time.perf_counter()
            paintings = model.inpaint(test.images, mask, rounds, steps=steps, quiet=True)
            row(name, str(steps), str(rounds), paintings, mask, f"{time.perf_counter() - start:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders or preset names")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--n", type=int, default=128)
    options = parser.parse_args()
    for run in options.runs:
        measure(run, options.n, options.data_dir)


if __name__ == "__main__":
    main()
