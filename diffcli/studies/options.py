"""The options of comparisons and studies; nothing heavy is loaded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.data.options import DataDirOptions, DataOptions
from diffcli.evaluation.options import (
    EffortOptions,
    EvaluateOptions,
    ExtractorOptions,
    metrics_option,
    n_fid_option,
    n_test_option,
)
from diffcli.inference.options import steps_option
from diffcli.utils.console import quiet_option
from diffcli.utils.devices import ONE_DEVICE, PLACES, Devices, devices_option
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import check_beside, check_output, output_of
from diffcli.utils.options import option, shared_options

if TYPE_CHECKING:
    from diffcli.checkpoints.runs import Run
    from diffcli.studies.study_schema import Budget, Study


@dataclass(frozen=True)
class CompareOptions(EffortOptions, DataOptions):
    """The options of ``compare``: the runs, and how each is evaluated.

    Args:
        runs: see :func:`diffcli.load`; run folders, preset names for their newest runs, ready models, or model files.
        out: .html (a self-contained page), .md or .json; None writes nothing.
        n_test: test images for the loss and for reconstructions, the same random ones of every run; None is all.
        n_fid: unconditional samples for the distances.
        metrics: see :class:`EvaluateOptions`.
        steps: of each run's own sampler; None is what its preset says.

    Raises:
        UserError: ``out`` cannot be written, or an option is none of an evaluation.
    """

    runs: Sequence[Run | Path | str] = option(
        argument=True,
        metavar="RUN...",
        help="Run folders, preset names or names below runs/ (newest run).",
        complete="models",
    )
    out: Path | None = option(
        None,
        check=output_of(".html", ".md", ".json"),
        help=".html (one self-contained page), .md or .json.",
        default_text="only the table",
    )
    n_test: int | None = n_test_option()
    n_fid: int = n_fid_option()
    _: KW_ONLY
    metrics: Sequence[str] = metrics_option()
    steps: int | None = steps_option()
    devices: Devices = devices_option(ONE_DEVICE, PLACES)
    quiet: bool = quiet_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.evaluation_of("last")

    def evaluation_of(self, run: Run | Path | str) -> EvaluateOptions:
        """The options that a run is evaluated with, from its preset's own prior."""
        return EvaluateOptions(**{**shared_options(self, EvaluateOptions), "run": run, "out": None})


def _runs_by_label(texts: Sequence[str]) -> dict[str, list[str]]:
    """The runs of ``MODEL=RUN``, by label."""
    runs: dict[str, list[str]] = {}
    for text in texts:
        label, equals, run = text.partition("=")
        if not (label and equals and run):
            raise UserError(
                f"`run` {text}: write it as MODEL=RUN, for example noise=runs/quickstart/2026-01-31_12-00-00"
            )
        runs.setdefault(label, []).append(run)
    return runs


@dataclass(frozen=True)
class StudyOptions(ExtractorOptions, DataDirOptions):
    """The options of ``study``: which is made, and where.

    Args:
        study: a study's name or its YAML file.
        budget: one of the study's; None is its first.
        out: holds a run folder for each model and the page; named again, the study goes on. None is ``studies/NAME``.
        page: .html; the same as .md and .json are written beside. None is ``NAME.html`` in ``out``.
        runs: by label of a model, runs to take as they are in place of training it.
        only: labels of the models that are trained and measured now, those of the others stay as they are and no page
            is written; what was measured is found again when the whole study is made. None is all of them, with the
            page.
        devices: of the trainings; the evaluations run on the same ones, in the study's precision.

    Raises:
        UserError: the study or the budget is unknown, the study is not valid, or the page cannot be written.
    """

    study: str | Path = option(
        "report",
        argument=True,
        metavar="STUDY",
        help="A YAML file, or a study that comes along: degradations, learnt or report.",
        complete="studies",
    )
    budget: str | None = option(None, help="One of the study's budgets.", default_text="its first")
    out: Path | None = option(None, help="Folder of the runs; name it again to go on.", default_text="studies/STUDY")
    page: Path | None = option(
        None, help=".html; beside it the same as .md and .json.", default_text="STUDY.html in `out`"
    )
    runs: Mapping[str, Sequence[str]] = option(
        default_factory=dict,
        name="run",
        metavar="MODEL=RUN",
        help="Take a run as it is in place of training the model; repeatable.",
        parse=_runs_by_label,
    )
    _: KW_ONLY
    only: Sequence[str] = option(
        (),
        metavar="MODEL",
        help="Train and measure this model now, leave the others, write no page; repeatable.",
    )
    devices: Devices = devices_option(Devices(), {**PLACES, "precision": None})
    quiet: bool = quiet_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        budgets = self.content.known_budgets
        if self.budget is not None and self.budget not in budgets:
            raise UserError(f"`budget`: {unknown_name('budget', self.budget, budgets)}")
        labels = [label for label in self.content.models if label not in self.chosen_budget[1].without]
        for label in self.only:
            if label not in labels:
                raise UserError(f"`only`: {unknown_name('model', label, labels)}")
        if self.only and self.page is not None:
            raise UserError("`page` is of a whole study; leave it or `only` out")
        if self.page is not None:
            check_output(self.page, (".html",), "page")
        check_beside(self.files[0], self.files[1:], "page" if self.page is not None else "out")
        self.evaluation_of("last")  # a bad option is told before hours of training

    @cached_property
    def content(self) -> Study:
        """The content of the file, which is read once."""
        from diffcli.studies.study_files import load_study

        return load_study(str(self.study))

    @property
    def chosen_budget(self) -> tuple[str, Budget]:
        """The budget that is taken, and its name."""
        budgets = self.content.known_budgets
        name = self.budget or next(iter(budgets))
        return name, budgets[name]

    @property
    def name(self) -> str:
        """The name of the study: its file's stem."""
        from diffcli.studies.study_files import find_study

        return find_study(str(self.study)).stem

    @property
    def folder(self) -> Path:
        """The folder of the runs."""
        return Path("studies") / self.name if self.out is None else self.out

    @property
    def files(self) -> list[Path]:
        """The page, and beside it the same as Markdown and as JSON."""
        page = self.page or self.folder / f"{self.name}.html"
        return [page, page.with_suffix(".md"), page.with_suffix(".json")]

    def evaluation_of(self, run: Any, precision: str | None = None) -> EvaluateOptions:
        """The options that a run is measured with, whatever else the study says of it."""
        devices = replace(self.devices, precision=precision, compile=False)
        arguments = {**shared_options(self, EvaluateOptions), "run": run, "out": None, "devices": devices}
        return EvaluateOptions(**arguments)
