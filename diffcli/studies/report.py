"""The source report's study, for what compares runs of its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from diffcli.studies.claim_text import Claim
from diffcli.studies.claims import check
from diffcli.studies.results import RunResults
from diffcli.studies.study_files import load_study
from diffcli.studies.study_schema import Reported, Study, StudyClaim


@cache
def report() -> Study:
    """The study of the source report."""
    return load_study("report")


def labels_by_preset() -> dict[str, str]:
    """By the preset of a model of the report, its label."""
    return {model.preset: label for label, model in report().models.items() if model.reported is not None}


def reported(preset: str) -> Reported | None:
    """The report's scores of a preset's model; None where it has none."""
    label = labels_by_preset().get(preset)
    return None if label is None else report().models[label].reported


def check_report(results: Mapping[str, RunResults], several: Mapping[str, str]) -> list[Claim]:
    """The report's claims about the models that are there, by preset.

    Args:
        several: of the presets with more than one run, the label of the one in ``results``; the evidence names it.
    """
    labels = labels_by_preset()
    there = {labels[preset]: [measured] for preset, measured in results.items() if preset in labels}
    runs_of_label = {labels[preset]: run for preset, run in several.items() if preset in labels}
    about = [claim for claim in report().claims if models_of(claim) <= set(there)]
    tables = []
    for claim, result in zip(about, check(about, there), strict=True):
        runs = [run for label, run in runs_of_label.items() if label in models_of(claim)]
        note = f" (of the runs of one preset the first was taken: {', '.join(runs)})" if runs else ""
        tables.append(replace(result, evidence=result.evidence + note))
    return tables


def models_of(claim: StudyClaim) -> set[str]:
    """The labels that a claim is about."""
    return set(_labels([claim]))


def _labels(claims: Sequence[StudyClaim]) -> Iterator[str]:
    for claim in claims:
        yield from (which.model for _, which in claim.selected)
        yield from _labels(claim.all)
