"""Ten minutes of what a user would pick instead, beside ten of ours: each tool's own network, training loop and sampler on
MNIST, as its documentation has them, for the same wall time; judged by the Frechet distance in our classifier's features.

Needs the extra ``bench``. The time is that of the training loop: imports, reading the data set and sampling are not in it, the
fit of our prior is. What each recipe draws is kept in --out, and a recipe whose samples are there is not trained again.

    python -m benchmarks.rivals --seconds 600 --out rivals [--n 2000] [--only diffcli diffusers ...] [--steps 50] [--page]

--steps overrides every sampler's own number of steps; --page writes the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

from benchmarks.recipes import RECIPES, Drawn, Task
from benchmarks.rounds import table
from benchmarks.samplers import features
from diffcli.data.datasets import mnist
from diffcli.evaluation.extractors import classifier
from diffcli.evaluation.frechet import Reference
from diffcli.experiments.distances import FLOOR_IMAGES, floor_of


def kept(name: str, task: Task, out: Path) -> Drawn:
    """What a recipe drew, from ``out`` where it is there."""
    file = out / f"{name}.npz"
    asked = json.dumps({"seconds": task.seconds, "n": task.n, "steps": task.steps})
    if file.is_file():
        with np.load(file) as content:
            if str(content["asked"]) == asked:
                facts = content["facts"].tolist()
                return Drawn(torch.from_numpy(content["images"]), int(facts[0]), int(facts[1]), facts[2])
    torch.manual_seed(0)
    drawn = RECIPES[name](task)
    facts = [drawn.seen, drawn.evaluations, drawn.sampling_seconds]
    np.savez_compressed(file, images=drawn.images.numpy(), facts=np.array(facts), asked=np.array(asked))
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("DIFFCLI_DATA", "data")))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("rivals"))
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    source = mnist(data_dir=options.data_dir, download=False)
    task = Task(source.development.images, options.data_dir, options.seconds, options.n, options.steps)
    judge = classifier("mnist", torch.device("cpu"))
    real = features(judge, source.test.images)
    distance_to = Reference.of(real).distance
    floor = floor_of(distance_to, features(judge, task.train[: FLOOR_IMAGES * task.n]), task.n, seed=0)
    rows = []
    for name in options.only:
        drawn = kept(name, task, options.out)
        distance = distance_to(features(judge, drawn.images))
        cells = [f"{drawn.seen:,}", drawn.evaluations, f"{drawn.sampling_seconds:,.0f}"]
        rows.append([name, *cells, f"{distance:.3g}", f"{distance / floor:.3g}"])
        print(f"{name}: {distance / floor:.3g} times the floor", flush=True)
    header = [
        f"{options.seconds:g} s of training",
        "images seen",
        "evaluations a sample",
        f"seconds for {task.n:,} samples",
        "distance",
        "times the floor",
    ]
    text = table(header, rows)
    print(text)
    if options.page:
        from benchmarks.__main__ import PAGE, put

        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "rivals", text), encoding="utf-8")


if __name__ == "__main__":
    main()
