"""What 64x64 costs beside 32x32: training steps, the memory of a training, and the fit of a prior; in one run, into
docs/benchmarks.md.

    python -m benchmarks.colour_cost --images FOLDER [--rounds 5]

Seconds are of processor time, with one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import diffcli
from benchmarks.__main__ import PAGE
from benchmarks.colour import CPU, NOISE_0_6, source_of, training_part
from benchmarks.memory import peak
from benchmarks.rounds import Side, alternate, machine, put, ratios, spread, table
from diffcli.config.build import build_denoiser, resolve
from diffcli.config.presets import load_preset
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import Mixture
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.inference.sampling import fit_prior

BATCH = 32
DRAWS = 1000
LEVELS = {"name": "compact-unet", "width": 32, "blocks": 2, "attention": True, "levels": 3}
OLD, NEW = "cifar-fast of 0.6.0", "colour-64-fast"


def changes_for(images: Path, size: int) -> dict[str, Any]:
    """The settings of a preset for a folder at a size."""
    return {"data": {"name": "folder", "path": str(images), "size": size, "channels": 3}}


def denoiser_of(name: str, images: Path, size: int, folder: Path, **changes: Any) -> Denoiser:
    """The untrained denoiser of a recipe."""
    _, preset = load_preset(base_of(name, folder), changes_for(images, size) | changes)
    return build_denoiser(resolve(preset))


def base_of(name: str, folder: Path) -> str | Path:
    """A preset by name, or the file of the one that is no more."""
    if name != OLD:
        return name
    file = folder / "cifar-fast.yaml"
    data = {"name": "folder", "path": "pictures", "size": 32, "channels": 3}
    file.write_text(yaml.safe_dump({"description": name, "data": data, **yaml.safe_load(NOISE_0_6)}))
    return file


def steps(denoiser: Denoiser, bfloat16: bool) -> Side:
    """Training images per second of processor time, a batch at a time."""
    optimizer = torch.optim.AdamW(denoiser.parameters(), fused=True)
    x0 = torch.rand(BATCH, *denoiser.degradation.image_shape) - 0.5

    def run() -> float:
        start = time.process_time()
        t = torch.randint(1, denoiser.degradation.T + 1, (BATCH,))
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            denoiser.loss(x0, t, torch.randn_like(x0)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        return BATCH / (time.process_time() - start)

    return run


def speed(images: Path, rounds: int) -> str:
    """Images a second at 64x64 beside the recipe of 0.6.0 at 32x32, and as many pixels."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        first = f"{OLD}, 32x32, float32"
        sides = {
            first: steps(denoiser_of(OLD, images, 32, folder), False),
            f"{OLD}, 64x64, float32": steps(denoiser_of(OLD, images, 64, folder), False),
            f"{NEW} with three levels of width 32 in place of patches of 4": steps(
                denoiser_of(NEW, images, 64, folder, network=LEVELS), True
            ),
            f"{NEW}, float32": steps(denoiser_of(NEW, images, 64, folder), False),
            f"{NEW}, bfloat16 (`precision: auto`)": steps(denoiser_of(NEW, images, 64, folder), True),
        }
        rates = alternate(sides, rounds)
    rows = []
    for name, values in rates.items():
        pixels = 1 if "32x32" in name else 4
        times = [pixels * ratio for ratio in ratios(rates, name, first)]
        rows.append([name, spread(values), spread(times)])
    return table(["a training step of 32 images", "images/s of a core", "pixels/s, times the first"], rows)


def train(words: str) -> None:
    """Trains a recipe at 64x64 for a few batches, validation and checkpoint too; ``recipe;folder``."""
    torch.set_num_threads(1)
    name, _, images = words.partition(";")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        settings = changes_for(Path(images), 64) | {
            "training.epochs": 1,
            "training.max_time": None,
            "training.val_share": 0.05,
            "training.val_every": 1,
            "training.batch_size": BATCH if name == NEW else 64,
            "training.sample_epochs": [],
        }
        diffcli.train(base_of(name, folder), settings, out=folder / "run", devices=CPU, quiet=True, limit_batches=10)


