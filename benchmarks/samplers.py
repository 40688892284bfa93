"""Distance against network evaluations for every sampler that fits a model, as a Markdown table.

The samples of all rows start from the same noise, and are not guided. Each row is what
``diffcli eval --fid --label-kept`` says: the Frechet distance in the features of both classifiers, over that of real
images. ``--ancestral`` adds the ancestral sampler at that many steps, ``--sampler`` one as ``diffcli sample`` takes it,
guided or not.

    python -m benchmarks.samplers mnist-fast --n 1000 --sampler '{name: ddim, eta: 1, steps: 20, guidance: 1.3}'
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import diffcli
from benchmarks.quality import HEAD, UNGUIDED, Row, cells_of
from diffcli.config.build import samplers_for
from diffcli.inference.model import Model

VARIANTS = {"ddim": ("{name: ddim, eta: 1}", "{name: ddim, eta: 0}")}
"""How a sampler is run where that is not once with its defaults."""
SAME_AS_DDIM = ("cold", "cold-naive")
"""Left out where DDIM is run."""


def rows_of(model: Model, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of a model's table."""
    fitting = samplers_for(model.denoiser.degradation)
    names = [name for name in fitting if "ddim" not in fitting or name not in SAME_AS_DDIM]
    for sampler in (variant for name in names for variant in VARIANTS.get(name, (name,))):
        for count in options.evaluations:
            steps = (count + 1) // 2 if sampler == "heun" else count
            if steps <= model.T:
                yield Row(f"`{sampler}`", model.preset_name, {"sampler": sampler, "steps": steps, **UNGUIDED})
    if "ancestral" in names and options.ancestral is not None:
        yield Row("`ancestral`", model.preset_name, {"sampler": "ancestral", "steps": options.ancestral, **UNGUIDED})
    for sampler in options.sampler:
        yield Row(f"`{sampler}`", model.preset_name, {"sampler": sampler})


def measure(run: str, options: argparse.Namespace) -> None:
    """Prints the table of one run, row by row."""
    model = diffcli.load(run, data_dir=options.data_dir)
    print(f"\n`{model.preset_name}`, epoch {model.epoch}, {options.n} samples\n")
    print("| " + " | ".join(("sampler", *HEAD, "seconds")) + " |")
    print("|" + " --- |" * (len(HEAD) + 2))
    for row in rows_of(model, options):
        result = diffcli.evaluate(
            replace(model, run=None),  # whose own eval.json stays
            metrics=("fid", "label_kept") if model.classes else ("fid",),
            n_fid=options.n,
            extractor="classifier",
            data_dir=options.data_dir,
            quiet=True,
            **row.options,
        )
        print(
            "| " + " | ".join((*cells_of(row, result.as_dict()), f"{result.settings['seconds']:.0f}")) + " |",
            flush=True,
        )


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
