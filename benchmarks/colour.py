"""Recipes for a folder of colour pictures, ours and two other tools', each trained for the same processor time and
judged by two classifiers and by patches; written into docs/how-to/own-images.md.

    python -m benchmarks.colour --images emoji --measure RECIPE... [--size 32] [--seconds 1200] [--seeds 0 1 2]
    python -m benchmarks.colour                            # writes the tables

A cell is a recipe on a folder, at a size, for some seconds, from a seed; each is trained by a process of its own with
one thread, whose processor time is counted, so that a busy machine is fair to all: 1,200 seconds are ten minutes of two
cores. Cells are kept in docs/evaluations/colour.json at once, and one that is there is not measured again, nor is a run
trained again whose training came to its end. Samples are as many as the folder's test images, and of recipes by class
with their labels; of our recipes ``--draws`` such sets are drawn, whose scores are averaged. The other tools need the
extra ``bench``; they draw with ten steps of DDIM in place of the 50 and 250 that their documentation has, for a network
of 114 million parameters draws slowly.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import diffcli
from benchmarks.cells import count_processor_time, keep, measure, read_cells
from benchmarks.peers import diffusers_example
from benchmarks.recipes import Diffusers, Drawing, Lucidrains, Task
from benchmarks.rounds import machine, put, table
from diffcli.data.datasets import split
from diffcli.data.folders import folder
from diffcli.data.sources import ImageSet, Source
from diffcli.evaluation.distances import Distances
from diffcli.evaluation.extractors import of_judge
from diffcli.evaluation.judges import READER, JudgedData, judges_of
from diffcli.utils.devices import Devices, Processes

ROOT = Path(__file__).parents[1]
STORE = ROOT / "docs" / "evaluations" / "colour.json"
PAGE = ROOT / "docs" / "how-to" / "own-images.md"
METRICS = frozenset({"fid", "coverage", "label_kept", "swd", "nearest"})
CPU = Devices("cpu", "1")
PEER_STEPS = 10

NOISE_0_6 = """
labels: {dropped: 0.1}
schedule: {name: cosine, T: 1000}
degradation: {name: gaussian-noise}
network: {name: compact-unet, width: 64, blocks: 2, attention: true}
prediction: v
prior: {name: standard-normal}
sampler: {name: ddim, eta: 1.0, steps: 20}
training: {batch_size: 64, lr: 1e-2, warmup: 100, lr_decay: true, weight_decay: 0.01, clip_norm: 1.0, ema: 0.999,
  t_distribution: logit-normal, stratified_t: true}
"""
"""The preset ``cifar-fast`` of diffcli 0.6.0, without its data."""

_FASTER = {"training.lr": 1e-2, "training.clip_norm": 1.0}
_FIRST = {"sampler.autoguidance": 1.4, **_FASTER}
"""Of the colour presets as they were before."""
_HOT = {
    **_FASTER,
    "schedule": {"name": "cosine", "T": 1000},
    "degradation": {"name": "gaussian-noise"},
    "noise": None,
    "input": "degraded",
    "prediction": "v",
    "prior": {"name": "standard-normal"},
    "sampler": {"name": "ddim", "eta": 1.0, "steps": 16, "autoguidance": 1.4, "guided_t": [0.3, 0.85]},
    "training.t_distribution": "logit-normal",
}
COLOUR = {32: "colour-fast", 64: "colour-64-fast"}
OURS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "cifar-fast of 0.6.0": (NOISE_0_6, {}),
    "colour": (None, {}),
    "colour, learning rate 1e-2": (None, _FASTER),
    "blur, noise up to 0.2, guided by 1.4": (None, {"noise.sigma_max": 0.2, **_FIRST}),
    "blur, noise up to 0.5, guided by 1.4": (None, {"noise.sigma_max": 0.5, **_FIRST}),
    "blur, noise up to 1, guided by 1.4": (None, {"noise.sigma_max": 1.0, **_FIRST}),
    "mirrored": (None, {"data.mirrored": True}),
    "pixelation": (
        None,
        {"schedule": None, "degradation": {"name": "pixelate", "T": 60, "grid": 4}, "input": "degraded"},
    ),
    "noise alone, guided by 1.4": (None, _HOT),
    "noise alone, shifted schedule, guided by 1.4": (
        None,
        _HOT | {"schedule": {"name": "cosine", "T": 1000, "shift": 2.0}},
    ),
    "by cluster": (None, {"labels": {"dropped": 0.1, "clusters": 8}}),
    "unlabelled": (None, {"labels": None}),
}
"""Changes of a preset, by the recipe's name; the preset is the colour preset of the size where none is here."""

PEERS: dict[str, Callable[[Task], Drawing]] = {
    # Its examples' train_unconditional.py, network and all.
    "diffusers": Diffusers(16, 1e-4, (0.95, 0.999), 1e-6, 500, "linear", diffusers_example),
    # The first lines of its README.
    "denoising-diffusion-pytorch": Lucidrains(64, (1, 2, 4, 8)),
}


