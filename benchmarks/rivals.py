"""Ten minutes of what a user would pick instead, beside ten of ours: each tool's own network, training loop and sampler
on MNIST, as its documentation has them, for the same wall time; judged by the Frechet distance in the features of both
classifiers.

Ours is told labels, and asks for each digit as often; the others are not, and draw what comes. So each stands beside a
floor of its own, of real images with labels as its samples have them, and our recipe without labels stands beside both.

Needs the extra ``bench``. The time is that of the training loop: imports, reading the data set and sampling are not in
it, the fit of our prior is. What each recipe draws is kept in --out, and a recipe whose samples are there is not
trained again.

    python -m benchmarks.rivals --seconds 600 --out rivals [--n 2000] [--only diffcli diffusers ...] [--steps 50]
    [--page]

--steps overrides every sampler's own number of steps; --page writes the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

from benchmarks.recipes import RECIPES, Drawing, Task
from benchmarks.rounds import put, table
from diffcli.data.datasets import mnist
from diffcli.data.pixels import to_model, to_unit
from diffcli.evaluation.classifier import JUDGES, load_classifier
from diffcli.evaluation.extractors import Extractor, of_judge
from diffcli.evaluation.floors import FLOORS, Pool, floor_of
from diffcli.evaluation.frechet import Reference


def features(judge: Extractor, images: torch.Tensor) -> torch.Tensor:
    """Features of uint8 images (N, C, H, W), (N, F)."""
    return torch.cat([judge.features(to_unit(to_model(batch))) for batch in images.split(250)])


def keep_scores(name: str, task: Task, out: Path) -> Drawing:
    """What a recipe drew, from ``out`` where it is there."""
    file = out / f"{name}.npz"
    settings = json.dumps({"seconds": task.seconds, "n": task.n, "steps": task.steps})
    if file.is_file():
        with np.load(file) as content:
            if str(content["asked"]) == settings and "labels" in content:
                facts = content["facts"].tolist()
                labels = torch.from_numpy(content["labels"]) if content["labels"].size else None
                return Drawing(torch.from_numpy(content["images"]), int(facts[0]), int(facts[1]), facts[2], labels)
    torch.manual_seed(0)
    drawing = RECIPES[name](task)
    facts = [drawing.images_shown, drawing.evaluations, drawing.sampling_seconds]
    labels = np.array([]) if drawing.labels is None else drawing.labels.numpy()
    np.savez_compressed(
        file, images=drawing.images.numpy(), labels=labels, facts=np.array(facts), asked=np.array(settings)
    )
    return drawing


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
    judges = {judge: of_judge(judge, load_classifier("mnist", judge), torch.device("cpu")) for judge in JUDGES}
    real = {name: Reference.of(features(judge, source.test.images)) for name, judge in judges.items()}
    rows = []
    for name in options.only:
        drawing = keep_scores(name, task, options.out)
        labels = torch.full((task.n,), -1) if drawing.labels is None else drawing.labels
        pool = Pool.like(labels, source.development.labels, seed=0)
        cells = [f"{drawing.images_shown:,}", "no" if drawing.labels is None else "yes", drawing.evaluations]
        for judge_name, judge in judges.items():
            distance_to = real[judge_name].distance
            distance = distance_to(features(judge, drawing.images))
            floor = floor_of(distance_to, features(judge, task.train[pool.indices]), pool.sets(labels, FLOORS, seed=0))
            cells += [f"{distance:.3g}", f"{distance / floor:.3g}"]
        rows.append([name, *cells, f"{drawing.sampling_seconds:,.0f}"])
        print(" | ".join(map(str, rows[-1])), flush=True)
    header = [
        f"{options.seconds:g} s of training",
        "images seen",
        "told labels",
        "evaluations a sample",
        *(cell for judge in JUDGES for cell in (f"`{judge}`", "times")),
        f"seconds for {task.n:,} samples",
    ]
    text = table(header, rows)
    print(text)
    if options.page:
        from benchmarks.__main__ import PAGE

        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "rivals", text), encoding="utf-8")


if __name__ == "__main__":
    main()
