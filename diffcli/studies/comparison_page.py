"""A comparison as a page: HTML with pictures, Markdown or JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diffcli.checkpoints.diffusers_folder import UNKNOWN_IMAGES
from diffcli.checkpoints.runs import Run
from diffcli.config.build import build_degradation
from diffcli.config.presets import to_yaml
from diffcli.evaluation.metrics import from_zT
from diffcli.evaluation.protocol import pick_subject
from diffcli.inference.loading import model_on_devices
from diffcli.inference.options import N_PER_LABEL, N_SAMPLES, SampleOptions
from diffcli.inference.save_samples import write_samples
from diffcli.studies.best_values import differences, start_of_reconstructions
from diffcli.studies.comparison import ComparedRun, Comparison
from diffcli.studies.comparison_view import Page, Picture, RunView, html_page, markdown_page, picture_of
from diffcli.studies.plots import groups_by_column, loss_by_t_figure, loss_figure, schedule_figure, schedule_table
from diffcli.studies.report import report, reported_scores
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
    views = [_view(run, _pictures_by_epoch(run.run) if with_pictures else []) for run in comparison.runs]
    page = Page(title, views, comparison.best, comparison.remarks, comparison.claims, report().source)
    if not with_pictures:
        return markdown_page(page)
    samples, shared = _final_pictures(comparison.runs, processes), _shared_figures(comparison.runs)
    return html_page(replace(page, samples=samples, shared=shared))


def _view(run: ComparedRun, pictures: list[Picture]) -> RunView:
    settings = run.evaluation["settings"]
    extractors = " and ".join(extractor["name"] for extractor in settings["extractors"]) or "none"
    report = reported_scores(run.preset_name)
    return RunView(
        name=run.name,
        note=f"n_test {settings['n_test']}, n_fid {settings['n_fid']}",
        description=f"{run.preset.description}. Features by {extractors}. {run.run.folder}",
        preset=to_yaml(run.preset),
        scores=run.evaluation["scores"],
        reported=dict(from_zT(report.scores, settings)) if report else {},
        by_prior=run.evaluation["by_prior"],
        pictures=pictures,
        facts=facts_of(run),
    )


def facts_of(run: ComparedRun) -> dict[str, str]:
    """Facts about a model, by their names: its kind, its origin, its training and its cost."""
    preset, settings, sampler = run.preset, run.evaluation["settings"], run.evaluation["settings"]["sampler"]
    path = preset.data.parameters.get("path")
    images = run.training.get("training_images")
    data = " ".join(map(str, filter(None, [preset.data.name, path])))
    data += f", {images:,} images" if isinstance(images, int) else ""
    guided = [f"{name} {sampler[name]:g}" for name in ("guidance", "autoguidance") if sampler.get(name, 1) != 1]
    seconds = settings.get("sample_seconds")
    return {
        "what it is": preset.description or "-",
        "from": run.origin,
        "trained on": "not known" if path == UNKNOWN_IMAGES else data,
        "training": _training_of(run),
        "network": f"{preset.network.name}, {run.parameters:,} parameters",
        "degradation": f"{preset.degradation.name}, T {build_degradation(preset).T}, from prior {settings['prior']}",
        "sampler": ", ".join([f"{sampler['name']}, {sampler['steps']} steps", *guided]),
        "evaluations of the network for a sample": f"{settings['evaluations']:,}",
        "seconds for a sample": "not measured" if seconds is None else f"{seconds:g} ({settings['device']})",
    }


def _training_of(run: ComparedRun) -> str:
    """A line on how long a model was trained, as far as that is known."""
    history = run.run.history()
    steps, seconds = run.training.get("steps"), run.training.get("seconds")
    if history:
        steps, seconds = history[-1].get("step"), sum(float(row.get("seconds") or 0) for row in history)
    elif not run.training or "imported_from" in run.training:
        return "not known"
    epochs = len(history) or run.evaluation["settings"]["epoch"]
    parts = [
        f"{epochs:,} epochs",
        f"{int(float(steps)):,} steps" if steps else "",
        f"{seconds / 60:.1f} minutes" if seconds else "",
    ]
    return ", ".join(filter(None, parts))


def _pictures_by_epoch(run: Run) -> list[Picture]:
    """Samples along a run's training."""
    return [
        picture_of(file, f"{kind} samples after epoch {epoch}", pixels=kind == SAMPLES)
        for (epoch, kind), file in sorted(epoch_pictures(run).items())
    ]


