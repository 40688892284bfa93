"""Tables of how near samples are to real images, in the features of every judge: measured, kept, and written into the
pages.

    python -m benchmarks.quality [TABLE...] --measure    # measures the rows that docs/evaluations lacks; minutes for
    each python -m benchmarks.quality                         # writes every table into its page

A row is what ``diffcli eval`` says of a ready model; nothing in a table is written by hand, and "times" is a distance
over that evaluation's own floor. Tables that cannot be measured again, for their models are gone, hold distances by one
judge.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffcli
from benchmarks.rounds import put, table
from diffcli.checkpoints.model_file import READY_MODELS, SUFFIX
from diffcli.evaluation.metrics import times_floor
from diffcli.utils.devices import Devices

ROOT = Path(__file__).parents[1]
STORE = ROOT / "docs" / "evaluations"
JUDGES = ("classifier", "resnet")
SAMPLES = 2000
UNGUIDED = {"guidance": 1.0, "autoguidance": 1.0}


@dataclass(frozen=True)
class Row:
    """One evaluation of a ready model.

    Args:
        name: its first cell.
        options: arguments of :func:`diffcli.evaluate` besides those that all rows share.
    """

    name: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)


def _by_evaluations(
    sampler: str, counts: Sequence[int], model: str = "mnist-fast", *, name: str | None = None, **options: Any
) -> list[Row]:
    """A row for each number of network evaluations, unguided."""
    return [
        Row(name or f"`{sampler}`", model, {"sampler": sampler, "steps": count, **UNGUIDED, **options})
        for count in counts
    ]


def _preset(name: str, model: str) -> Row:
    return Row(f"{name}: the preset", model)


def _guided(sampler: str, model: str, name: str | None = None) -> Row:
    return Row(name or f"`{sampler}`", model, {"sampler": sampler})


HOT, COLD, NOISY = "mnist-fast", "blur-fast", "pixelate-fast"
CLASSIFIER_FREE = "{name: ddim, eta: 1, steps: 16, guidance: 1.3, autoguidance: 1, guided_t: [0.3, 0.85]}"
FEW = (1, 2, 4, 8, 10, 25, 50)
"""Evaluations at which hot and cold are compared."""
STUDENTS = {1: "mnist-one-step", 2: "mnist-two-steps"}
"""By the number of evaluations, the ready models that are distilled for it."""
BY_EVALUATIONS = {
    "hot": _by_evaluations("{name: ddim, eta: 1}", FEW, HOT),
    "cold": _by_evaluations("cold", FEW, COLD),
    "cold with noise": _by_evaluations("{name: cold, eta: 1}", FEW, NOISY),
    "distilled": [Row("`{name: ddim, eta: 1}`", name, {"steps": count}) for count, name in STUDENTS.items()],
}
"""By the kind of model, the rows of its own sampler, unguided."""
TABLES: dict[str, tuple[str, list[Row]]] = {
    "ready": (
        "docs/index.md",
        [Row(f"`{name}`", name) for name in (HOT, COLD, NOISY, *STUDENTS.values())],
    ),
    "samplers-few": ("docs/samplers.md", [row for rows in BY_EVALUATIONS.values() for row in rows]),
    "samplers-hot": (
        "docs/samplers.md",
        [
            *_by_evaluations("ancestral", (10, 25)),
            *_by_evaluations("{name: ddim, eta: 1}", (10, 20)),
            *_by_evaluations("{name: ddim, eta: 0}", (10, 20)),
            *_by_evaluations("dpm-solver++", (10,)),
        ],
    ),
    "samplers-guided": (
        "docs/samplers.md",
        [
            *_by_evaluations("{name: ddim, eta: 1}", (20,)),
            _preset("`{name: ddim, eta: 1, steps: 16, autoguidance: 1.4, guided_t: [0.3, 0.85]}`", HOT),
            _guided("{name: ddim, eta: 1, steps: 16, spacing: log-snr, autoguidance: 1.4, guided_t: [0.3, 0.85]}", HOT),
            _guided(CLASSIFIER_FREE, HOT),
            _guided("{name: dpm-solver++, steps: 8, spacing: log-snr, autoguidance: 1.4, guided_t: [0.3, 0.85]}", HOT),
        ],
    ),
    "samplers-cold": (
        "docs/samplers.md",
        [
            *_by_evaluations("cold", (1, 10, 20), COLD),
            *_by_evaluations("cold-naive", (10, 20), COLD),
            _guided("{name: cold, guidance: 1.3, clip: true, steps: 10}", COLD),
            _preset("`{name: cold, guidance: 1.3, clip: true, steps: 20}`", COLD),
        ],
    ),
    "labels-hot": (
        "docs/labels.md",
        [
            *_by_evaluations("{name: ddim, eta: 1}", (20,), name="unguided"),
            _preset("autoguided 1.4 while t / T is in 0.3 to 0.85", HOT),
            _guided(CLASSIFIER_FREE, HOT, "classifier-free 1.3 there"),
            Row(
                "without a label, autoguided 1.7 there",
                HOT,
                {"sampler": "{name: ddim, eta: 1, steps: 20, autoguidance: 1.7}", "label": "none"},
            ),
        ],
    ),
    "labels-cold": (
        "docs/labels.md",
        [
            *_by_evaluations("cold", (20,), COLD, name="unguided"),
            _preset("classifier-free 1.3", COLD),
            *_by_evaluations("cold", (20,), COLD, name="without a label", label="none"),
        ],
    ),
    "priors": (
        "docs/cold-diffusion.md",
        [
            *_by_evaluations("cold", (20,), COLD, name="`uniform` (the report's)", prior="uniform"),
            *_by_evaluations("cold", (20,), COLD, name="`gaussian`", prior="gaussian"),
            *_by_evaluations("cold", (20,), COLD, name="`mixture`"),
            *_by_evaluations(
                "cold", (20,), COLD, name="`blurred-data` (restoration, not generation)", prior="blurred-data"
            ),
        ],
    ),
    "errors": ("docs/metrics.md", [Row("`mnist-fast`", HOT, {"seed": seed} if seed else {}) for seed in range(20)]),
}
"""By name, the page that a table stands in and its rows."""


def read_scores(name: str) -> dict[str, dict[str, Any]]:
    """The evaluations of a table by the key of their row; none where nothing was measured."""
    file = STORE / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def key_of(row: Row) -> str:
    """The text that tells a row's evaluation from every other."""
    return json.dumps({"model": row.model, **row.options}, sort_keys=True)


