"""``diffcli compare``: runs side by side, with the report's own numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffcli.assembly import build_degradation, candidate_priors, image_shape_of
from diffcli.commands.evaluate import METRICS, evaluate
from diffcli.commands.listing import history
from diffcli.commands.models import Choice
from diffcli.commands.sample import check_output, sample
from diffcli.config import Preset, to_yaml
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.errors import UserError
from diffcli.reporting.claims import Claim, check
from diffcli.reporting.figures import comparable, loss_by_t_figure, loss_figure, schedule_figure, schedule_table
from diffcli.reporting.page import Picture, RunView, html_page, markdown_page, picture_of, reported_values
from diffcli.runs import Run, best_checkpoint, find_run, run_preset, written_whole

SUFFIXES = (".html", ".md", ".json")


@dataclass(frozen=True)
class Settings:
    """What every compared run is evaluated with; None is the preset's own."""

    n_test: int | None = None
    n_fid: int = 1000
    steps: int | None = None
    extractor: str = "auto"
    inception_weights: Path | None = None
    data_dir: Path = Path("data")
    accelerator: str = "auto"


@dataclass(frozen=True)
class Compared:
    """A run, its preset and what ``eval.json`` holds of it."""

    name: str
    run: Run
    preset: Preset
    evaluation: dict[str, Any]
    alpha_T: float | None

    def as_dict(self) -> dict[str, Any]:
        """What ``--out FILE.json`` holds of the run."""
        return {"name": self.name, "run": str(self.run.folder), "history": history(self.run), **self.evaluation}


@dataclass(frozen=True)
class Comparison:
    """The compared runs, the report's claims against them, and the file written, if any."""

    runs: list[Compared]
    claims: list[Claim]
    file: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """What ``--out FILE.json`` holds."""
        claims = [{"text": claim.text, "verdict": claim.verdict, "evidence": claim.evidence} for claim in self.claims]
        return {"runs": [run.as_dict() for run in self.runs], "claims": claims}


def compare(names: Sequence[str], out: Path | None, settings: Settings, quiet: bool) -> Comparison:
    """Evaluates what has no fitting ``eval.json`` yet, and lays the runs side by side.

    Args:
        names: run folders, or preset names for their newest runs.
        out: .html (a self-contained page), .md or .json.

    Raises:
        UserError: a run is not there or given twice, or ``out`` cannot be written.
    """
    if out is not None:
        check_output(out, SUFFIXES, "--out")
    runs = [find_run(name) for name in names]
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UserError("a run is named twice; name each once")
    for run in runs:
        best_checkpoint(run)
    labels = [run.info().get("preset", run.folder.name) for run in runs]
    unique = [
        label if labels.count(label) == 1 else f"{label} ({run.folder.name})"
        for label, run in zip(labels, runs, strict=True)
    ]
    compared = [_compared(name, run, settings, quiet) for name, run in zip(unique, runs, strict=True)]
    claims = check({run.run.info().get("preset", run.name): _result(run) for run in compared})
    comparison = Comparison(compared, claims, out)
    if out is not None:
        with written_whole(out) as part:
            part.write_text(_render(comparison, out.suffix.lower(), settings, quiet), encoding="utf-8")
    return comparison


def _result(run: Compared) -> dict[str, Any]:
    return run.evaluation if run.alpha_T is None else {**run.evaluation, "alpha_T": run.alpha_T}


def _compared(name: str, run: Run, settings: Settings, quiet: bool) -> Compared:
    preset = run_preset(run)
    degradation = build_degradation(preset, image_shape_of(preset))
    candidates = candidate_priors(preset)
    priors = [preset.prior.name, *candidates] if candidates[preset.prior.name].needs_fit else []
    if not _fits(run, settings, priors):
        choice = Choice(
            run=str(run.folder),
            steps=settings.steps,
            batch_size=250,
            accelerator=settings.accelerator,
            data_dir=settings.data_dir,
        )
        evaluate(
            choice,
            [],
            settings.n_test,
            settings.n_fid,
            settings.extractor,
            settings.inception_weights,
            priors,
            quiet,
        )
    alpha_T = float(degradation.alphas_cumprod[-1]) if isinstance(degradation, GaussianNoise) else None
    return Compared(name, run, preset, run.scores(), alpha_T)