def source_of(images: Path, size: int) -> Source:
    """The pictures of a folder at a size, in colour."""
    return folder(str(images), size)


def distances_of(labels: Tensor | None, source: Source, train: ImageSet) -> Distances:
    """What judges as many samples as test images, drawn with these labels, int64 (n,): two classifiers and patches."""
    processes = Processes(torch.device("cpu"))
    judges = judges_of(JudgedData.of("folder", source), processes, quiet=True)
    return Distances(
        train if labels is not None else replace(train, labels=torch.full_like(train.labels, -1)),
        source.test,
        METRICS,
        [of_judge(name, judge, torch.device("cpu")) for name, judge in judges.items()],
        judges[READER] if labels is not None else None,
        n=len(source.test),
        seed=0,
        processes=processes,
        quiet=True,
    )


def preset_of(
    name: str, images: Path, size: int, seconds: float, seed: int, out: Path
) -> tuple[str | Path, dict[str, Any]]:
    """A recipe as what ``diffcli train`` takes: a preset by name, or the file that is written below ``out``, and its
    changes."""
    text, changes = OURS[name]
    data: dict[str, Any] = {"name": "folder", "path": str(images), "size": size, "channels": 3}
    base: str | Path = COLOUR[size]
    if text:
        base = out / f"{name}.yaml"
        out.mkdir(parents=True, exist_ok=True)
        base.write_text(yaml.safe_dump({"description": name, "data": data, **yaml.safe_load(text)}))
    return base, {
        "data": data,
        "training.epochs": 100_000,
        "training.max_time": f"{seconds:g}s",
        "training.seed": seed,
        "training.val_share": 0.05,
        "training.val_every": 10,
        "training.sample_epochs": [],
        **changes,
    }


def ours(options: argparse.Namespace, name: str, seed: int, source: Source) -> dict[str, Any]:
    """Trains one of our recipes and judges what it draws, from the checkpoint that ``sample`` takes."""
    out = options.out / f"{name}-{options.size}-{options.seconds:g}s-{seed}"
    facts: dict[str, Any] = {**training_facts(options, name, seed, out), "draws": options.draws}
    model = diffcli.load(out, devices=CPU)
    start = time.process_time()
    draws = [samples_of(model, source, draw) for draw in range(options.draws)]
    facts["sampling seconds"] = round((time.process_time() - start) / options.draws)
    distances = distances_of(draws[0][1], source, training_part(source))
    scores = [distances.of(samples, labels) for samples, labels in draws]
    facts["scores"] = {score: statistics.mean(each[score] for each in scores) for score in scores[0]}
    facts["epoch"] = model.epoch
    return facts


def training_facts(options: argparse.Namespace, name: str, seed: int, out: Path) -> dict[str, Any]:
    """Trains one of our recipes, unless ``out`` holds such a training: its steps, seconds and memory."""
    record = out / "facts.json"
    if not record.is_file():
        base, settings = preset_of(name, options.images, options.size, options.seconds, seed, options.out)
        start = time.process_time()
        run = diffcli.train(base, settings, out=out, devices=CPU, quiet=True)
        seconds, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        steps = int(torch.load(run.last, map_location="cpu", weights_only=False)["global_step"])
        record.write_text(
            json.dumps({"steps": steps, "training seconds": round(seconds), "gigabytes": round(memory, 2)})
        )
    return json.loads(record.read_text())


def training_part(source: Source) -> ImageSet:
    """The images to train on: those that are not for tests or validation."""
    return split(source.development, 0.05, 0, by_class=source.by_class)[0]


def samples_of(model: Any, source: Source, draw: int = 0) -> tuple[Tensor, Tensor | None]:
    """As many samples as test images, uint8; of a model by class with the test images' labels, which come along."""
    count = len(source.test)
    if model.classes and model.clusters is None:
        labels = source.test.labels
        samples = torch.empty(count, *source.test.image_shape, dtype=torch.uint8)
        for label in labels.unique().tolist():
            of_label = labels == label
            samples[of_label] = model.sample(int(of_label.sum()), seed=1 + label + 1000 * draw, label=label, quiet=True)
        return samples, labels
    return model.sample(count, seed=1 + 1000 * draw, quiet=True), None


def peer(options: argparse.Namespace, name: str, seed: int, source: Source) -> dict[str, Any]:
    """Trains another tool's recipe and judges what it draws."""
    torch.manual_seed(seed)
    train, n = training_part(source), len(source.test)
    memory: list[float] = []

    def clock() -> float:
        if not memory or seconds_spent() >= options.seconds:
            memory[:] = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]
        return time.process_time()

    start = time.process_time()

    def seconds_spent() -> float:
        return time.process_time() - start

    drawing = PEERS[name](Task(train.images, options.images, options.seconds, n, PEER_STEPS, clock))
    scores = distances_of(None, source, train).of(drawing.images, None)
    return {
        "images seen": drawing.images_shown,
        "training seconds": round(options.seconds),
        "gigabytes": round(memory[0], 2),
        "evaluations": drawing.evaluations,
        "sampling seconds": round(drawing.sampling_seconds),
        "scores": scores,
    }


