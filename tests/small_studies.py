"""A study of two tiny models, and a claim with a history."""

from __future__ import annotations

from typing import Any

from diffcli.studies.claims import check
from diffcli.studies.results import RunResults
from diffcli.studies.study_schema import StudyClaim

MINE = """\
title: Two trainings
models:
  short: {preset: tiny.yaml, set: {training.epochs: 1}}
  long: tiny.yaml
evaluation: {n_test: 10, n_fid: 20, steps: 4, by_epoch: {n_test: 5, n_fid: 10}}
claims: [{better: long, than: short, metric: fid}]
"""
HOW = ["--extractor", "classifier", "--accelerator", "cpu", "-q"]


def story(date: str, **changes: Any) -> Any:
    """A claim whose bound was 0.75, then 0.9, then 0.8, of a number of the date ``date``."""
    earlier = [
        {"claim": {"of": "a", "metric": "class_kept", "at_least": 0.75}, "since": "2026-01-01", "until": "2026-01-03",
         "why": "It said less than its source."},
        {"claim": {"of": "a", "metric": "class_kept", "at_least": 0.9, "text": "Nine of ten."}, "since": "2026-01-03",
         "until": "2026-01-04", "known_numbers": "0.84", "why": "Too much."},
    ]  # fmt: skip
    claim = {"of": "a", "metric": "class_kept", "at_least": 0.8, "since": "2026-01-04", "history": earlier} | changes
    scores = {"class_kept": 0.84, "class_kept_error": 0.001}
    evaluation = {"scores": scores, "settings": {"n_test": 10**6, "date": f"{date}T10:00:00"}}
    (result,) = check([StudyClaim.model_validate(claim)], {"a": [RunResults(evaluation)]})
    return result