def _final_pictures(runs: Sequence[ComparedRun], processes: Processes) -> list[tuple[str, list[Picture]]]:
    """Samples and reconstructions of all the runs side by side, made where missing.

    Where all know the same few labels, there is a row for each: image i of every model is drawn with the same label and
    from the same random numbers.
    """
    labels = _common_labels(runs)
    headings = {SAMPLES: "Samples", RECONSTRUCTIONS: "Reconstructions of test images from what is left of them at T"}
    return [
        (
            heading,
            [
                replace(picture, caption=f"{run.name}: {picture.caption}")
                for run in runs
                for picture in [final_picture(run, kind, processes, labels=labels)]
            ],
        )
        for kind, heading in headings.items()
    ]


def _common_labels(runs: Sequence[ComparedRun]) -> Sequence[str]:
    """The labels that all the runs know, where these are few; none where some know others."""
    first = runs[0].classes
    is_common = all(run.classes == first and run.options.label is None for run in runs)
    return first if is_common and 2 <= len(first) <= MOST_ROWS else ()


RECONSTRUCTIONS, SAMPLES = "conditional", "unconditional"
FINAL = {
    SAMPLES: ("samples.png", f"{N_SAMPLES} unconditional samples of the best checkpoint"),
    RECONSTRUCTIONS: ("reconstructions.png", "reconstructions of test images by the best checkpoint"),
}
"""Pictures of a run's best checkpoint: its file and caption."""
MOST_ROWS = 12
"""Labels of which each has a row."""


def epoch_pictures(run: Run) -> dict[tuple[int, str], Path]:
    """The files of a run's pictures along its training, by epoch and kind."""
    by_epoch = {}
    for file in run.samples.glob("epoch-*.png"):
        if parts := re.fullmatch(rf"epoch-(\d+)-({SAMPLES}|{RECONSTRUCTIONS})", file.stem):
            by_epoch[int(parts[1]), parts[2]] = file
    return by_epoch


def final_picture(run: ComparedRun, kind: str, processes: Processes, *, labels: Sequence[str] = ()) -> Picture:
    """Samples or reconstructions of the best checkpoint with the settings of the evaluation, made where missing.

    Args:
        labels: of which samples have a row each; none is those of the evaluation.
    """
    name, caption = FINAL[kind]
    by_label = bool(labels) and kind == SAMPLES
    if by_label:
        name, caption = "samples-by-label.png", f"{N_PER_LABEL} samples of each label, seed {run.options.seed}"
    file = run.pictures / name
    if not file.is_file():
        options = run.options
        model = model_on_devices(pick_subject(options).model, options.devices, Processes(processes.device))
        options_of_picture = SampleOptions(
            out=file,
            conditional=kind == RECONSTRUCTIONS,
            prior=options.priors[0] if options.priors and kind == SAMPLES else None,
            label=labels if by_label else options.label,
            row_labels=by_label,
            seed=options.seed,
            steps=options.steps,
            batch_size=250,
            data_dir=options.data_dir,
            quiet=options.quiet,
        )
        write_samples(model, options_of_picture)
    start = start_of_reconstructions(run.evaluation["settings"])
    if kind == RECONSTRUCTIONS and start != "z_T":
        caption += f"; the scores are of those from {start}"
    return picture_of(file, caption, pixels=kind == SAMPLES)


def _shared_figures(runs: Sequence[ComparedRun]) -> list[tuple[str, list[Picture]]]:
    setting_names = differences("loss", [run.evaluation["settings"] for run in runs])
    warning = (
        f"; the runs differ in {', '.join(setting_names)}: their losses cannot be compared" if setting_names else ""
    )
    curves = []
    if histories := {run.name: history for run in runs if (history := run.run.history())}:
        curves.append(picture_of(loss_figure(histories), "training and validation loss by epoch" + warning))
    if by_t := {run.name: run.evaluation["loss_by_t"] for run in runs if run.evaluation.get("loss_by_t")}:
        curves.append(picture_of(loss_by_t_figure(by_t), "test loss by t/T, in tenths" + warning))
    tables = {run.name: schedule_table(build_degradation(run.preset)) for run in runs}
    schedules = [picture_of(schedule_figure(group), "schedules over t/T") for group in groups_by_column(tables)]
    return [*([("Loss", curves)] if curves else []), ("Schedules", schedules)]
