"""The result of a study: what was measured of its runs, and what became of its claims."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffcli.evaluation.intervals import Interval
from diffcli.studies.claim_text import Claim
from diffcli.studies.comparison import ComparedRun
from diffcli.studies.members import Member
from diffcli.studies.results import RunResults
from diffcli.studies.study_schema import Study


@dataclass(frozen=True)
class MemberResult:
    """All that was measured of a run of a study: of its best checkpoint and of the weights that it kept."""

    member: Member
    best: ComparedRun
    by_epoch: dict[int, ComparedRun]
    facts: dict[str, Interval]
    by_start: list[ComparedRun]

    @property
    def results(self) -> RunResults:
        """The results as claims read them."""
        by_epoch = {epoch: run.evaluation for epoch, run in self.by_epoch.items()}
        by_start = [run.evaluation for run in self.by_start]
        return RunResults(self.best.evaluation, by_epoch, self.facts, by_start, self.best.T)


@dataclass(frozen=True)
class StudyResult:
    """A finished study: what was measured of each run, what became of the claims, and the files written."""

    study: Study
    file: Path
    budget: str
    runs: list[MemberResult]
    claims: list[Claim]
    files: list[Path] = field(default_factory=list)

    @property
    def by_label(self) -> dict[str, list[MemberResult]]:
        """The runs of each model."""
        labels = dict.fromkeys(run.member.label for run in self.runs)
        return {label: [run for run in self.runs if run.member.label == label] for label in labels}

    def as_dict(self) -> dict[str, Any]:
        """The content of the ``.json``."""
        return {
            "title": self.study.title,
            "source": self.study.source,
            "budget": self.budget,
            "runs": [
                {
                    "label": run.member.label,
                    **run.best.as_dict(),
                    "by_epoch": {str(epoch): one.evaluation for epoch, one in run.by_epoch.items()},
                    "by_start": [one.evaluation for one in run.by_start],
                    "facts": {name: vars(interval) for name, interval in run.facts.items()},
                }
                for run in self.runs
            ],
            "claims": [asdict(claim) for claim in self.claims],
        }