def key_of(images: Path, size: int, seconds: float, recipe: str, seed: int) -> str:
    return f"{images.name}; {size}; {seconds:g} s; {recipe}; seed {seed}"


def words_of(options: argparse.Namespace) -> dict[str, list[str]]:
    """The words that measure a cell, by its key."""
    shared = ["--images", str(options.images), "--size", str(options.size), "--seconds", str(options.seconds)]
    shared += ["--draws", str(options.draws)]
    return {
        key_of(options.images, options.size, options.seconds, recipe, seed): [
            *("--cell", recipe, "--seeds", str(seed)),
            *(*shared, "--out", str(options.out)),
        ]
        for seed in options.seeds
        for recipe in options.measure
    }


def cell(options: argparse.Namespace) -> None:
    """Measures one cell and keeps it."""
    count_processor_time()
    recipe, seed = options.cell, options.seeds[0]
    source = source_of(options.images, options.size)
    facts = (peer if recipe in PEERS else ours)(options, recipe, seed, source)
    key = key_of(options.images, options.size, options.seconds, recipe, seed)
    keep(options.store, {key: facts | {"machine": machine()}})
    print(recipe, seed, json.dumps(facts), flush=True)


def floors(cells: Sequence[Mapping[str, Any]], score: str) -> str:
    """How many times as far as real images samples are: the mean over seeds and their standard deviation, or the
    standard error of the one."""
    values = [cell["scores"][score] / cell["scores"][f"{score}_floor"] for cell in cells]
    if len(values) > 1:
        return f"{statistics.mean(values):.3g} ± {statistics.stdev(values):.1g}"
    error = cells[0]["scores"][f"{score}_error"] / cells[0]["scores"][f"{score}_floor"]
    return f"{values[0]:.3g} ± {error:.1g}"


def mean_of(cells: Sequence[Mapping[str, Any]], score: str) -> str:
    """A score's mean over seeds; nothing where it was not measured."""
    values = [cell["scores"][score] for cell in cells if score in cell["scores"]]
    return f"{statistics.mean(values):.3g}" if values else ""


def tables(content: Mapping[str, Any]) -> str:
    """A table for each folder, size and time, its recipes by distance."""
    groups: dict[tuple[str, str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for key, facts in content.items():
        folder_name, size, seconds, recipe, _ = key.split("; ")
        groups.setdefault((folder_name, size, seconds), {}).setdefault(recipe, []).append(facts)
    parts = []
    for (folder_name, size, seconds), recipes in groups.items():
        rows = []
        for recipe, cells in sorted(recipes.items(), key=lambda item: _distance(item[1])):
            first = cells[0]
            effort = first["steps"] if "steps" in first else f"{first['images seen']:,} images"
            rows.append(
                [
                    recipe,
                    len(cells),
                    effort,
                    f"{first['gigabytes']:.2f}",
                    floors(cells, "fid_classifier"),
                    floors(cells, "fid_resnet"),
                    floors(cells, "swd"),
                    mean_of(cells, "label_kept"),
                    f"{mean_of(cells, 'coverage_classifier')}, {mean_of(cells, 'coverage_resnet')}",
                    mean_of(cells, "nearest"),
                ]
            )
        real = next(iter(recipes.values()))[0]["scores"]
        shares = [cell["scores"].get("label_kept_test") for cells in recipes.values() for cell in cells]
        test_share = next((share for share in shares if share is not None), None)
        rows.append(
            [
                "(test pictures)",
                *[""] * 6,
                "" if test_share is None else f"{test_share:.3g}",
                "",
                f"{real['nearest_test']:.3g}",
            ]
        )
        title = f"{folder_name}, {size}x{size}, {seconds} of one core"
        header = [title, "seeds", "steps", "GB", "`classifier`", "`resnet`", "patches", "read as its label"]
        parts.append(table([*header, "coverage", "nearest"], rows))
    return "\n\n".join(parts)


def _distance(cells: Sequence[Mapping[str, Any]]) -> float:
    return statistics.mean(cell["scores"]["fid_classifier"] / cell["scores"]["fid_classifier_floor"] for cell in cells)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*OURS, *PEERS]
    parser.add_argument("--images", type=Path)
    parser.add_argument("--measure", nargs="+", choices=names, metavar="RECIPE")
    parser.add_argument("--cell", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, choices=COLOUR, default=32)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--draws", type=int, default=1, help="sets of samples of a model, whose scores are averaged")
    parser.add_argument("--out", type=Path, default=Path("runs/colour"), help="of the runs")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="STORE", help="puts other stores' cells into this one")
    parser.add_argument("--store", type=Path, default=STORE)
    options = parser.parse_args(arguments)
    if options.cell:
        cell(options)
    elif options.measure:
        measure("benchmarks.colour", words_of(options), options.store)
    elif options.merge:
        for file in options.merge:
            keep(options.store, read_cells(file), by_key=True)
    else:
        PAGE.write_text(
            put(PAGE.read_text(encoding="utf-8"), "colour", tables(read_cells(options.store))), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
