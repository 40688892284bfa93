"""A study: several models, trained, evaluated and compared, in one command that can be interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffcli.checkpoints import read_checkpoint
from diffcli.computing import precision_of
from diffcli.devices import Devices, fabric_of
from diffcli.errors import UserError, unknown
from diffcli.experiments.compare import CompareOptions, compare
from diffcli.experiments.comparison import Comparison
from diffcli.experiments.planning import Plan, TrainOptions, plan
from diffcli.experiments.train import carry_out
from diffcli.files import written_whole
from diffcli.options import takes
from diffcli.peers import is_first
from diffcli.progress import note
from diffcli.report.study import BUDGETS, MODELS
from diffcli.runs import Run

STUDIES = ("report",)


@dataclass(frozen=True)
class StudyOptions:
    """Which study is made, and where.

    Args:
        name: one of ``STUDIES``.
        budget: one of ``BUDGETS``.
        out: holds a run folder for each model, and the page ``report.html``; named again, the study goes on.
        data_dir: folder of the data sets; None is ``DIFFCLI_DATA``, else ``data``.
        extractor: of features, one of ``EXTRACTORS``.
        inception_weights: a local copy of the Inception weights.
        devices: of the trainings; the evaluations run on the same ones, in single precision.

    Raises:
        UserError: the study or the budget is unknown.
    """

    name: str = "report"
    budget: str = "quick"
    out: Path = Path("study")
    data_dir: Path | str | None = None
    extractor: str = "auto"
    inception_weights: Path | str | None = None
    devices: Devices = field(default_factory=Devices)
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.name not in STUDIES:
            raise UserError(unknown("study", self.name, STUDIES))
        if self.budget not in BUDGETS:
            raise UserError(f"`budget`: {unknown('budget', self.budget, BUDGETS)}")
        self.comparison_of([])  # a bad option is told before hours of training

    def comparison_of(self, runs: Sequence[Run]) -> CompareOptions:
        """How the trained models are compared."""
        budget = BUDGETS[self.budget]
        return CompareOptions(
            runs,
            out=self.out / "report.html",
            n_test=budget.n_test,
            n_fid=budget.n_fid,
            steps=budget.steps,
            extractor=self.extractor,
            inception_weights=self.inception_weights,
            data_dir=self.data_dir,
            devices=replace(self.devices, precision=Devices.precision, compile=False),
            quiet=self.quiet,
        )

    def training_of(self, preset: str) -> TrainOptions:
        """How one of the models is trained."""
        budget = BUDGETS[self.budget]
        effort = budget.efforts[preset]
        overrides: dict[str, Any] = {}
        if effort.epochs is not None:
            overrides |= {"training.epochs": effort.epochs, "training.sample_epochs": [1, effort.epochs]}
        if budget.steps is not None:
            overrides["sampler.steps"] = budget.steps
        return TrainOptions(
            preset,
            overrides,
            out=self.out / preset,
            data_dir=self.data_dir,
            limit_batches=effort.limit_batches,
            devices=self.devices,
            quiet=self.quiet,
        )


@takes(StudyOptions)
def study(options: StudyOptions) -> Comparison:
    """Trains, evaluates and compares the models of a study; goes on where an earlier call with the same ``out`` was.

    Raises:
        UserError: the data are missing, or ``out`` is of another budget.
    """
    precision_of(options.devices)
    fabric_of(options.devices)  # a bad option is told before hours of training
    plans = [plan(options.training_of(preset)) for preset in MODELS]
    marker = options.out / "budget.txt"
    if marker.is_file() and marker.read_text(encoding="utf-8").strip() != options.budget:
        raise UserError(f"`out` {options.out} holds a study of another budget; name a new folder")
    first = is_first()
    if first:
        with written_whole(marker) as part:
            part.write_text(options.budget + "\n", encoding="utf-8")
    for number, planned in enumerate(plans, 1):
        if first and not options.quiet:
            note(f"{number}/{len(plans)} {planned.name}")
        _finish(planned, Run(options.out / planned.name))
    runs = [Run(options.out / planned.name) for planned in plans]
    return compare(**vars(options.comparison_of(runs)))


def _finish(planned: Plan, run: Run) -> None:
    """Carries a plan out to its end, from where ``run`` is."""
    if not run.preset_file.is_file():
        carry_out(planned)
        return
    steps = read_checkpoint(run.last)["global_step"] if run.last.is_file() else 0
    if steps < planned.preset.training.epochs * planned.data.batches_per_epoch:
        carry_out(replace(planned, run=run))
