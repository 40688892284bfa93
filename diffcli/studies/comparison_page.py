"""A comparison as a page: HTML with pictures, Markdown or JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diffcli.checkpoints.runs import Run
from diffcli.config.build import build_degradation
from diffcli.config.presets import to_yaml
from diffcli.evaluation.metrics import from_zT
from diffcli.evaluation.protocol import pick_subject
from diffcli.inference.loading import started
from diffcli.inference.options import N_SAMPLES, SampleOptions
from diffcli.inference.save_samples import write_samples
from diffcli.studies.best_values import differences, start_of_reconstructions
from diffcli.studies.comparison import Compared, Comparison
from diffcli.studies.comparison_view import Page, Picture, RunView, html_page, markdown_page, picture_of
from diffcli.studies.plots import comparable, loss_by_t_figure, loss_figure, schedule_figure, schedule_table
from diffcli.studies.report import report, reported
from diffcli.utils.devices import Processes
from diffcli.utils.files import json_text


def render(comparison: Comparison, suffix: str, processes: Processes) -> str:
    """The content of a file of the comparison; the pictures of a page are drawn where they are missing.

    Args:
        suffix: .html, .md or .json.
    """
    if suffix == ".json":
        return json_text(comparison.as_dict()) + "\n"
    title = (
        " and ".join(run.name for run in comparison.runs) if len(comparison.runs) < 3 else "diffusion models compared"
    )
    with_pictures = suffix == ".html"
    views = [_view(run, _pictures(run, processes) if with_pictures else []) for run in comparison.runs]
    page = Page(title, views, comparison.best, comparison.remarks, comparison.claims, report().source)
    if not with_pictures:
        return markdown_page(page)
    return html_page(replace(page, shared=_shared_pictures(comparison.runs)))


def _view(run: Compared, pictures: list[Picture]) -> RunView:
    settings = run.evaluation["settings"]
    extractors = " and ".join(extractor["name"] for extractor in settings["extractors"]) or "none"
    epochs = len(run.run.history()) or settings["epoch"]  # a model file tells of no epochs after its own
    published = reported(run.preset_name)
    sampler = f"{settings['sampler']['name']} sampler with {settings['sampler']['steps']} steps"
    return RunView(
        name=run.name,
        note=f"epoch {settings['epoch']} of {epochs}, {sampler}, n_test {settings['n_test']}, n_fid "
        f"{settings['n_fid']}",
        about=(
            f"{run.preset.description}. {run.parameters:,} parameters, {epochs} epochs done, "
            f"{sampler}, prior {settings['prior']}, features by {extractors}. {run.run.folder}"
        ),
        preset=to_yaml(run.preset),
        scores=run.evaluation["scores"],
        reported=dict(from_zT(published.scores, settings)) if published else {},
        by_prior=run.evaluation["by_prior"],
        pictures=pictures,
    )


def _pictures(run: Compared, processes: Processes) -> list[Picture]:
    """Samples by epoch, then those of the best checkpoint with the settings of the evaluation, made where missing."""
    pictures = []
    for epoch, kind in sorted(epoch_pictures(run.run)):
        file = epoch_pictures(run.run)[epoch, kind]
        pictures.append(picture_of(file, f"{kind} samples after epoch {epoch}", pixels=kind == SAMPLES))
    return [*pictures, *(final_picture(run, kind, processes) for kind in FINAL)]


RECONSTRUCTIONS, SAMPLES = "conditional", "unconditional"
FINAL = {
    SAMPLES: ("samples.png", f"{N_SAMPLES} unconditional samples of the best checkpoint"),
    RECONSTRUCTIONS: ("reconstructions.png", "reconstructions of test images by the best checkpoint"),
}
"""Pictures of a run's best checkpoint: its file and caption."""


def epoch_pictures(run: Run) -> dict[tuple[int, str], Path]:
    """The files of a run's pictures along its training, by epoch and kind."""
    by_epoch = {}
    for file in run.samples.glob("epoch-*.png"):
        if parts := re.fullmatch(rf"epoch-(\d+)-({SAMPLES}|{RECONSTRUCTIONS})", file.stem):
            by_epoch[int(parts[1]), parts[2]] = file
    return by_epoch


def final_picture(run: Compared, kind: str, processes: Processes) -> Picture:
    """Samples or reconstructions of the best checkpoint with the settings of the evaluation, made where missing."""
    name, caption = FINAL[kind]
    file = run.pictures / name
    if not file.is_file():
        options = run.options
        model = started(pick_subject(options).model, options.devices, Processes(processes.device))
        what = SampleOptions(
            out=file,
            conditional=kind == RECONSTRUCTIONS,
            prior=options.priors[0] if options.priors and kind == SAMPLES else None,
            label=options.label,
            seed=options.seed,
            steps=options.steps,
            batch_size=250,
            data_dir=options.data_dir,
            quiet=options.quiet,
        )
        write_samples(model, what)
    start = start_of_reconstructions(run.evaluation["settings"])
    if kind == RECONSTRUCTIONS and start != "z_T":
        caption += f"; the scores are of those from {start}"
    return picture_of(file, caption, pixels=kind == SAMPLES)


def _shared_pictures(runs: Sequence[Compared]) -> list[tuple[str, list[Picture]]]:
    differing = differences("loss", [run.evaluation["settings"] for run in runs])
    beware = f"; the runs differ in {', '.join(differing)}: their losses cannot be compared" if differing else ""
    losses = picture_of(
        loss_figure({run.name: run.run.history() for run in runs}), "training and validation loss by epoch" + beware
    )
    by_t = {run.name: run.evaluation["loss_by_t"] for run in runs if run.evaluation.get("loss_by_t")}
    curves = [losses, picture_of(loss_by_t_figure(by_t), "test loss by t/T, in tenths" + beware)] if by_t else [losses]
    tables = {run.name: schedule_table(build_degradation(run.preset)) for run in runs}
    schedules = [picture_of(schedule_figure(group), "schedules over t/T") for group in comparable(tables)]
    return [("Loss", curves), ("Schedules", schedules)]