def _fits(run: Run, wanted: Settings, priors: Sequence[str]) -> bool:
    """Whether the run's ``eval.json`` holds every metric with the settings wanted, of the checkpoint as it is now."""
    evaluation = run.scores()
    held, scores = evaluation.get("settings", {}), evaluation.get("scores", {})
    if not held or best_checkpoint(run).stat().st_mtime > run.eval_file.stat().st_mtime:
        return False
    extractor = (held.get("extractor") or {}).get("name")
    if not all(isinstance(value, int | float) for value in scores.values()):
        return False  # somebody else's file
    complete = all(any(key.startswith(metric) for key in scores) for metric in METRICS) or bool(evaluation["notes"])
    return (
        complete
        and set(priors) <= set(evaluation.get("by_prior", {}))
        and (wanted.n_test is None or held["n_test"] == wanted.n_test)
        and held["n_fid"] == wanted.n_fid
        and (wanted.steps is None or held["sampler"]["steps"] == wanted.steps)
        and wanted.extractor in ("auto", extractor)
    )


def _render(comparison: Comparison, suffix: str, settings: Settings, quiet: bool) -> str:
    if suffix == ".json":
        return json.dumps(comparison.as_dict(), indent=2) + "\n"
    title = (
        " and ".join(run.name for run in comparison.runs) if len(comparison.runs) < 3 else "diffusion models compared"
    )
    with_pictures = suffix == ".html"
    views = [_view(run, settings, quiet, with_pictures) for run in comparison.runs]
    if not with_pictures:
        return markdown_page(title, views, comparison.claims)
    return html_page(title, views, _shared(comparison.runs), comparison.claims)


def _view(run: Compared, settings: Settings, quiet: bool, with_pictures: bool) -> RunView:
    held = run.evaluation["settings"]
    extractor = (held["extractor"] or {}).get("name", "none")
    epochs = history(run.run)
    info = run.run.info()
    reported = reported_values().get(info.get("preset", ""), {})
    return RunView(
        name=run.name,
        note=f"epoch {held['epoch']} of {len(epochs)}, n_test {held['n_test']}, n_fid {held['n_fid']}",
        about=(
            f"{run.preset.description}. {info.get('parameters', 0):,} parameters, {len(epochs)} epochs done, "
            f"{held['sampler']['name']} sampler with {held['sampler']['steps']} steps, prior {held['prior']}, "
            f"features by {extractor}. {run.run.folder}"
        ),
        preset=to_yaml(run.preset),
        scores=run.evaluation["scores"],
        reported=reported.get("scores", {}),
        by_prior=run.evaluation["by_prior"],
        pictures=_pictures(run, settings, quiet) if with_pictures else [],
    )


def _pictures(run: Compared, settings: Settings, quiet: bool) -> list[Picture]:
    """Samples by epoch, then those of the best checkpoint (made here where they are not at hand)."""
    folder = run.run.samples
    found = []
    for file in sorted(folder.glob("epoch-*.png")):
        _, epoch, kind = file.stem.split("-")
        found.append(picture_of(file, f"{kind} samples after epoch {int(epoch)}", pixels=kind == "unconditional"))
    checkpoint = best_checkpoint(run.run)
    choice = Choice(run=str(run.run.folder), steps=settings.steps, data_dir=settings.data_dir)
    choice = replace(choice, accelerator=settings.accelerator)
    for name, caption, conditional in (
        ("final-grid.png", "64 unconditional samples of the best checkpoint", False),
        ("final-conditional.png", "reconstructions of test images by the best checkpoint", True),
    ):
        file = folder / name
        if not file.is_file() or file.stat().st_mtime < checkpoint.stat().st_mtime:
            folder.mkdir(parents=True, exist_ok=True)
            sample(choice, None, file, conditional, None, quiet)
        found.append(picture_of(file, caption, pixels=not conditional))
    return found


def _shared(runs: Sequence[Compared]) -> list[tuple[str, list[Picture]]]:
    losses = picture_of(
        loss_figure({run.name: history(run.run) for run in runs}), "training and validation loss by epoch"
    )
    by_t = {run.name: run.evaluation["loss_by_t"] for run in runs if run.evaluation.get("loss_by_t")}
    curves = [losses, picture_of(loss_by_t_figure(by_t), "test loss by t/T, in tenths")] if by_t else [losses]
    tables = {run.name: schedule_table(build_degradation(run.preset, image_shape_of(run.preset))) for run in runs}
    schedules = [picture_of(schedule_figure(group), "schedules over t/T") for group in comparable(tables)]
    return [("Loss", curves), ("Schedules", schedules)]
