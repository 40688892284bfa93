"""Restorations side by side, measured on the same test digits in one run, and written into docs/restore.md.

    python -m benchmarks.restoring --measure [--digits 500] [--models NAME...] [--rows TEXT...] [--told untold]
    python -m benchmarks.restoring                         # writes the tables

A cell is a way to measure images (operator, noise, label told or not) by a restorer. Cells are measured ``CHUNK``
digits at a time, all restorers of a setting in turn, and kept in docs/evaluations/restoring.json at once: a run that is
ended goes on where it was. Of each score the number of values, their sum and their sum of squares are kept, so that
errors come with the means.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import diffcli
from benchmarks.measurements import SIGMAS, Row, problem, rows
from benchmarks.restorers import (
    Restorer,
    azula_mmps,
    azula_pgdm,
    cold,
    deepinv_diffpir,
    deepinv_dps,
    ours,
    restore_and_count,
)
from benchmarks.rounds import put, table
from diffcli.checkpoints.model_file import fingerprint
from diffcli.config.build import load_source
from diffcli.data.pixels import to_model, to_unit
from diffcli.diffusion.labels import NO_LABEL
from diffcli.evaluation.classifier import JUDGES, load_classifier, probabilities
from diffcli.evaluation.scores import psnr, ssim
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.model import Model
from diffcli.utils.files import written_whole

ROOT = Path(__file__).parents[1]
STORE = ROOT / "docs" / "evaluations" / "restoring.json"
PAGE = ROOT / "docs" / "restore.md"
PRIOR, COLD = "mnist-fast", ("blur-fast", "pixelate-fast")
DIGITS, CHUNK, SAMPLES = 500, 8, 8
LABEL_MODES = ("untold", "told")
COVERAGE, PROJECTIONS = 0.9, 64
"""The share that an interval over samples should cover, and on how many random sums of an image's pixels it is
measured."""
OURS = "ours"
PEERS = ("azula", "deepinv")

Moments = list[float]
"""[number of values, their sum, the sum of their squares]."""


@dataclass(frozen=True)
class Setting:
    """What is measured, and what restorers are told."""

    row: str
    sigma: float
    label_mode: str

    @property
    def key(self) -> str:
        """Where its cells are kept."""
        return f"{self.row}; {_noise(self.sigma)}; {self.label_mode}"


def _noise(sigma: float) -> str:
    return {0.0: "0", 1 / 255: "1/255"}.get(sigma, f"{sigma:g}")


def settings() -> Iterator[Setting]:
    """All of them, those that matter most first."""
    for label_mode in LABEL_MODES:
        for sigma in sorted(SIGMAS, key=lambda sigma: sigma == 0):
            for row in ROWS:
                yield Setting(row, sigma, label_mode)


ROWS = (
    "blur, t = 20",
    "blur, t = 60",
    "pixelate, t = 60",
    "mask, half of the pixels",
    "down-sampling by 4",
    "motion over 7 pixels",
)
"""The names of :func:`benchmarks.measurements.rows`, which reads models."""


@cache
def model(name: str) -> Model:
    """A model that is never trained here: gradients are of its input alone."""
    result = diffcli.load(name)
    result.denoiser.requires_grad_(False)
    return result


@cache
def all_rows() -> dict[str, Row]:
    """The rows by name."""
    return rows(model)


def restorers(row: Row, models: Sequence[str]) -> dict[str, Restorer]:
    """Those that serve a row, by column."""
    columns: dict[str, Restorer] = {}
    for cold_model in filter(row.undone_by, map(model, models)):
        noisy = cold_model.denoiser.degradation.stochastic or cold_model.denoiser.measurement_noise
        kind = "cold, trained with noise" if noisy else "cold"
        columns[f"{kind}: one step"] = cold(cold_model, one_step=True)
        columns[f"{kind}: sampler"] = cold(cold_model, one_step=False)
    return {
        **columns,
        OURS: ours(),
        "azula MMPS": azula_mmps(),
        "azula PiGDM": azula_pgdm(),
        "deepinv DiffPIR": deepinv_diffpir(),
        "deepinv DPS": deepinv_dps(),
    }


def scores_of(images: Tensor, x0: Tensor, labels: Tensor, misfits: Tensor) -> dict[str, Tensor]:
    """Scores of ``images`` (N, K, 1, H, W), K samples for each of ``x0`` (N, 1, H, W), a value for each digit, (N,)."""
    samples, originals = to_unit(images), to_unit(x0)
    one, mean = samples[:, 0], samples.mean(dim=1)
    scores = {
        "psnr_one": psnr(originals, one),
        "psnr_mean": psnr(originals, mean),
        "ssim_one": ssim(originals, one),
        "ssim_mean": ssim(originals, mean),
        "misfit": misfits[:, 0],
    }
    for judge in JUDGES:
        readings = probabilities(load_classifier("mnist", judge).network, one).argmax(dim=1)
        scores[f"kept_{judge}"] = (readings == labels).double()
    if images.shape[1] > 1:
        scores["coverage"] = coverage(samples, originals)
    return scores


def coverage(samples: Tensor, originals: Tensor) -> Tensor:
    """The share of random sums of an image's pixels that the 90 % interval over its samples covers, (N,).

    The interval is the mean and t_K-1 standard deviations times sqrt(1 + 1 / K): that of one more normal value. Sums
    with normal weights are nearly normal, where single pixels are 0 or 1, and most never in doubt.
    """
    from scipy.stats import t

    count = samples.shape[1]
    weights = torch.randn(originals[0].numel(), PROJECTIONS, generator=torch.Generator().manual_seed(0))
    values, true = samples.flatten(2) @ weights, originals.flatten(1) @ weights
    reach = float(t.ppf(0.5 + COVERAGE / 2, count - 1)) * math.sqrt(1 + 1 / count) * values.std(dim=1)
    return ((true - values.mean(dim=1)).abs() <= reach).double().mean(dim=1)


def moments(values: Tensor | Sequence[float]) -> Moments:
    """What is kept of a score."""
    tensor = torch.as_tensor(values, dtype=torch.float64)
    return [len(tensor), *(float(f"{float(total):.8g}") for total in (tensor.sum(), tensor.square().sum()))]


def sum_of(first: Moments, second: Moments) -> Moments:
    """The moments of both."""
    return [a + b for a, b in zip(first, second, strict=True)]


def mean_and_error(moments_of_score: Moments) -> tuple[float, float]:
    """The mean and its standard error; nan of a single value."""
    count, total, squares = moments_of_score
    mean = total / count
    spread = max(squares / count - mean**2, 0.0)
    return mean, math.sqrt(spread / (count - 1)) if count > 1 else math.nan


def read_cells(file: Path = STORE) -> dict[str, dict[str, Any]]:
    """By setting and restorer: the model, the release, the number of digits, and moments by score."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _source(restorer: Restorer, name: str) -> dict[str, str]:
    """What a cell is of: with another model or release, it is measured anew."""
    source = {"model": fingerprint((restorer.cold or model(PRIOR)).checkpoint), "settings": restorer.name}
    library = name.split()[0]
    return {**source, "release": f"{library} {version(library)}"} if library in PEERS else source