def memory(images: Path) -> str:
    """Peak memory of trainings at 64x64."""
    peaks = {name: peak("benchmarks.colour_cost:train", f"{name};{images}") for name in (OLD, NEW)}
    imports = peak("benchmarks.colour_cost:imports", "")
    rows = [[name, f"{value:,.0f} MiB", f"{value / peaks[OLD]:.2f}"] for name, value in peaks.items()]
    rows.append(["of it the libraries", f"{imports:,.0f} MiB", f"{imports / peaks[OLD]:.2f}"])
    return table(["ten training steps at 64x64, as the recipe has them", "peak memory", "times the first"], rows)


def imports(_: str) -> None:
    """Loads what a training loads."""
    import_module("diffcli.training.trainer")


def energy_distance(one: Tensor, other: Tensor) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| of two sets of images, unbiased: 0 on average for two of one distribution.

    Source: Szekely and Rizzo, Energy statistics, 2013.
    """
    x, y = one.flatten(1).double(), other.flatten(1).double()

    def within(points: Tensor) -> float:
        return float(torch.cdist(points, points).sum()) / (len(points) * (len(points) - 1))

    return 2 * float(torch.cdist(x, y).mean()) - within(x) - within(y)


def signal(degradation: Degradation, images: Tensor) -> Tensor:
    """A_T x_0 of uint8 images."""
    from diffcli.data.pixels import to_model

    parts = []
    for batch in images.split(200):
        x0 = to_model(batch)
        parts.append(degradation.degrade(x0, torch.full((len(x0),), degradation.T), torch.zeros_like(x0)))
    return torch.cat(parts)


class Noiseless(Mixture):
    """A mixture that is fitted as if no noise were added to what it draws."""

    def fit(self, signal: Tensor, labels: Tensor | None = None, **_: Any) -> None:
        super().fit(signal, labels)


def fits(images: Path) -> str:
    """The seconds of a prior's fit at 64x64, and how well it draws x_T of pictures that it has not seen."""
    source = source_of(images, 64)
    with tempfile.TemporaryDirectory() as place:
        degradation = denoiser_of(NEW, images, 64, Path(place)).degradation
    train_set, test = training_part(source), source.test
    sigma = float(degradation.sigmas[degradation.T])
    generator = torch.Generator().manual_seed(0)

    def noisy(x: Tensor) -> Tensor:
        return x + sigma * torch.randn(x.shape, generator=generator)

    unseen = noisy(signal(degradation, test.images))
    labels = test.labels[torch.arange(DRAWS) % len(test)]
    rows = []
    likelihoods: dict[str, Tensor] = {}
    for name, prior in {"takes no notice of the noise": Noiseless(), "knows it: `mixture`": Mixture()}.items():
        start = time.process_time()
        fit_prior(prior, degradation, train_set.images, train_set.labels)
        seconds = time.process_time() - start
        generators = image_generators(0, Stream.SAMPLE, range(DRAWS))
        draws = noisy(prior(generators, test.image_shape, labels=labels))
        likelihoods[name] = prior.log_density(unseen, sigma, test.labels)
        gain = likelihoods[name] - next(iter(likelihoods.values()))
        error = float(gain.std()) / len(gain) ** 0.5
        rows.append(
            [
                name,
                f"{seconds:.1f}",
                f"{len(prior.modes)}, {len(prior.weights)}",
                f"{float(gain.mean()):+.1f} ± {error:.1f}",
                f"{energy_distance(draws, unseen):.3f}",
            ]
        )
    some = train_set.images[:DRAWS]
    rows.append(["(training pictures)", "", "", "", f"{energy_distance(noisy(signal(degradation, some)), unseen):.3f}"])
    header = ["a mixture fitted to x_T", "seconds", "modes, Gaussians", "nats for an unseen picture", "energy distance"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = [memory(options.images), speed(options.images, options.rounds), fits(options.images)]
    text = "\n\n".join([*parts, f"{machine()}; {options.rounds} rounds."])
    print(text)
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "colour", text), encoding="utf-8")


if __name__ == "__main__":
    main()
