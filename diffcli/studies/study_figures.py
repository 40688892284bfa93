"""The figures of a study's page: curves, strips, and pictures of runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from diffcli.checkpoints.images import with_images
from diffcli.config.build import build_degradation, load_source
from diffcli.data.pixels import to_model
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.evaluation.intervals import Interval, of_score
from diffcli.studies.best_values import differences
from diffcli.studies.comparison import ComparedRun
from diffcli.studies.comparison_page import RECONSTRUCTIONS, SAMPLES, epoch_pictures, final_picture
from diffcli.studies.comparison_view import Picture, picture_of
from diffcli.studies.plots import (
    bits_figure,
    groups_by_column,
    loss_by_t_figure,
    loss_figure,
    schedule_figure,
    schedule_table,
)
from diffcli.studies.study_result import MemberResult, StudyResult
from diffcli.studies.study_schema import StudyFigure
from diffcli.studies.study_view import FigureView
from diffcli.utils.devices import Processes

DEFAULT = (
    StudyFigure(title="What the degradations do", show="degradations"),
    StudyFigure(title="Losses", show="loss"),
    StudyFigure(title="Samples", show="samples"),
    StudyFigure(title="Reconstructions of test images", show="reconstructions"),
)
BY_EPOCH = {"samples-by-epoch": SAMPLES, "reconstructions-by-epoch": RECONSTRUCTIONS}
FINAL = {"samples": SAMPLES, "reconstructions": RECONSTRUCTIONS}


def figures(result: StudyResult, processes: Processes) -> list[FigureView]:
    """The figures of a study: of each model its first run."""
    choice = DEFAULT if result.study.figures is None else result.study.figures
    first = {label: replace(runs[0].best, name=runs[0].member.name) for label, runs in result.by_label.items()}
    views = []
    for figure in choice:
        labels = figure.models or list(result.study.models)
        if figure.show == "bits":
            views.append(_bits(figure, {label: result.by_label[label][0] for label in labels if label in first}))
            continue
        runs = [first[label] for label in labels if label in first]
        gaps = [f"{label} was not trained on this budget" for label in labels if label not in first]
        view = _figure(figure, runs, processes) if runs else FigureView(figure.title, [], figure.about)
        views.append(replace(view, gaps=[*gaps, *view.gaps]))
    return views


def _figure(figure: StudyFigure, runs: Sequence[ComparedRun], processes: Processes) -> FigureView:
    if figure.show in BY_EPOCH:
        return _by_epoch(figure, runs, BY_EPOCH[figure.show], processes)
    if figure.show in FINAL:
        pictures = [_final(run, FINAL[figure.show], processes) for run in runs]
        return FigureView(figure.title, [("", pictures)], figure.about)
    if figure.show == "loss":
        pictures = [_loss(run) for run in runs if run.run.history()]
    elif figure.show == "loss-by-t":
        pictures = [_loss_by_t(runs)]
    elif figure.show == "schedules":
        tables = {run.name: schedule_table(build_degradation(run.preset)) for run in runs}
        pictures = [picture_of(schedule_figure(group), "schedules over t/T") for group in groups_by_column(tables)]
    else:
        pictures = [_strips(runs)]
    return FigureView(figure.title, [("", pictures)], figure.about)


def _final(run: ComparedRun, kind: str, processes: Processes) -> Picture:
    """The picture of a run's best weights, which its caption names."""
    picture, settings = final_picture(run, kind, processes), run.evaluation["settings"]
    steps, prior = settings["sampler"]["steps"], settings["prior"]
    return replace(
        picture, caption=f"{run.name}: {picture.caption}, epoch {settings['epoch']}, {steps} steps, prior {prior}"
    )