def text_of(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """What is kept in the store: a line for each cell, so that versions can be compared."""
    settings = (
        f"{json.dumps(key)}: {{\n"
        + ",\n".join(f" {json.dumps(name)}: {json.dumps(group[name], sort_keys=True)}" for name in sorted(group))
        + "\n}"
        for key, group in sorted(cells.items())
    )
    return "{\n" + ",\n".join(settings) + "\n}\n"


def measure(
    chosen_settings: Sequence[Setting], digits: int, models: Sequence[str], data_dir: Path, store: Path
) -> None:
    """Measures what ``store`` lacks, chunk by chunk."""
    test = load_source(model(PRIOR).preset, data_dir, download=False).test
    order = random_subset(len(test.images), digits, 0)
    for start in range(0, digits, CHUNK):
        indices = order[start : start + CHUNK]
        digits_here = Digits(start, indices.tolist(), to_model(test.images[indices]), test.labels[indices].long())
        for setting in chosen_settings:
            cells = _measure_cells(setting, read_cells(store).get(setting.key, {}), digits_here, models)
            with written_whole(store) as part:
                part.write_text(text_of({**read_cells(store), setting.key: cells}), encoding="utf-8")


@dataclass(frozen=True)
class Digits:
    """Test images that are measured together: ``indices`` in the data set, from the ``start``-th that is drawn on."""

    start: int
    indices: list[int]
    x0: Tensor
    labels: Tensor


def _measure_cells(setting: Setting, cells: Mapping[str, Any], digits: Digits, models: Sequence[str]) -> dict[str, Any]:
    """The cells of a setting with these digits added to those that lack them."""
    row, start = all_rows()[setting.row], digits.start
    restorers_by_name = restorers(row, models)
    cells = {name: cell for name, cell in cells.items() if name in restorers_by_name}
    sources = {name: _source(restorer, name) for name, restorer in restorers_by_name.items()}
    names = [
        name
        for name in restorers_by_name
        if name not in cells or cells[name]["source"] != sources[name] or cells[name]["digits"] <= start
    ]
    if start:  # a cell that lacks an earlier chunk waits until that is measured
        names = [name for name in names if name in cells and cells[name]["digits"] == start]
    if not names:
        return cells
    labels = digits.labels if setting.label_mode == "told" else torch.full_like(digits.labels, NO_LABEL)
    results: dict[str, dict[str, Tensor]] = {}
    seconds: dict[str, float] = {}
    passes: dict[str, tuple[float, float]] = {}
    for name in dict.fromkeys([OURS, *names]):  # ours beside all others, for differences and ratios
        restorer = restorers_by_name[name]
        samples = SAMPLES if restorer.random else 1
        question = problem(
            row, digits.x0, labels, model(PRIOR), sigma=setting.sigma, indices=digits.indices, samples=samples
        )
        start_time = time.process_time()
        images, *counts = restore_and_count(restorer, question, start)
        seconds[name] = (time.process_time() - start_time) / len(images)
        passes[name] = (counts[0], counts[1])
        misfits = row.misfit(question.measurement, images).view(-1, samples)
        results[name] = scores_of(images.view(-1, samples, *images.shape[1:]), digits.x0, digits.labels, misfits)
    for name in names:
        scores = {key: moments(values) for key, values in results[name].items()}
        scores["psnr_behind"] = moments(results[OURS]["psnr_mean"] - results[name]["psnr_mean"])
        scores["seconds"] = moments([seconds[name]])
        scores["times_ours"] = moments([seconds[name] / seconds[OURS]])
        if start:
            earlier = cells[name]["scores"]
            scores = {key: sum_of(earlier[key], value) for key, value in scores.items()}
        cells[name] = {
            "source": sources[name],
            "digits": start + len(digits.indices),
            "passes": passes[name],
            "scores": scores,
        }
        mean, error = mean_and_error(scores["psnr_mean"])
        print(f"{setting.key}; {name}: {mean:.2f} ± {error:.2f} dB, {seconds[name]:.3f} s", flush=True)
    return cells


COLUMNS = {
    "cold: one step": "cold, one step",
    "cold: sampler": "cold, sampler",
    "cold, trained with noise: one step": "cold trained with noise, one step",
    "cold, trained with noise: sampler": "cold trained with noise, sampler",
    OURS: "diffcli",
    "azula MMPS": "azula, MMPS",
    "azula PiGDM": "azula, PiGDM",
    "deepinv DiffPIR": "deepinv, DiffPIR",
    "deepinv DPS": "deepinv, DPS",
}
"""Restorers by the heading of their column."""
SCORES: dict[str, tuple[str, tuple[str, ...]]] = {
    "psnr-mean": ("PSNR of the mean of 8 samples, dB", ("psnr_mean",)),
    "psnr-one": ("PSNR of one sample, dB", ("psnr_one",)),
    "ssim": ("SSIM of the mean of 8 samples", ("ssim_mean",)),
    "kept": (
        "Classes kept: one sample read as its label by `classifier`, by `resnet`",
        tuple(f"kept_{judge}" for judge in JUDGES),
    ),
    "misfit": (
        "Residual of one sample over sigma, 1 is right; where there is no noise, in levels of 8 bits",
        ("misfit",),
    ),
    "coverage": ("Coverage of the 90 % interval over 8 samples, 0.9 is right", ("coverage",)),
}
"""Titles and scores of the tables."""
BLOCK = "restoring"


def score_text(moments_of_score: Moments) -> str:
    """A mean and its standard error, of as many digits as the error has two of."""
    mean, error = mean_and_error(moments_of_score)
    if not error > 0:
        return f"{mean:.3g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{min(decimals, 3)}f} ± {error:.{min(decimals, 3)}f}"


def _rows_of(cells: Mapping[str, Mapping[str, Any]], label_mode: str) -> list[Setting]:
    """The measured settings in the order of the page: by operator, then by noise."""
    all_settings = [Setting(row, sigma, label_mode) for row in ROWS for sigma in SIGMAS]
    return [setting for setting in all_settings if setting.key in cells]


def score_table(cells: Mapping[str, Mapping[str, Any]], label_mode: str, keys: Sequence[str]) -> str:
    """A line for each operator and noise that were measured, a column for each restorer that has the scores."""
    settings_measured = _rows_of(cells, label_mode)

    def values(setting: Setting, column: str) -> str:
        scores = cells[setting.key].get(column, {"scores": {}})["scores"]
        return ", ".join(score_text(scores[key]) for key in keys if key in scores)

    columns = [column for column in COLUMNS if any(values(setting, column) for setting in settings_measured)]
    lines = [
        [
            setting.row,
            _noise(setting.sigma),
            str(cells[setting.key][OURS]["digits"]),
            *(values(setting, column) for column in columns),
        ]
        for setting in settings_measured
    ]
    return table(("measured", "noise", "digits", *(COLUMNS[column] for column in columns)), lines)


def cost_table(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """What each restorer is, its network evaluations and gradients, and its time, over all settings."""
    lines = []
    for column, heading in COLUMNS.items():
        own = [cell[column] for cell in cells.values() if column in cell]
        if not own:
            continue
        forward, backward = ({round(cell["passes"][side]) for cell in own} for side in (0, 1))
        times, seconds = own[0]["scores"]["times_ours"], own[0]["scores"]["seconds"]
        for cell in own[1:]:
            times = sum_of(times, cell["scores"]["times_ours"])
            seconds = sum_of(seconds, cell["scores"]["seconds"])
        what = " or ".join(sorted({cell["source"]["settings"] for cell in own}))
        release = own[0]["source"].get("release", "")
        lines.append(
            [heading, release, what, _range(forward), _range(backward), score_text(seconds), score_text(times)]
        )
    head = ("restorer", "release", "settings", "evaluations", "gradients", "seconds", "times diffcli's")
    return table(head, lines)


def page_tables() -> str:
    """The tables as their page shows them."""
    cells = read_cells()
    parts = [f"Cost of an image, over all settings:\n\n{cost_table(cells)}"]
    for label_mode in LABEL_MODES:
        if _rows_of(cells, label_mode):
            parts.append(f"### Labels {label_mode}")
            parts += [f"{title}:\n\n{score_table(cells, label_mode, keys)}" for title, keys in SCORES.values()]
    return "\n\n".join(parts)


def _range(counts: set[int]) -> str:
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def write() -> None:
    """Writes the tables into the page."""
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), BLOCK, page_tables()), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--digits", type=int, default=DIGITS)
    parser.add_argument("--models", nargs="+", default=list(COLD), help="cold models: names, runs or files")
    parser.add_argument("--rows", nargs="+", default=[""], help="only rows that one of these is part of")
    parser.add_argument("--sigmas", nargs="+", help="only noises of these names, as the tables show them")
    parser.add_argument("--told", choices=LABEL_MODES, help="only with labels told, or untold")
    parser.add_argument("--store", type=Path, default=STORE, help="where cells are kept")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("DIFFCLI_DATA", "data")))
    options = parser.parse_args()
    if options.measure:
        torch.set_num_threads(1)
        chosen_settings = [
            setting
            for setting in settings()
            if any(part in setting.row for part in options.rows)
            and options.told in (None, setting.label_mode)
            and (options.sigmas is None or _noise(setting.sigma) in options.sigmas)
        ]
        measure(chosen_settings, options.digits, options.models, options.data_dir, options.store)
    if options.store == STORE:
        write()


if __name__ == "__main__":
    main()
