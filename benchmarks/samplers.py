"""Distance against network evaluations for every sampler that fits a model, as a Markdown table.

The samples of all rows start from the same noise, and are not guided. Given is the Frechet distance in the classifier's
features. ``--ancestral`` adds the ancestral sampler at that many steps, ``--sampler`` one as ``diffcli sample`` takes it,
guided or not.

    python -m benchmarks.samplers mnist-fast --n 1000 --sampler '{name: ddim, eta: 1, steps: 20, guidance: 1.3}'
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from diffcli.assembly import load_source, samplers_for, training_split
from diffcli.data.pixels import to_model, to_uint8, to_unit
from diffcli.evaluation.extractors import Extractor, choose
from diffcli.evaluation.frechet import Reference
from diffcli.experiments.distances import floor_of
from diffcli.generation import evaluations, generate
from diffcli.loading import load
from diffcli.model import Model
from diffcli.sampler_options import SamplerOptions

UNGUIDED = {"guidance": 1.0, "autoguidance": 1.0}
VARIANTS = {"ddim": ("{name: ddim, eta: 1}", "{name: ddim, eta: 0}")}
"""How a sampler is run where that is not once with its defaults."""
SAME_AS_DDIM = ("cold", "cold-naive")
"""Left out where DDIM is run."""


@torch.inference_mode()
def features(extractor: Extractor, images: torch.Tensor) -> torch.Tensor:
    """Of uint8 images (N, C, H, W), (N, F)."""
    return torch.cat([extractor.features(to_unit(to_model(batch))) for batch in images.split(250)])


def rows_of(model: Model, options: argparse.Namespace) -> Iterator[SamplerOptions]:
    """What the rows of a model's table draw with."""
    fitting = samplers_for(model.denoiser.degradation)
    names = [name for name in fitting if "ddim" not in fitting or name not in SAME_AS_DDIM]
    for sampler in (variant for name in names for variant in VARIANTS.get(name, (name,))):
        for count in options.evaluations:
            steps = (count + 1) // 2 if sampler == "heun" else count
            if steps <= model.T:
                yield SamplerOptions(sampler=sampler, steps=steps, batch_size=250, **UNGUIDED)
    if "ancestral" in names and options.ancestral is not None:
        yield SamplerOptions(sampler="ancestral", steps=options.ancestral, batch_size=250, **UNGUIDED)
    for sampler in options.sampler:
        yield SamplerOptions(sampler=sampler, batch_size=250)


def measure(run: str, options: argparse.Namespace) -> None:
    """Prints the table of one run, row by row."""
    data_dir, n = options.data_dir, options.n
    model = load(run, data_dir=data_dir)
    source = load_source(model.preset, data_dir, download=False)
    extractor = choose("classifier", model.preset.data.name, None, torch.device("cpu"))
    real = features(extractor, source.test.images)
    train = training_split(model.preset, source.development).images
    distance_to = Reference.of(real).distance
    floor = floor_of(distance_to, features(extractor, train), n, seed=0)
    print(f"\n`{model.preset_name}`, epoch {model.epoch}, {n} samples; as many real training images: {floor:.4f}\n")
    print("| sampler | network evaluations | distance | times the floor | seconds |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows_of(model, options):
        sampling = model.sampling(row, model.prior(None))
        started = time.perf_counter()
        samples = torch.cat([to_uint8(batch) for batch in generate(sampling, n, model.image_shape)])
        seconds = time.perf_counter() - started
        distance = distance_to(features(extractor, samples))
        taken = evaluations(sampling)
        print(f"| `{row.sampler}` | {taken} | {distance:.4f} | {distance / floor:.2f} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders or preset names")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[5, 10, 15, 20, 25, 50, 100])
    parser.add_argument("--ancestral", type=int, help="also the ancestral sampler at this many steps")
    parser.add_argument("--sampler", action="append", default=[], help="also this one, as 'diffcli sample' takes it")
    options = parser.parse_args()
    for run in options.runs:
        measure(run, options)


if __name__ == "__main__":
    main()
