"""The results of a study, as claims read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffcli.diffusion.priors import PRIORS
from diffcli.evaluation.intervals import Interval, of_repeats, of_score
from diffcli.evaluation.metrics import from_zT, is_beside, metric_of, scores_on
from diffcli.inference.pictures import RESTORATION
from diffcli.studies.best_values import start_of_reconstructions
from diffcli.studies.facts import FACTS
from diffcli.studies.study_schema import ClaimSubject


class NotMeasured(Exception):
    """The runs at hand cannot tell; the message says why."""


@dataclass(frozen=True)
class RunResults:
    """All that was measured of one run.

    Args:
        evaluation: as ``eval.json`` holds it, of the best checkpoint.
        by_epoch: the same of the weights kept after an epoch.
        facts: by the names of ``FACTS``.
        by_start: evaluations of reconstructions alone: from other z_t than z_T as it is, or from that in other steps.
        T: the degradation's last step; None is not known.
    """

    evaluation: Mapping[str, Any]
    by_epoch: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Interval] = field(default_factory=dict)
    by_start: Sequence[Mapping[str, Any]] = ()
    T: int | None = None


Results = Mapping[str, Sequence[RunResults]]
"""The runs of each model, by label: one for each seed."""


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


def keys_of(subject: ClaimSubject, metric: str, results: Results) -> set[str]:
    """The keys under which scores of a model hold a metric, one for each judge; of a fact its name.

    Raises:
        NotMeasured: there is no such number.
    """
    runs = runs_of(results, subject.model)
    if metric in FACTS:
        return {metric}
    keys = {key for run in runs for key in _evaluation_of(run, subject)[0] if _is_of(metric, key)}
    if not keys:
        raise NotMeasured(f"{metric} was not measured of {subject.model}")
    return keys


def _is_of(metric: str, key: str) -> bool:
    entry = metric_of(key)
    return entry is not None and entry.name == metric and not is_beside(key)


def number_of(subject: ClaimSubject, key: str, results: Results) -> Number:
    """A score or a fact of a model, by its key: of one run with the interval of its evaluation, of several the mean and
    how far other seeds may lead.

    Raises:
        NotMeasured: there is no such number.
    """
    runs = runs_of(results, subject.model)
    if key in FACTS:
        values = [run.facts[key] for run in runs if key in run.facts]
        if not values:
            raise NotMeasured(f"{key} is not known of {subject.model}")
        return Number(subject.model, key, _mean_interval(values), [])
    evaluations = [_evaluation_of(run, subject) for run in runs]
    if any(key not in scores for scores, _ in evaluations):
        raise NotMeasured(f"{key} was not measured of {subject.model}")
    intervals = [of_score(key, scores, settings) for scores, settings in evaluations]
    return Number(_label_of(subject, runs), key, _mean_interval(intervals), [settings for _, settings in evaluations])


def _mean_interval(intervals: Sequence[Interval]) -> Interval:
    """The interval of one run, or of several that of their mean."""
    return of_repeats([one.value for one in intervals]) if len(intervals) > 1 else intervals[0]


def _label_of(subject: ClaimSubject, runs: Sequence[RunResults]) -> str:
    epoch = "" if subject.epoch is None else f" after epoch {_epoch_of(runs[0], subject)}"
    prior = "" if subject.prior is None else f" from {subject.prior}"
    start = f" from {start_of_reconstructions(_start_of(runs[0], subject))}" if subject.is_disturbed else ""
    seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
    return f"{subject.model}{epoch}{prior}{start}{seeds}"


def _epoch_of(run: RunResults, subject: ClaimSubject) -> int:
    if not run.by_epoch:
        raise NotMeasured(f"no weights of {subject.model} were kept along its training")
    ends = {"first": min(run.by_epoch), "last": max(run.by_epoch)}
    epoch = subject.epoch if isinstance(subject.epoch, int) else ends[str(subject.epoch)]
    if epoch not in run.by_epoch:
        epochs = ", ".join(map(str, sorted(run.by_epoch)))
        raise NotMeasured(f"no weights of {subject.model} were kept after epoch {epoch}; there are those of {epochs}")
    return epoch


def _evaluation_of(run: RunResults, subject: ClaimSubject) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """(scores, settings) of what is selected of a run."""
    if subject.is_disturbed:
        return _of_start(run, subject)
    evaluation = run.evaluation if subject.epoch is None else run.by_epoch[_epoch_of(run, subject)]
    settings = evaluation.get("settings", {})
    if subject.prior is None:
        return from_zT(evaluation["scores"], settings), settings
    by_prior = evaluation.get("by_prior", {})
    if subject.prior not in by_prior:
        raise NotMeasured(f"{subject.model} was not sampled from {subject.prior}")
    kind = RESTORATION if PRIORS[subject.prior].restores else "generation"
    return by_prior[subject.prior], {**settings, "prior": subject.prior, "kind": kind}


def _start_of(run: RunResults, subject: ClaimSubject) -> dict[str, Any]:
    """The settings of an evaluation that say what its reconstructions start from, and the steps that a claim names."""
    t = None if subject.t == run.T else subject.t
    return {"reconstruction": {"t": t, "bits": subject.bits, "noise": subject.noise, "steps": subject.steps}}


def _of_start(run: RunResults, subject: ClaimSubject) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    start = _start_of(run, subject)
    name = f"reconstructions of {subject.model} from {start_of_reconstructions(start)}"
    matches = [one for one in run.by_start if _starts_as(start["reconstruction"], one["settings"])]
    counts = sorted({_steps_of(one["settings"]) or 0 for one in matches})
    if len(counts) > 1:
        raise NotMeasured(f"{name} were measured in {' and in '.join(map(str, counts))} steps from T; name the steps")
    if matches:
        return matches[0]["scores"], matches[0]["settings"]
    # What an evaluation reconstructs beside its samples is from z_T, in steps that a claim has to name to mean it.
    settings = run.evaluation.get("settings", {})
    if subject.steps is not None and _starts_as(start["reconstruction"], settings):
        return scores_on(("reconstructions",), run.evaluation["scores"]), settings
    raise NotMeasured(f"no {name} were measured")


def _starts_as(start: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether an evaluation is of the reconstructions that a claim names; where it names no steps, in any."""
    own = settings.get("reconstruction") or {"t": None, "bits": None, "noise": 0.0}
    return own | {"steps": start["steps"] and _steps_of(settings)} == start


def _steps_of(settings: Mapping[str, Any]) -> int | None:
    steps: int | None = settings.get("sampler", {}).get("steps")
    return steps
