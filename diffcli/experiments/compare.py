"""``diffcli compare``: runs side by side, with the report's own numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from diffcli.assembly import build_degradation, candidate_priors, image_shape_of, load_source
from diffcli.config import Preset
from diffcli.devices import Devices, Processes, launch
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.errors import UserError
from diffcli.experiments.evaluate import Evaluation, first_prior, measure
from diffcli.experiments.listing import history
from diffcli.experiments.models import Choice, pick_sampling
from diffcli.experiments.protocol import Request, Subject, digest, fits, instruments, pick_subject, protocol
from diffcli.experiments.sample import check_output, sample
from diffcli.files import writable_folder, write_json, written_whole
from diffcli.presets import to_yaml
from diffcli.report.claims import Claim, check
from diffcli.reporting.comparable import best_of, differences, remarks
from diffcli.reporting.figures import comparable, loss_by_t_figure, loss_figure, schedule_figure, schedule_table
from diffcli.reporting.labels import unique_labels
from diffcli.reporting.page import Picture, RunView, columns, html_page, markdown_page, picture_of, reported_values
from diffcli.runs import Run, find_run

SUFFIXES = (".html", ".md", ".json")


@dataclass(frozen=True)
class Settings:
    """What every compared run is evaluated with; ``steps`` None is the preset's own."""

    request: Request = field(default_factory=Request)
    steps: int | None = None
    data_dir: Path = Path("data")
    hardware: Devices = field(default_factory=Devices)


