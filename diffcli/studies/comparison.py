"""Compared runs, and what follows from laying them side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffcli.checkpoints.runs import Run
from diffcli.config.schema import Preset
from diffcli.evaluation.options import EvaluateOptions
from diffcli.evaluation.protocol import digest
from diffcli.studies.best_values import best_of, note_of_floor, remarks
from diffcli.studies.claim_text import Claim
from diffcli.studies.comparison_view import columns


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison: the settings that it is evaluated with and, once known, its evaluation."""

    name: str
    run: Run
    preset_name: str
    preset: Preset
    T: int
    alpha_T: float | None
    options: EvaluateOptions
    settings: dict[str, Any]
    """Settings that decide the scores, see :func:`protocol`."""
    parameters: int = 0
    """The number of parameters of the network."""
    origin: str = ""
    """The place that the model comes from, in words."""
    training: dict[str, Any] = field(default_factory=dict)
    """Facts about its training, as a model file or the run records them."""
    classes: list[str] = field(default_factory=list)
    """The labels that it can be asked for."""
    stored_evaluations: list[dict[str, Any]] = field(default_factory=list)
    """The evaluation that a model file holds."""
    evaluation: dict[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> Path:
        """The folder of what is drawn of the run with the settings of its evaluation."""
        return self.run.compared / digest(self.evaluation["settings"])

    @property
    def notes(self) -> list[str]:
        """Notes on its evaluation: what was left out, and on how many images a floor rests."""
        return [note for note in (note_of_floor(self.evaluation["settings"]), *self.evaluation["notes"]) if note]

    def as_dict(self) -> dict[str, Any]:
        """The entry of the run in a ``.json``."""
        return {
            "name": self.name,
            "run": str(self.run.folder),
            "origin": self.origin,
            "parameters": self.parameters,
            "history": self.run.history(),
            **self.evaluation,
        }


@dataclass(frozen=True)
class Comparison:
    """The compared runs, the report's claims against them, and the file written, if any."""

    runs: list[ComparedRun]
    claims: list[Claim]
    file: Path | None = None

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """The scores of each run by its label."""
        return {run.name: run.evaluation["scores"] for run in self.runs}

    @property
    def best(self) -> dict[str, set[str]]:
        """The labels of the runs with the best value, by score that any run has; none where they cannot be compared."""
        return best_of({run.name: run.evaluation for run in self.runs}, columns(list(self.scores.values())))

    @property
    def remarks(self) -> list[str]:
        """Remarks on why scores have no best value, and on what was left out of a run's evaluation."""
        reasons = remarks({run.name: run.evaluation for run in self.runs}, columns(list(self.scores.values())))
        return reasons + [f"{run.name}: {note}" for run in self.runs for note in run.notes]

    def as_dict(self) -> dict[str, Any]:
        """The content of a ``.json``."""
        return {
            "runs": [run.as_dict() for run in self.runs],
            "best": {key: sorted(names) for key, names in self.best.items()},
            "remarks": self.remarks,
            "claims": [asdict(claim) for claim in self.claims],
        }
