"""The source report's study, for what compares runs of its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from diffcli.studies.claim_text import Claim
from diffcli.studies.claims import check
from diffcli.studies.results import RunResults
from diffcli.studies.study_files import load_study
from diffcli.studies.study_schema import ReportedScores, Study, StudyClaim


@cache
def report() -> Study:
    """The study of the source report."""
    return load_study("report")


def labels_by_preset() -> dict[str, str]:
    """The labels of the report's models, by preset."""
    return {model.preset: label for label, model in report().models.items() if model.reported is not None}


def reported_scores(preset: str) -> ReportedScores | None:
    """The report's scores of a preset's model; None where it has none."""
    label = labels_by_preset().get(preset)
    return None if label is None else report().models[label].reported


def check_report(results: Mapping[str, RunResults], run_names: Mapping[str, str]) -> list[Claim]:
    """The report's claims about the models that are there, by preset.

    Args:
        run_names: of the presets with more than one run, the label of the one in ``results``; the evidence names it.
    """
    labels = labels_by_preset()
    runs_by_label = {labels[preset]: [results_of_run] for preset, results_of_run in results.items() if preset in labels}
    runs_of_label = {labels[preset]: run for preset, run in run_names.items() if preset in labels}
    claims = [claim for claim in report().claims if models_of(claim) <= set(runs_by_label)]
    tables = []
    for claim, result in zip(claims, check(claims, runs_by_label), strict=True):
        runs = [run for label, run in runs_of_label.items() if label in models_of(claim)]
        note = f" (of the runs of one preset the first was taken: {', '.join(runs)})" if runs else ""
        tables.append(replace(result, evidence=result.evidence + note))
    return tables


def models_of(claim: StudyClaim) -> set[str]:
    """The labels that a claim is about."""
    return set(_labels([claim]))


def _labels(claims: Sequence[StudyClaim]) -> Iterator[str]:
    for claim in claims:
        yield from (subject.model for _, subject in claim.subjects)
        yield from _labels(claim.all)
