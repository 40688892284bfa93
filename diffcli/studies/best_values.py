"""Compares values of a metric and finds the best: pure functions of what eval.json holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from diffcli.diffusion.labels import NO_LABEL
from diffcli.evaluation.metrics import judge_of, metric_of

Evaluations = Mapping[str, Mapping[str, Any]]
"""The content of each run's eval.json, by label: ``scores``, and the ``settings`` that they were measured with."""


WORDS = {
    "test_images": "test images",
    "training_images": "training images",
    "n_test": "number of test images",
    "n_fid": "number of samples",
    "n_nearest": "number of samples",
    "n_manifold": "number of samples",
    "n_swd": "number of samples",
    "n_cas": "number of samples",
    "cas_steps": "training of the classifier",
    "extractors": "extractor",
    "kind": "generation or restoration",
    "label": "labels asked for",
    "ssim": "window of SSIM",
    "measurement_noise": "noise of measurements",
    "reconstruction": "what reconstructions start from",
    "reconstruction_label": "labels told in reconstructions",
}


def start_of_reconstructions(settings: Mapping[str, Any]) -> str:
    """The start of an evaluation's reconstructions in words: ``z_60, rounded to 8 bits, with noise 0.002``.

    A claim's start may name the sampler's steps, too: ``z_60, in 20 steps from T``.
    """
    start = settings.get("reconstruction") or {}
    words = [f"z_{start.get('t') or 'T'}"]
    words += [f"rounded to {start['bits']} bits"] if start.get("bits") else []
    words += [f"with noise {start['noise']:g}"] if start.get("noise") else []
    words += [f"in {start['steps']} steps from T"] if start.get("steps") else []
    return ", ".join(words)


def note_of_floor(settings: Mapping[str, Any]) -> str | None:
    """A line where fewer real images stand beside samples than there are samples, which makes a floor higher; None
    elsewhere."""
    count, n = settings.get("n_floor"), settings.get("n_fid")
    if count in (None, n):
        return None
    return f"beside the {n} samples stand {count} real training images: some labels have no more"


def _direction(key: str) -> str | None:
    metric = metric_of(key)
    return metric.better if metric else None


def better(key: str, a: float, b: float) -> bool:
    """Whether ``a`` is a better value of a score than ``b``."""
    return {"higher": a > b, "lower": a < b, None: False}[_direction(key)]


def differences(key: str, settings: Sequence[Mapping[str, Any]], apart_from: Sequence[str] = ()) -> list[str]:
    """The settings, in words, in which runs differ although a comparison of this score needs them to be the same."""
    metric = metric_of(key)
    shared = [name for name in (metric.shared if metric else ()) if name not in apart_from]
    return [
        WORDS.get(name, name)
        for name in shared
        if any(_setting_of(name, key, one) != _setting_of(name, key, settings[0]) for one in settings)
    ]


def _setting_of(name: str, key: str, settings: Mapping[str, Any]) -> Any:
    """A setting of a score; of a model without labels as of one that is told none, and of extractors the score's
    own."""
    value = settings.get(name)
    if name == "extractors":
        return next((one for one in value or [] if one["name"] == judge_of(key)), None)
    return None if (name, value) == ("label", [NO_LABEL]) else value


def _settings(runs: Evaluations, key: str) -> list[Mapping[str, Any]]:
    return [run["settings"] for run in runs.values() if key in run["scores"]]


def best_of(runs: Evaluations, keys: Sequence[str]) -> dict[str, set[str]]:
    """The runs with the best value, by score; none where only one has it, or where they cannot be compared."""
    best: dict[str, set[str]] = {}
    for key in keys:
        values = {name: run["scores"][key] for name, run in runs.items() if key in run["scores"]}
        numbers = {name: value for name, value in values.items() if not math.isnan(value)}
        is_comparable = len(values) > 1 and _direction(key) and not differences(key, _settings(runs, key))
        winners = {name for name, value in numbers.items() if not any(better(key, v, value) for v in numbers.values())}
        best[key] = winners if is_comparable else set()
    # A run is the best only where every judge says so: see docs/metrics.md.
    for group in _by_judge(keys):
        common = set.intersection(*(best[key] for key in group))
        best |= dict.fromkeys(group, common)
    return best


def _by_judge(keys: Sequence[str]) -> list[list[str]]:
    """The keys of each metric that several judges measured."""
    by_metric: dict[str, list[str]] = {}
    for key in keys:
        if (metric := metric_of(key)) is not None and metric.judged:
            by_metric.setdefault(metric.name, []).append(key)
    return [group for group in by_metric.values() if len(group) > 1]


def remarks(runs: Evaluations, keys: Sequence[str]) -> list[str]:
    """A line for each reason why scores have no best value."""
    by_reason: dict[str, list[str]] = {}
    for key in keys:
        settings = _settings(runs, key)
        if len(settings) > 1 and (setting_names := differences(key, settings)):
            by_reason.setdefault(", ".join(setting_names), []).append(key)
    lines = [
        f"{', '.join(names)}: no best value, as the runs differ in {reason}" for reason, names in by_reason.items()
    ]
    keys_apart = {key for names in by_reason.values() for key in names}
    groups = [
        group
        for group in _by_judge([key for key in keys if key not in keys_apart])
        if all(best_of(runs, [key])[key] for key in group) and not best_of(runs, group)[group[0]]
    ]
    return [*lines, *(f"{', '.join(group)}: no best value, as the judges disagree" for group in groups)]
