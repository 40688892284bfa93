"""The report's RMSE, SSIM and PSNR beside those of the same models by each reading of how they may have been measured.

Reconstructions of random test images from z_T, by the sampler and by x0_hat in one step, are scored with SSIM's windows
inside the image or also on mirrored borders, with pixels clamped to their range or as they come, and those of a blur
from z_T with and without the small noise that the report adds for its samples (3.4). All readings are of the same
reconstructions. What is drawn is kept in a folder, batch by batch: stopped and called again, it goes on, also with more
images.

    python -m benchmarks.report_metrics --data-dir data --keep reconstructions [--models blur noise] [--n 1000] [--steps
    100]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffcli.config.build import load_source
from diffcli.data.pixels import to_model, to_unit
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.samplers import last
from diffcli.evaluation.resampling import mean_and_error
from diffcli.evaluation.scores import psnr, rmse, ssim, ssim_window
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.loading import load
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.inference.restoration import Disturbance, degrade_batch
from diffcli.inference.sampling import Sampling
from diffcli.utils.devices import Devices
from diffcli.utils.files import written_whole
from diffcli.utils.hashing import of_file

TRAININGS = Path(__file__).parent.parent / "docs" / "trainings"
NOISE = 0.002
"""Standard deviation of what is added to a blur's z_T, where pixels have the range 1."""
WAYS = ("sampled", "direct")


@dataclass(frozen=True)
class ReportedMetrics:
    """A model of the report, and its row of Tables 1 and 2."""

    run: str
    place: str
    ssim: float
    rmse: float
    psnr: float


MODELS = {
    "low beta": ReportedMetrics("ddpm-const-lowbeta", "Table 1", 0.164, 0.306, 10.5),
    "noise": ReportedMetrics("ddpm-cosine-unet", "Table 2", 0.0804, 0.3592, 9.0724),
    "blur": ReportedMetrics("blur-const", "Table 2", 0.3549, 0.2312, 13.2237),
    "high beta": ReportedMetrics("ddpm-const-highbeta", "Table 1", 0.0336, 0.402, 7.94),
}


def mirrored_ssim(originals: Tensor, images: Tensor) -> Tensor:
    """SSIM of each image, (N,), with the same window but averaged over mirrored borders, too, as torchmetrics does from
    1.4 on."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    sigma = ssim_window(*images.shape[-2:])["sigma"]
    values = structural_similarity_index_measure(
        images.double(), originals.double(), data_range=1.0, sigma=sigma, reduction="none"
    )
    assert isinstance(values, Tensor)
    return values


SCORES = {"SSIM inside": ssim, "SSIM mirrored": mirrored_ssim, "RMSE": rmse, "PSNR": psnr}


def reconstruct_batch(sampling: Sampling, images: Tensor, indices: range, noise: float) -> dict[str, Tensor]:
    """Reconstructions of the uint8 images (B, C, H, W) with these indices, by way: float (B, C, H, W), not clamped."""
    generators = image_generators(sampling.seed, Stream.RECONSTRUCTION, indices)
    zT, at_T = degrade_batch(
        sampling.denoiser.degradation, to_model(images.to(sampling.device)), sampling.steps[0], generators
    )
    zT = Disturbance(noise=noise).of(zT, sampling.seed, indices)
    reconstructions_by_way = {
        "sampled": last(sampling.trajectory(zT, generators)),
        "direct": sampling.denoiser(zT, at_T),
    }
    return {way: images.cpu() for way, images in reconstructions_by_way.items()}


@torch.inference_mode()
def reconstructions(
    model: Model, images: Tensor, noise: float, which: str, options: argparse.Namespace
) -> dict[str, Tensor]:
    """Reconstructions of uint8 images (N, C, H, W) by way, float (N, C, H, W): those that are kept, and the others
    drawn.

    Args:
        which: images they are, in the name of the folder: of random ones, fewer are the first of more.
    """
    sampling = model.sampling(SamplerOptions(seed=options.seed, steps=options.steps, batch_size=options.batch_size))
    steps = len(sampling.steps) - 1
    weights = of_file(model.checkpoint)[:12]
    settings = f"seed{options.seed}-steps{steps}-noise{noise:g}-{which}"
    folder = options.keep / f"{model.preset_name}-{weights}-{settings}"
    parts = []
    for start in range(0, len(images), options.batch_size):
        indices = range(start, min(start + options.batch_size, len(images)))
        file = folder / f"{indices.start:05d}-{indices.stop:05d}.pt"
        if not file.is_file():
            moment = time.perf_counter()
            results = reconstruct_batch(sampling, images[indices.start : indices.stop], indices, noise)
            with written_whole(file) as part:
                torch.save(results, part)
            seconds = time.perf_counter() - moment
            print(
                f"{folder.name}: {indices.stop} of {len(images)}, {seconds:.0f} s a batch", file=sys.stderr, flush=True
            )
        parts.append(torch.load(file, weights_only=True))
    return {way: torch.cat([part[way] for part in parts]) for way in WAYS}


def rows(name: str, options: argparse.Namespace) -> Iterator[list[str]]:
    """A row of the table for each reading of one model's numbers."""
    report = MODELS[name]
    model = load(TRAININGS / report.run, data_dir=options.data_dir, devices=Devices(options.accelerator))
    test = load_source(model.preset, options.data_dir, download=False).test.images
    images = test[random_subset(len(test), options.n, options.seed)]
    originals = to_unit(to_model(images))
    for noise in (0.0,) if model.denoiser.degradation.stochastic else (0.0, NOISE):
        drawn_from = "all" if len(images) == len(test) else "random"
        for way, answers in reconstructions(model, images, noise, drawn_from, options).items():
            for pixels, values in {"clamped": to_unit(answers), "as they come": answers + 0.5}.items():
                cells = []
                for score in SCORES.values():
                    mean, error = mean_and_error(score(originals, values))
                    cells.append(f"{mean:.4g}" + ("" if error is None else f" ± {error:.2g}"))
                yield [name, f"{noise:g}", way, pixels, *cells]
    yield [
        f"the report, {report.place}",
        "",
        "",
        "",
        f"{report.ssim:g}",
        "",
        f"{report.rmse:g}",
        f"{report.psnr:g}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--n", type=int, default=1000, help="test images, drawn at random by the seed")
    parser.add_argument("--steps", type=int, help="of each model's sampler; those of its preset unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=50, help="images that are drawn and kept at a time")
    parser.add_argument("--keep", type=Path, required=True, help="folder of what is drawn")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--accelerator", default="auto")
    options = parser.parse_args()
    print(f"{options.n} random test images, seed {options.seed}; ± is a standard error\n")
    head = ["model", "noise in z_T", "way", "pixels", *SCORES]
    print(f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|", flush=True)
    for name in options.models:
        for row in rows(name, options):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
