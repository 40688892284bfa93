"""Evaluations as files hold them: scores by key, and the settings that they hold for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """Scores by key, the settings that they hold for, and what was left out and why."""

    scores: dict[str, float]
    settings: dict[str, Any]
    by_prior: dict[str, dict[str, float]] = field(default_factory=dict)
    """The scores that depend on where sampling starts, for each prior asked for; ``scores`` holds that of the first."""
    loss_by_t: list[float | None] = field(default_factory=list)
    """Test loss in each tenth of t/T; None where no test image fell into it."""
    loss_by_t_error: list[float | None] = field(default_factory=list)
    """The standard errors of those; None of less than two test images."""
    notes: list[str] = field(default_factory=list)
    by_label: dict[str, dict[str, float]] = field(default_factory=dict)
    """The Frechet distances of the samples of each label, by its name and the score's key, where they were asked
    for."""
    file: Path | None = None

    def finite(self) -> Evaluation:
        """The same without the scores that are no numbers, as those of a model that draws NaN; a note names them."""
        groups = [self.scores, *self.by_prior.values()]
        not_finite = list(
            dict.fromkeys(key for group in groups for key, value in group.items() if not math.isfinite(value))
        )
        note = (
            f"left out {', '.join(not_finite)}: not finite; the model's numbers, or those it was compared with, are not"
        )
        return replace(
            self,
            scores=_finite(self.scores),
            by_prior={prior: _finite(scores) for prior, scores in self.by_prior.items()},
            by_label={name: _finite(scores) for name, scores in self.by_label.items()},
            loss_by_t=[_or_none(value) for value in self.loss_by_t],
            loss_by_t_error=[_or_none(value) for value in self.loss_by_t_error],
            notes=[*self.notes, note] if not_finite else self.notes,
        )

    def as_dict(self) -> dict[str, Any]:
        """The content of ``eval.json``."""
        return {
            "scores": self.scores,
            "by_prior": self.by_prior,
            "by_label": self.by_label,
            "loss_by_t": self.loss_by_t,
            "loss_by_t_error": self.loss_by_t_error,
            "settings": self.settings,
            "notes": self.notes,
        }


def _finite(scores: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in scores.items() if math.isfinite(value)}


def _or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def has_todays_meaning(settings: Mapping[str, Any]) -> bool:
    """Whether an evaluation was made since version 0.4: before, scores of the same names meant something else."""
    return "n_floor" in settings


def scores_of_today(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The scores of an evaluation; none of an earlier version's, whose names meant something else."""
    return dict(evaluation.get("scores", {})) if has_todays_meaning(evaluation.get("settings", {})) else {}