def _by_epoch(figure: StudyFigure, runs: Sequence[ComparedRun], kind: str, processes: Processes) -> FigureView:
    """A row for each of the figure's epochs that were reached, and for the last one; in it a picture of each run that
    has one. Runs whose pictures end before the figure does have one of their best weights, where those are later."""
    pictures_by_run = {run.name: epoch_pictures(run.run) for run in runs}
    all_epochs = sorted(
        {epoch for pictures in pictures_by_run.values() for epoch, of_kind in pictures if of_kind == kind}
    )
    # A short budget has epochs of its own.
    figure_epochs = [epoch for epoch in figure.epochs if epoch in all_epochs]
    epochs = sorted({*figure_epochs, *all_epochs[-1:]}) if figure_epochs else all_epochs
    rows = []
    for epoch in epochs:
        of_epoch = {
            name: pictures[epoch, kind] for name, pictures in pictures_by_run.items() if (epoch, kind) in pictures
        }
        captions = {name: f"{name}, {kind} samples after epoch {epoch}" for name in of_epoch}
        pictures = [picture_of(file, captions[name], kind == SAMPLES) for name, file in of_epoch.items()]
        rows.append((f"Epoch {epoch}", pictures))
    lasts = {
        name: max((epoch for epoch in epochs if (epoch, kind) in pictures), default=0)
        for name, pictures in pictures_by_run.items()
    }
    end = max(figure.epochs, default=0)
    if later := [run for run in runs if lasts[run.name] < min(end, run.evaluation["settings"]["epoch"])]:
        rows.append(("Best weights", [_final(run, kind, processes) for run in later]))
    gaps = [
        f"{name} at epoch {epoch}"
        for epoch in figure.epochs
        for name in pictures_by_run
        if (epoch, kind) not in pictures_by_run[name]
    ]
    return FigureView(figure.title, rows, figure.about, gaps)


def _loss(run: ComparedRun) -> Picture:
    rows = run.run.history()
    epochs = {int(row["epoch"]) for row in rows}
    marks = [epoch for epoch in run.preset.training.sample_epochs if epoch in epochs]
    rings = f"; ringed: epochs {', '.join(map(str, marks))}" if marks else ""
    return picture_of(loss_figure({run.name: rows}, marks), f"{run.name}: loss by epoch{rings}")


def _loss_by_t(runs: Sequence[ComparedRun]) -> Picture:
    setting_names = differences("loss", [run.evaluation["settings"] for run in runs])
    warning = (
        f"; the models differ in {', '.join(setting_names)}: their losses cannot be compared" if setting_names else ""
    )
    losses = {run.name: run.evaluation["loss_by_t"] for run in runs if run.evaluation["loss_by_t"]}
    return picture_of(loss_by_t_figure(losses), "test loss by t/T, in tenths" + warning)


def _bits(figure: StudyFigure, runs: Mapping[str, MemberResult]) -> FigureView:
    """Classes kept by the bits of z_t, or where those were not read the error, of the runs that were measured so."""
    key = (
        "class_kept"
        if any(
            "class_kept" in evaluated_run.evaluation["scores"]
            for run in runs.values()
            for evaluated_run in run.by_start
        )
        else "rmse"
    )
    curves = {label: lines for label, run in runs.items() if (lines := lines_by_bits(run, key))}
    gaps = [f"{label}, not measured by bits of z_t" for label in figure.models if label not in curves]
    if not curves:
        return FigureView(figure.title, [], figure.about, gaps)
    caption = f"{key} of reconstructions by the bits of each pixel of the z_t that they start from, 95 % intervals"
    return FigureView(figure.title, [("", [picture_of(bits_figure(curves, key), caption)])], figure.about, gaps)


def lines_by_bits(run: MemberResult, key: str) -> dict[str, list[tuple[str, Interval]]]:
    """By t in words, a score for each number of bits, of reconstructions that differ in nothing else."""
    lines: dict[tuple[int, int], list[tuple[str, Interval]]] = {}
    for evaluation in (one.evaluation for one in run.by_start):
        settings = evaluation["settings"]
        start = settings["reconstruction"]
        if not start["noise"] and key in evaluation["scores"]:
            points = lines.setdefault((start["t"] or run.best.T, settings["sampler"]["steps"]), [])
            points.append((f"{start['bits'] or 'float32'}", of_score(key, evaluation["scores"], settings)))
    # Of one t, reconstructions in another number of steps may stand beside those by bits: no line of this figure,
    # unless they are by as many.
    longest = {t: max(len(points) for (other, _), points in lines.items() if other == t) for t, _ in lines}
    curves = {key: points for key, points in lines.items() if len(points) == longest[key[0]]}
    ambiguous_ts = {t for t, _ in curves if sum(other == t for other, _ in curves) > 1}
    return {
        f"$t = {t}$" + (f", {steps} steps from T" if t in ambiguous_ts else ""): points
        for (t, steps), points in curves.items()
    }


def _strips(runs: Sequence[ComparedRun]) -> Picture:
    from diffcli.inference.figures import COLUMNS, strip, strips_figure

    rows = {}
    for run in runs:
        source = load_source(with_images(run.preset, run.run), run.options.data_dir)
        x0 = to_model(source.test.images[:1])[0]
        noise = torch.randn(COLUMNS, *x0.shape, generator=generator_for(0, Stream.TEST))
        rows[run.name] = strip(build_degradation(run.preset), x0, noise)
    return picture_of(strips_figure(rows), "the first test image at nine t from 0 to T")
