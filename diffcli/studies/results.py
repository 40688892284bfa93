"""The results of a study, as claims read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffcli.diffusion.priors import PRIORS
from diffcli.evaluation.intervals import Interval, of_repeats, of_score
from diffcli.evaluation.metrics import from_zT, is_beside, metric_of
from diffcli.inference.pictures import RESTORATION
from diffcli.studies.best_values import start_of_reconstructions
from diffcli.studies.facts import FACTS
from diffcli.studies.study_schema import Selected


class NotMeasured(Exception):
    """The runs at hand cannot tell; the message says why."""


@dataclass(frozen=True)
class RunResults:
    """All that was measured of one run.

    Args:
        evaluation: as ``eval.json`` holds it, of the best checkpoint.
        by_epoch: the same of the weights kept after an epoch.
        facts: by the names of ``FACTS``.
        by_start: evaluations of reconstructions from other z_t than z_T as it is.
        T: the degradation's last step; None is not known.
    """

    evaluation: Mapping[str, Any]
    by_epoch: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Interval] = field(default_factory=dict)
    by_start: Sequence[Mapping[str, Any]] = ()
    T: int | None = None


Results = Mapping[str, Sequence[RunResults]]
"""By label of a model, its runs: one for each seed."""


@dataclass(frozen=True)
class Number:
    """A number that a claim is about.

    Args:
        name: what it is of, in words.
        key: of the score.
        settings: that it was measured with, one for each run.
    """

    name: str
    key: str
    interval: Interval
    settings: Sequence[Mapping[str, Any]]


def runs_of(results: Results, label: str) -> Sequence[RunResults]:
    """The runs of a model.

    Raises:
        NotMeasured: there are none.
    """
    if not results.get(label):
        raise NotMeasured(f"there is no run of {label}")
    return results[label]


def keys_of(which: Selected, metric: str, results: Results) -> set[str]:
    """The keys under which scores of a model hold a metric, one for each judge; of a fact its name.

    Raises:
        NotMeasured: there is no such number.
    """
    runs = runs_of(results, which.model)
    if metric in FACTS:
        return {metric}
    keys = {key for run in runs for key in _evaluation_of(run, which)[0] if _is_of(metric, key)}
    if not keys:
        raise NotMeasured(f"{metric} was not measured of {which.model}")
    return keys


def _is_of(metric: str, key: str) -> bool:
    entry = metric_of(key)
    return entry is not None and entry.name == metric and not is_beside(key)


def number_of(which: Selected, key: str, results: Results) -> Number:
    """A score or a fact of a model, by its key: of one run with the interval of its evaluation, of several the mean and
    how far other seeds may lead.

    Raises:
        NotMeasured: there is no such number.
    """
    runs = runs_of(results, which.model)
    if key in FACTS:
        values = [run.facts[key] for run in runs if key in run.facts]
        if not values:
            raise NotMeasured(f"{key} is not known of {which.model}")
        return Number(which.model, key, _joined(values), [])
    evaluations = [_evaluation_of(run, which) for run in runs]
    if any(key not in scores for scores, _ in evaluations):
        raise NotMeasured(f"{key} was not measured of {which.model}")
    intervals = [of_score(key, scores, settings) for scores, settings in evaluations]
    return Number(_label_of(which, runs), key, _joined(intervals), [settings for _, settings in evaluations])


def _joined(intervals: Sequence[Interval]) -> Interval:
    """The interval of one run, or of several that of their mean."""
    return of_repeats([one.value for one in intervals]) if len(intervals) > 1 else intervals[0]


def _label_of(which: Selected, runs: Sequence[RunResults]) -> str:
    epoch = "" if which.epoch is None else f" after epoch {_epoch_of(runs[0], which)}"
    prior = "" if which.prior is None else f" from {which.prior}"
    start = f" from {start_of_reconstructions(_start_of(runs[0], which))}" if which.is_disturbed else ""
    seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
    return f"{which.model}{epoch}{prior}{start}{seeds}"


def _epoch_of(run: RunResults, which: Selected) -> int:
    if not run.by_epoch:
        raise NotMeasured(f"no weights of {which.model} were kept along its training")
    ends = {"first": min(run.by_epoch), "last": max(run.by_epoch)}
    epoch = which.epoch if isinstance(which.epoch, int) else ends[str(which.epoch)]
    if epoch not in run.by_epoch:
        epochs = ", ".join(map(str, sorted(run.by_epoch)))
        raise NotMeasured(f"no weights of {which.model} were kept after epoch {epoch}; there are those of {epochs}")
    return epoch


def _evaluation_of(run: RunResults, which: Selected) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """(scores, settings) of what is selected of a run."""
    if which.is_disturbed:
        return _of_start(run, which)
    evaluation = run.evaluation if which.epoch is None else run.by_epoch[_epoch_of(run, which)]
    settings = evaluation.get("settings", {})
    if which.prior is None:
        return from_zT(evaluation["scores"], settings), settings
    by_prior = evaluation.get("by_prior", {})
    if which.prior not in by_prior:
        raise NotMeasured(f"{which.model} was not sampled from {which.prior}")
    kind = RESTORATION if PRIORS[which.prior].restores else "generation"
    return by_prior[which.prior], {**settings, "prior": which.prior, "kind": kind}


def _start_of(run: RunResults, which: Selected) -> dict[str, Any]:
    """The settings of an evaluation that say what its reconstructions start from."""
    t = None if which.t == run.T else which.t
    return {"reconstruction": {"t": t, "bits": which.bits, "noise": which.noise}}


def _of_start(run: RunResults, which: Selected) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    start = _start_of(run, which)
    for evaluation in run.by_start:
        if evaluation["settings"]["reconstruction"] == start["reconstruction"]:
            return evaluation["scores"], evaluation["settings"]
    raise NotMeasured(f"no reconstructions of {which.model} from {start_of_reconstructions(start)} were measured")
