"""Which values of a metric can be compared, and which of them is the best: pure functions of what eval.json holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Evaluations = Mapping[str, Mapping[str, Any]]
"""By label of a run, what its eval.json holds: ``scores``, and the ``settings`` that they were measured with."""


@dataclass(frozen=True)
class Metric:
    """Which direction is better, if any, and the settings that two runs have to share to be compared."""

    better: Literal["higher", "lower"] | None
    shared: tuple[str, ...]


RECONSTRUCTED = ("test_images", "n_test")
SAMPLED = ("test_images", "n_fid", "extractor", "kind")
METRICS = {
    # Errors of eps, of x0 and of v have different scales; and a schedule decides how hard the tasks are.
    "loss": Metric("lower", (*RECONSTRUCTED, "prediction", "degradation", "schedule", "noise")),
    "rmse": Metric("lower", RECONSTRUCTED),
    "ssim": Metric("higher", (*RECONSTRUCTED, "ssim")),
    "psnr": Metric("higher", RECONSTRUCTED),
    "class_kept": Metric("higher", (*RECONSTRUCTED, "classifier")),
    "fid": Metric("lower", SAMPLED),
    "kid": Metric("lower", SAMPLED),
    # Far from every training image is poor, nearer than the test images are is copied: neither direction is better.
    "nearest": Metric(None, ("training_images", "n_nearest")),
}
"""By the first part of a score's key; the rest of the key says of what: ``fid_classifier``, ``rmse_direct``."""
WORDS = {
    "test_images": "test images",
    "training_images": "training images",
    "n_test": "number of test images",
    "n_fid": "number of samples",
    "n_nearest": "number of samples",
    "kind": "generation or restoration",
    "ssim": "window of SSIM",
}


def metric_of(key: str) -> Metric:
    """The metric of a score's key; one that is not known has no better direction."""
    return next((m for name, m in METRICS.items() if key == name or key.startswith(f"{name}_")), Metric(None, ()))


def better(key: str, a: float, b: float) -> bool:
    """Whether ``a`` is a better value of a score than ``b``."""
    return {"higher": a > b, "lower": a < b, None: False}[metric_of(key).better]


def differences(key: str, settings: Sequence[Mapping[str, Any]], apart_from: Sequence[str] = ()) -> list[str]:
    """In words, the settings in which runs differ although a comparison of this score needs them to be the same."""
    shared = [name for name in metric_of(key).shared if name not in apart_from]
    return [WORDS.get(name, name) for name in shared if any(s.get(name) != settings[0].get(name) for s in settings)]


def _settings(runs: Evaluations, key: str) -> list[Mapping[str, Any]]:
    return [run["settings"] for run in runs.values() if key in run["scores"]]


def best_of(runs: Evaluations, keys: Sequence[str]) -> dict[str, set[str]]:
    """By score, the runs with its best value; none where only one has it, or where they cannot be compared."""
    best = {}
    for key in keys:
        values = {name: run["scores"][key] for name, run in runs.items() if key in run["scores"]}
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        comparable = len(values) > 1 and metric_of(key).better and not differences(key, _settings(runs, key))
        winners = {name for name, value in known.items() if not any(better(key, v, value) for v in known.values())}
        best[key] = winners if comparable else set()
    return best


def remarks(runs: Evaluations, keys: Sequence[str]) -> list[str]:
    """A line for each reason why scores have no best value."""
    by_reason: dict[str, list[str]] = {}
    for key in keys:
        settings = _settings(runs, key)
        if len(settings) > 1 and (differing := differences(key, settings)):
            by_reason.setdefault(", ".join(differing), []).append(key)
    return [f"{', '.join(names)}: no best value, as the runs differ in {reason}" for reason, names in by_reason.items()]