@dataclass(frozen=True)
class Compared:
    """A run, what its evaluation has to be, and once it is found or made, the evaluation."""

    name: str
    run: Run
    preset_name: str
    preset: Preset
    alpha_T: float | None
    choice: Choice
    request: Request
    wanted: dict[str, Any]
    """Settings that decide the scores, see :func:`protocol`."""
    evaluation: dict[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> Path:
        """The folder of what is drawn of the run with the settings of its evaluation."""
        return self.run.compared / digest(self.evaluation["settings"])

    def as_dict(self) -> dict[str, Any]:
        """What ``--out FILE.json`` holds of the run."""
        return {"name": self.name, "run": str(self.run.folder), "history": history(self.run), **self.evaluation}


@dataclass(frozen=True)
class Comparison:
    """The compared runs, the report's claims against them, and the file written, if any."""

    runs: list[Compared]
    claims: list[Claim]
    file: Path | None = None

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """By label of the run."""
        return {run.name: run.evaluation["scores"] for run in self.runs}

    @property
    def best(self) -> dict[str, set[str]]:
        """By score that any run has, the labels of the runs with its best value, none where they cannot be compared."""
        return best_of({run.name: run.evaluation for run in self.runs}, columns(list(self.scores.values())))

    @property
    def remarks(self) -> list[str]:
        """Why scores have no best value, and what was left out of a run's evaluation."""
        reasons = remarks({run.name: run.evaluation for run in self.runs}, columns(list(self.scores.values())))
        return reasons + [f"{run.name}: {note}" for run in self.runs for note in run.evaluation["notes"]]

    def as_dict(self) -> dict[str, Any]:
        """What ``--out FILE.json`` holds."""
        return {
            "runs": [run.as_dict() for run in self.runs],
            "best": {key: sorted(names) for key, names in self.best.items()},
            "remarks": self.remarks,
            "claims": [
                {"text": claim.text, "verdict": claim.verdict, "evidence": claim.evidence} for claim in self.claims
            ],
        }


def compare(names: Sequence[str], out: Path | None, settings: Settings, quiet: bool) -> Comparison:
    """Evaluates what has not been evaluated with these settings yet, and lays the runs side by side.

    Of several processes, the first one alone looks for evaluations, writes and draws.

    Args:
        names: run folders, or preset names for their newest runs.
        out: .html (a self-contained page), .md or .json.

    Raises:
        UserError: a run is not there or given twice, an option does not fit it, or ``out`` cannot be written.
    """
    if out is not None:
        check_output(out, SUFFIXES, "--out")
    runs = [find_run(name) for name in names]
    folders = [run.folder.resolve() for run in runs]
    if len(set(folders)) < len(folders):
        raise UserError("a run is named twice; name each once")
    # Everything is checked before anything is measured, which may take hours.
    prepared = [_prepared(run, settings) for run in runs]
    labels = unique_labels([run.preset_name for run in prepared], folders)
    prepared = [replace(run, name=label) for run, label in zip(prepared, labels, strict=True)]
    processes = launch(settings.hardware)
    # Twice: evaluating one run may fetch the Inception weights, and so change what `auto` stands for in the others.
    for _ in range(2):
        prepared = [_evaluated(run, processes, quiet) for run in prepared]
    comparison = Comparison(prepared, _claims(prepared), out)
    if out is not None and processes.first:
        with written_whole(out) as part:
            part.write_text(_render(comparison, out.suffix.lower(), processes, quiet), encoding="utf-8")
    return comparison


def _prepared(run: Run, settings: Settings) -> Compared:
    choice = Choice(
        run=str(run.folder),
        steps=settings.steps,
        batch_size=250,
        hardware=settings.hardware,
        data_dir=settings.data_dir,
    )
    subject = pick_subject(choice)
    preset = subject.model.preset
    degradation = build_degradation(preset, image_shape_of(preset))
    candidates = candidate_priors(preset)
    priors = [preset.prior.name, *candidates] if candidates[preset.prior.name].needs_fit else []
    request = replace(settings.request, priors=priors)
    wanted = _wanted(subject, choice, request)
    alpha_T = float(degradation.alphas_cumprod[-1]) if isinstance(degradation, GaussianNoise) else None
    name = subject.model.preset_name
    return Compared(name, run, name, preset, alpha_T, choice, request, wanted)


def _wanted(subject: Subject, choice: Choice, request: Request) -> dict[str, Any]:
    try:
        source = load_source(subject.model.preset, choice.data_dir, download=False)
    except UserError:  # what was measured on the images can be shown without them
        source = None
    return protocol(subject, choice, request, source)


def _evaluated(run: Compared, processes: Processes, quiet: bool) -> Compared:
    """The run with an evaluation that was made with the settings wanted; it is made where there is none."""
    # The first process looks for it, so that all decide alike whatever others write meanwhile.
    (found,) = processes.shared([run], _found)
    if found is None:
        writable_folder(run.run.folder)
        subject = pick_subject(run.choice)
        sampling = pick_sampling(subject.model, first_prior(run.choice, run.request), processes)
        found = measure(subject, sampling, run.choice, run.request, quiet).as_dict()
        if processes.first:
            write_json(run.run.compared / digest(found["settings"]) / run.run.eval_file.name, found)
    return replace(run, evaluation=found)


def _found(run: Compared) -> dict[str, Any] | None:
    """The evaluation, by ``eval`` or by a comparison, that holds what is wanted; None where there is none."""
    at_hand = instruments(run.request, run.preset.data.name)
    if run.evaluation and fits(run.evaluation["settings"], at_hand):
        return run.evaluation
    wanted = run.wanted | at_hand
    for stored in run.run.evaluations():
        try:
            evaluation = TypeAdapter(Evaluation).validate_python(stored)
        except ValidationError:  # a damaged file, or somebody else's
            continue
        if fits(evaluation.settings, wanted) and set(run.request.priors) <= set(evaluation.by_prior):
            return evaluation.as_dict()
    return None


def _claims(runs: Sequence[Compared]) -> list[Claim]:
    """The claims checked on the first run of each preset; where a preset has several, the evidence names the one taken."""
    first: dict[str, Compared] = {}
    for run in runs:
        first.setdefault(run.preset_name, run)
    names = [run.preset_name for run in runs]
    several = {name: run.name for name, run in first.items() if names.count(name) > 1}
    return check({name: _result(run) for name, run in first.items()}, several)


def _result(run: Compared) -> dict[str, Any]:
    return run.evaluation if run.alpha_T is None else {**run.evaluation, "alpha_T": run.alpha_T}


def _render(comparison: Comparison, suffix: str, processes: Processes, quiet: bool) -> str:
    if suffix == ".json":
        return json.dumps(comparison.as_dict(), indent=2) + "\n"
    title = (
        " and ".join(run.name for run in comparison.runs) if len(comparison.runs) < 3 else "diffusion models compared"
    )
    with_pictures = suffix == ".html"
    views = [_view(run, _pictures(run, processes, quiet) if with_pictures else []) for run in comparison.runs]
    if not with_pictures:
        return markdown_page(title, views, comparison.best, comparison.remarks, comparison.claims)
    shared = _shared(comparison.runs)
    return html_page(title, views, comparison.best, comparison.remarks, shared, comparison.claims)


def _view(run: Compared, pictures: list[Picture]) -> RunView:
    settings = run.evaluation["settings"]
    extractor = (settings["extractor"] or {}).get("name", "none")
    epochs = history(run.run)
    reported = reported_values().get(run.preset_name, {})
    sampler = f"{settings['sampler']['name']} sampler with {settings['sampler']['steps']} steps"
    return RunView(
        name=run.name,
        note=f"epoch {settings['epoch']} of {len(epochs)}, {sampler}, n_test {settings['n_test']}, n_fid {settings['n_fid']}",
        about=(
            f"{run.preset.description}. {run.run.info().get('parameters', 0):,} parameters, {len(epochs)} epochs done, "
            f"{sampler}, prior {settings['prior']}, features by {extractor}. {run.run.folder}"
        ),
        preset=to_yaml(run.preset),
        scores=run.evaluation["scores"],
        reported=reported.get("scores", {}),
        by_prior=run.evaluation["by_prior"],
        pictures=pictures,
    )


def _pictures(run: Compared, processes: Processes, quiet: bool) -> list[Picture]:
    """Samples by epoch, then those of the best checkpoint with the settings of the evaluation, made where missing."""
    found = []
    for file in sorted(run.run.samples.glob("epoch-*.png")):
        if parts := re.fullmatch(r"epoch-(\d+)-(unconditional|conditional)", file.stem):
            caption = f"{parts[2]} samples after epoch {int(parts[1])}"
            found.append(picture_of(file, caption, pixels=parts[2] == "unconditional"))
    for name, caption, conditional in (
        ("samples.png", "64 unconditional samples of the best checkpoint", False),
        ("reconstructions.png", "reconstructions of test images by the best checkpoint", True),
    ):
        file = run.pictures / name
        if not file.is_file():
            sample(run.choice, None, file, conditional, None, quiet, Processes(processes.device))
        found.append(picture_of(file, caption, pixels=not conditional))
    return found


def _shared(runs: Sequence[Compared]) -> list[tuple[str, list[Picture]]]:
    differing = differences("loss", [run.evaluation["settings"] for run in runs])
    beware = f"; the runs differ in {', '.join(differing)}: their losses cannot be compared" if differing else ""
    losses = picture_of(
        loss_figure({run.name: history(run.run) for run in runs}), "training and validation loss by epoch" + beware
    )
    by_t = {run.name: run.evaluation["loss_by_t"] for run in runs if run.evaluation.get("loss_by_t")}
    curves = [losses, picture_of(loss_by_t_figure(by_t), "test loss by t/T, in tenths" + beware)] if by_t else [losses]
    tables = {run.name: schedule_table(build_degradation(run.preset, image_shape_of(run.preset))) for run in runs}
    schedules = [picture_of(schedule_figure(group), "schedules over t/T") for group in comparable(tables)]
    return [("Loss", curves), ("Schedules", schedules)]
