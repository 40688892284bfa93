"""A comparison as a page: HTML with pictures, Markdown or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from diffcli.assembly import build_degradation, image_shape_of
from diffcli.devices import Processes
from diffcli.experiments.comparison import Compared, Comparison
from diffcli.experiments.listing import history
from diffcli.experiments.protocol import pick_subject
from diffcli.experiments.sample import SampleOptions, write_samples
from diffcli.loading import started
from diffcli.presets import to_yaml
from diffcli.report.values import REPORT, reported_values
from diffcli.reporting.comparable import differences
from diffcli.reporting.figures import comparable, loss_by_t_figure, loss_figure, schedule_figure, schedule_table
from diffcli.reporting.page import Page, Picture, RunView, html_page, markdown_page, picture_of


def render(comparison: Comparison, suffix: str, processes: Processes) -> str:
    """What a file of the comparison holds; the pictures of a page are drawn where they are missing.

    Args:
        suffix: .html, .md or .json.
    """
    if suffix == ".json":
        return json.dumps(comparison.as_dict(), indent=2) + "\n"
    title = (
        " and ".join(run.name for run in comparison.runs) if len(comparison.runs) < 3 else "diffusion models compared"
    )
    with_pictures = suffix == ".html"
    views = [_view(run, _pictures(run, processes) if with_pictures else []) for run in comparison.runs]
    page = Page(title, views, comparison.best, comparison.remarks, comparison.claims, REPORT)
    if not with_pictures:
        return markdown_page(page)
    return html_page(replace(page, shared=_shared(comparison.runs)))


def _view(run: Compared, pictures: list[Picture]) -> RunView:
    settings = run.evaluation["settings"]
    extractor = (settings["extractor"] or {}).get("name", "none")
    epochs = len(history(run.run)) or settings["epoch"]  # a model file tells of no epochs after its own
    reported = reported_values().get(run.preset_name, {})
    sampler = f"{settings['sampler']['name']} sampler with {settings['sampler']['steps']} steps"
    return RunView(
        name=run.name,
        note=f"epoch {settings['epoch']} of {epochs}, {sampler}, n_test {settings['n_test']}, n_fid {settings['n_fid']}",
        about=(
            f"{run.preset.description}. {run.parameters:,} parameters, {epochs} epochs done, "
            f"{sampler}, prior {settings['prior']}, features by {extractor}. {run.run.folder}"
        ),
        preset=to_yaml(run.preset),
        scores=run.evaluation["scores"],
        reported=reported.get("scores", {}),
        by_prior=run.evaluation["by_prior"],
        pictures=pictures,
    )


def _pictures(run: Compared, processes: Processes) -> list[Picture]:
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
            options = run.options
            model = started(pick_subject(options).model, options.devices, Processes(processes.device))
            what = SampleOptions(
                out=file,
                conditional=conditional,
                steps=options.steps,
                batch_size=250,
                data_dir=options.data_dir,
                quiet=options.quiet,
            )
            write_samples(model, what)
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
