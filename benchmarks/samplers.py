"""Distance against network evaluations for every sampler that fits a model, as a Markdown table.

The samples of all rows start from the same noise. Given is the Frechet distance in the classifier's features; Heun's
method takes two evaluations a step but for its last. ``--ancestral`` adds the ancestral sampler at that many steps.

    python benchmarks/samplers.py mnist-fast blur-fast --data-dir data [--n 2000] [--ancestral 1000]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from diffcli.assembly import load_source, samplers_for, training_split
from diffcli.data.pixels import to_model, to_uint8, to_unit
from diffcli.evaluation.extractors import Extractor, choose
from diffcli.evaluation.scores import fid
from diffcli.generation import generate
from diffcli.loading import load
from diffcli.sampler_options import SamplerOptions

VARIANTS = {"ddim": ("{name: ddim, eta: 1}", "{name: ddim, eta: 0}")}
"""How a sampler is run where that is not once with its defaults."""
SAME_AS_DDIM = ("cold", "cold-naive")
"""Left out where DDIM is run."""


@torch.inference_mode()
def features(extractor: Extractor, images: torch.Tensor) -> torch.Tensor:
    """Of uint8 images (N, C, H, W), (N, F)."""
    return torch.cat([extractor.features(to_unit(to_model(batch))) for batch in images.split(250)])


def measure(run: str, evaluations: list[int], n: int, ancestral: int | None, data_dir: Path) -> None:
    """Prints the table of one run, row by row."""
    model = load(run, data_dir=data_dir)
    source = load_source(model.preset, data_dir, download=False)
    extractor = choose("classifier", model.preset.data.name, None, torch.device("cpu"))
    real = features(extractor, source.test.images)
    train = training_split(model.preset, source.development).images
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:n]
    floor = fid(real, features(extractor, train[order]))
    fitting = samplers_for(model.denoiser.degradation)
    names = [name for name in fitting if "ddim" not in fitting or name not in SAME_AS_DDIM]
    variants = [variant for name in names for variant in VARIANTS.get(name, (name,))]
    planned = [(sampler, count) for sampler in variants for count in evaluations]
    if "ancestral" in names and ancestral is not None:
        planned.append(("ancestral", ancestral))
    print(f"\n`{model.preset_name}`, epoch {model.epoch}, {n} samples; as many real training images: {floor:.4f}\n")
    print("| sampler | network evaluations | distance | times the floor | seconds |")
    print("| --- | --- | --- | --- | --- |")
    for sampler, count in planned:
        steps = (count + 1) // 2 if sampler == "heun" else count
        if steps > model.denoiser.degradation.T:
            continue
        sampling = model.sampling(SamplerOptions(sampler=sampler, steps=steps, batch_size=250), model.prior(None))
        started = time.perf_counter()
        samples = torch.cat([to_uint8(batch) for batch in generate(sampling, n, model.image_shape)])
        seconds = time.perf_counter() - started
        distance = fid(real, features(extractor, samples))
        taken = 2 * steps - 1 if sampler == "heun" else steps
        print(f"| `{sampler}` | {taken} | {distance:.4f} | {distance / floor:.1f} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders or preset names")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[5, 10, 15, 20, 25, 50, 100])
    parser.add_argument("--ancestral", type=int, help="also the ancestral sampler at this many steps")
    options = parser.parse_args()
    for run in options.runs:
        measure(run, options.evaluations, options.n, options.ancestral, options.data_dir)


if __name__ == "__main__":
    main()
