"""The transformer beside the compact UNet: the same recipe, the same processor time, the same judges; the table in
docs/presets.md.

    python -m benchmarks.transformer --measure RECIPE... [--images FOLDER] [--seconds 1200] [--seeds 0]
    python -m benchmarks.transformer                                          # writes the table

A cell is a recipe, trained for some seconds from a seed by a process of its own with one thread, whose processor time
is counted, so that a busy machine is fair to all: 1,200 seconds are ten minutes of two cores. Cells are kept in
docs/evaluations/transformer.json at once, and one that is there is not measured again. A run folder that holds a whole
training is not trained again either.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import diffcli
from benchmarks.cells import count_processor_time, keep, measure, read_cells
from benchmarks.rounds import machine, put, table
from diffcli.evaluation.metrics import times_floor
from diffcli.utils.devices import Devices

ROOT = Path(__file__).parents[1]
STORE = ROOT / "docs" / "evaluations" / "transformer.json"
PAGE = ROOT / "docs" / "presets.md"
CPU = Devices("cpu", "1")
JUDGES = ("classifier", "resnet")
SAMPLES = 1000
TRANSFORMER = {"network": {"name": "dit", "width": 128, "depth": 4}, "training.lr": 2e-3, "training.optimizer": "muon"}
DEEPER = {"network": {"name": "dit", "width": 128, "depth": 6}, "training.lr": 2e-3}
ADAMW = {"training.optimizer": "adamw"}


@dataclass(frozen=True)
class Recipe:
    """A preset with changes.

    Args:
        name: in the table.
        folder: whether it is trained on a folder of pictures.
    """

    name: str
    preset: str
    changes: Mapping[str, Any]
    folder: bool = False


RECIPES = {
    "mnist-unet": Recipe("MNIST, `mnist-fast`: compact UNet", "mnist-fast", {}),
    "mnist-dit": Recipe("MNIST, `mnist-dit`: transformer, Muon", "mnist-dit", {}),
    "mnist-dit-adamw": Recipe("MNIST, `mnist-dit` with AdamW", "mnist-dit", ADAMW),
    "emoji-unet": Recipe("emoji, `colour-fast`: compact UNet", "colour-fast", {}, folder=True),
    "emoji-dit": Recipe("emoji, `colour-fast` with the transformer, Muon", "colour-fast", TRANSFORMER, folder=True),
    "emoji-dit-adamw": Recipe("emoji, the same of depth 6, AdamW", "colour-fast", DEEPER, folder=True),
}


def key_of(recipe: str, seconds: float, seed: int) -> str:
    return f"{recipe}; {seconds:g} s; seed {seed}"


def cell(options: argparse.Namespace) -> None:
    """Measures one cell and keeps it."""
    count_processor_time()
    name, seed, seconds = options.cell, options.seeds[0], options.seconds
    recipe = RECIPES[name]
    settings = {
        "training.epochs": 100_000,
        "training.max_time": f"{seconds:g}s",
        "training.seed": seed,
        "training.sample_epochs": [],
        **recipe.changes,
    }
    if recipe.folder:
        settings["data"] = {"name": "folder", "path": str(options.images), "size": 32, "channels": 3}
    out = options.out / f"{name}-{seconds:g}s-{seed}"
    facts: dict[str, Any] = {"machine": machine(), "n_fid": options.n_fid}
    if not (out / "facts.json").is_file():
        start = time.process_time()
        run = diffcli.train(recipe.preset, settings, out=out, devices=CPU, quiet=True)
        facts["training seconds"] = time.process_time() - start
        facts["gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        content = torch.load(run.last, map_location="cpu", weights_only=False)
        facts["steps"] = int(content["global_step"])
        facts["batch"] = content["hyper_parameters"]["preset"]["training"]["batch_size"]
        network = diffcli.load(run.folder, devices=CPU).denoiser.network
        facts["parameters"] = sum(weight.numel() for weight in network.parameters())
        (out / "facts.json").write_text(json.dumps(facts))
    facts |= json.loads((out / "facts.json").read_text())
    start = time.process_time()
    result = diffcli.evaluate(out, ["fid", "label_kept"], None, options.n_fid, devices=CPU, quiet=True)
    facts |= {"evaluation seconds": time.process_time() - start, "n_fid": options.n_fid, "scores": result.scores}
    keep(options.store, {key_of(name, seconds, seed): facts})
    print(name, seed, json.dumps(facts), flush=True)


def words_of(options: argparse.Namespace) -> dict[str, list[str]]:
    """The words that measure a cell, by its key."""
    shared = ["--seconds", str(options.seconds), "--out", str(options.out), "--n-fid", str(options.n_fid)]
    shared += ["--images", str(options.images)] if options.images else []
    return {
        key_of(name, options.seconds, seed): ["--cell", name, "--seeds", str(seed), *shared]
        for seed in options.seeds
        for name in options.measure
    }


def times(key: str, scores: Mapping[str, float]) -> str:
    """A distance in floors, with its standard error."""
    distance = times_floor(key, scores)
    assert distance is not None
    error = scores[f"{key}_error"] / scores[f"{key}_floor"]
    return f"{distance:.1f} ± {error:.1f}"


def row(name: str, seconds: str, facts: Mapping[str, Any]) -> list[str]:
    """A line of the table."""
    images = facts["steps"] * facts["batch"]
    return [
        RECIPES[name].name,
        seconds,
        f"{facts['steps']:,}",
        f"{images / facts['training seconds']:,.0f}",
        f"{facts['parameters'] / 1e6:.2f} M",
        f"{facts['gigabytes']:.1f} GB",
        *(times(f"fid_{judge}", facts["scores"]) for judge in JUDGES),
        f"{facts['scores']['label_kept']:.3f}",
    ]


def page_tables(cells: Mapping[str, Any]) -> str:
    """The table of all cells, by data and time."""
    lines = []
    for key, facts in cells.items():
        name, seconds, _seed = key.split("; ")
        order = RECIPES[name].folder, float(seconds.removesuffix(" s")), list(RECIPES).index(name)
        lines.append((order, row(name, seconds, facts)))
    header = ["recipe", "trained for", "steps", "images/s", "parameters", "memory", *JUDGES, "label kept"]
    return table(header, [line for _, line in sorted(lines)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="+", choices=RECIPES, metavar="RECIPE")
    parser.add_argument("--cell", choices=RECIPES, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help="the folder of pictures")
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--n-fid", type=int, default=SAMPLES, help="samples for the distances")
    parser.add_argument("--out", type=Path, default=Path("runs/transformer"), help="of the runs")
    parser.add_argument("--store", type=Path, default=STORE)
    options = parser.parse_args(arguments)
    if options.cell:
        cell(options)
    elif options.measure:
        measure("benchmarks.transformer", words_of(options), options.store)
    else:
        PAGE.write_text(put(PAGE.read_text(), "transformer", page_tables(read_cells(options.store))))


if __name__ == "__main__":
    main()