def measure(name: str, data_dir: Path) -> None:
    """Evaluates the rows of a table that were not measured, one after the other, and keeps each at once."""
    STORE.mkdir(exist_ok=True)
    for row in TABLES[name][1]:
        rows = read_scores(name)
        if key_of(row) in rows:
            continue
        # The same evaluation may stand in another table.
        others = (read_scores(other).get(key_of(row)) for other in TABLES)
        result = next(filter(None, others), None) or _evaluation(row, data_dir)
        rows[key_of(row)] = result
        (STORE / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print(f"{row.name}: {result['scores']}", flush=True)


def _evaluation(row: Row, data_dir: Path) -> dict[str, Any]:
    """What ``eval.json`` would hold of a ready model, whatever runs of its name there are."""
    file = READY_MODELS / f"{row.model}{SUFFIX}"
    options = {"metrics": ("fid", "label_kept"), "n_fid": SAMPLES, "extractor": "classifier", **row.options}
    result = diffcli.evaluate(file, data_dir=data_dir, devices=Devices("cpu", "1"), quiet=True, **options).as_dict()
    result["settings"]["checkpoint"] = file.name  # where it lies is this machine's affair
    return result


def cells_of(row: Row, evaluation: Mapping[str, Any]) -> list[str]:
    """The cells of a row: its name, evaluations of the network, distance and times by each judge, labels kept."""
    scores, settings = evaluation["scores"], evaluation["settings"]
    cells = [row.name, str(settings["evaluations"])]
    for judge in JUDGES:
        key = f"fid_{judge}"
        cells += [f"{scores[key]:.3g} ± {scores[f'{key}_error']:.1g}", f"{times_floor(key, scores):.2f}"]
    share = scores.get("label_kept")
    return [*cells, "" if share is None else f"{share:.3f} ± {scores['label_kept_error']:.1g}"]


HEAD = ("evaluations", "`classifier`", "times", "`resnet`", "times", "read as the label")


def page_tables(name: str) -> str:
    """A table as its page shows it.

    Raises:
        KeyError: a row was not measured.
    """
    rows, evaluations = TABLES[name][1], read_scores(name)
    if name == "errors":
        return _errors([evaluations[key_of(row)]["scores"] for row in rows])
    if name == "samplers-few":
        return _few_digits(evaluations)
    first = "prior" if name == "priors" else "sampler" if name.startswith("samplers") else "model"
    return table((first, *HEAD), [cells_of(row, evaluations[key_of(row)]) for row in rows])


def _errors(seeds: Sequence[Mapping[str, float]]) -> str:
    """The standard errors that evaluations of several seeds say, beside the spread of their scores."""
    lines = []
    for key in (key for key in seeds[0] if f"{key}_error" in seeds[0]):
        spread = statistics.stdev(scores[key] for scores in seeds)
        error = statistics.fmean(scores[f"{key}_error"] for scores in seeds)
        mean = statistics.fmean(scores[key] for scores in seeds)
        lines.append([f"`{key}`", f"{mean:.3g}", f"{error:.2g}", f"{spread:.2g}", f"{error / spread:.2f}"])
    return table(("score", f"mean of {len(seeds)} seeds", "mean standard error", "spread", "ratio"), lines)


def _few_digits(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each model and score, a column for each number of evaluations; distances are times their floors."""
    lines = []
    for kind, rows in BY_EVALUATIONS.items():
        models = dict.fromkeys(f"`{row.model}`" for row in rows)
        name = f"{kind}: {', '.join(models)}, {rows[0].name}"
        scores = {row.options["steps"]: evaluations[key_of(row)]["scores"] for row in rows}
        cells = [scores.get(count) for count in FEW]
        lines += [
            [name, f"`{judge}`", *(f"{times_floor(f'fid_{judge}', of):.2f}" if of else "" for of in cells)]
            for judge in JUDGES
        ]
        lines.append([name, "read as the label", *(f"{of['label_kept']:.3f}" if of else "" for of in cells)])
    return table(("model", "score", *map(str, FEW)), lines)


def write(name: str) -> None:
    """Writes a table into its page."""
    page = ROOT / TABLES[name][0]
    page.write_text(put(page.read_text(encoding="utf-8"), name, page_tables(name)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("DIFFCLI_DATA", "data")))
    options = parser.parse_args()
    for name in options.tables or TABLES:
        if options.measure:
            measure(name, options.data_dir)
        write(name)


if __name__ == "__main__":
    main()
