"""A study's results as a page: HTML with pictures, Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from diffcli.checkpoints.records import story
from diffcli.config.presets import load_preset, to_yaml
from diffcli.evaluation.intervals import of_score, standard_deviation
from diffcli.evaluation.metrics import COMPANIONS
from diffcli.studies.best_values import best_of, note_of_floor, remarks, start_of_reconstructions
from diffcli.studies.comparison import ComparedRun
from diffcli.studies.comparison_view import columns
from diffcli.studies.study_figures import figures
from diffcli.studies.study_files import read_table
from diffcli.studies.study_result import MemberResult, StudyResult
from diffcli.studies.study_schema import StudyModel, StudySection
from diffcli.studies.study_view import Cell, ModelView, Section, StudyPage, Table, html_study, markdown_study
from diffcli.utils.devices import Processes
from diffcli.utils.files import write_json, written_whole
from diffcli.utils.numbers import error_of


def write_pages(result: StudyResult, page: Path, processes: Processes) -> list[Path]:
    """Writes the page, and beside it the same as Markdown and as JSON; returns the files.

    Args:
        page: .html.
    """
    view = study_page(result, page.name, processes)
    markdown, data = page.with_suffix(".md"), page.with_suffix(".json")
    for file, text in ((page, html_study(view)), (markdown, markdown_study(view))):
        with written_whole(file) as part:
            part.write_text(text, encoding="utf-8")
    write_json(data, result.as_dict())
    return [page, markdown, data]


def study_page(result: StudyResult, name: str, processes: Processes) -> StudyPage:
    """The content of a study's page; pictures that are missing are drawn.

    Args:
        name: of the page with pictures.
    """
    study = result.study
    scores, notes = score_table(result)
    return StudyPage(
        title=study.title,
        source=study.source,
        question=paragraphs(study.question),
        epochs=[_epochs(run, study.models[run.member.label]) for run in result.runs],
        claims=result.claims,
        scores=scores,
        answer=paragraphs(study.answer),
        remarks=notes,
        sections=[_section(section, result.file) for section in study.sections],
        figures=figures(result, processes),
        models=[_model(label, study.models[label], runs) for label, runs in result.by_label.items()],
        trainings=_trainings(result.runs),
        origins=_origins(result.runs),
        one_seed=all(len(runs) == 1 for runs in result.by_label.values()),
        pictures=name,
    )


def _section(section: StudySection, study_file: Path) -> Section:
    table_text, rows = read_table(study_file, section)
    cells = [[Cell(text) for text in row] for row in rows[1:]]
    return Section(
        section.title, [*paragraphs(section.text), *paragraphs(table_text)], Table(rows[0] if rows else [], cells)
    )


def _epochs(result: MemberResult, model: StudyModel) -> str:
    """The epochs that a run was trained, of how many, and the remark on it: ``blur 30 of 50 epochs``."""
    run, epochs = result.best.run, result.best.preset.training.epochs
    words = f"{result.member.name} {len(run.history())} of {epochs} epochs"
    limit = run.info().get("limit_batches")
    words += f" of {limit} batches each" if limit else ""
    _, preset = load_preset(model.preset, model.set)
    whole = f"{preset.training.epochs}" + (f", or {preset.training.max_time}" if preset.training.max_time else "")
    remarks = [f"its preset: {whole}"] if preset.training.epochs != epochs else []
    remarks += [" ".join(model.remark.split())] if model.remark.strip() else []
    return words + (f" ({', '.join(remarks)})" if remarks else "")


def score_table(result: StudyResult) -> tuple[Table, list[str]]:
    """The scores of a study's models, a row for each, and what is to be said of them."""
    means = mean_evaluations(result)
    keys = columns([evaluation["scores"] for evaluation in means.values()])
    return _scores(result, means, keys), remarks(means, keys) + _notes(result)


def paragraphs(text: str) -> list[str]:
    """Parts of a text between empty lines, each on one line."""
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def mean_evaluations(result: StudyResult) -> dict[str, dict[str, Any]]:
    """The means of the scores that a model's runs share, by label, with the settings of the first."""
    averages = {}
    for label, runs in result.by_label.items():
        scores = [run.best.evaluation["scores"] for run in runs]
        shared = [key for key in scores[0] if all(key in others for others in scores)]
        means = {key: math.fsum(values[key] for values in scores) / len(scores) for key in shared}
        averages[label] = {"scores": means, "settings": runs[0].best.evaluation["settings"]}
    return averages


def _notes(result: StudyResult) -> list[str]:
    notes = [f"{run.member.name}: {note}" for run in result.runs for note in run.best.notes]
    notes += [
        f"{run.member.name}, epoch {epoch}: {note}"
        for run in result.runs
        for epoch, weights_run in run.by_epoch.items()
        if (note := note_of_floor(weights_run.evaluation["settings"]))
    ]
    return list(dict.fromkeys(notes))


def _scores(result: StudyResult, means: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> Table:
    best = best_of(means, keys)
    rows = []
    for label, runs in result.by_label.items():
        settings, model = runs[0].best.evaluation["settings"], result.study.models[label]
        epochs = sorted({str(run.best.evaluation["settings"]["epoch"]) for run in runs}, key=int)
        details = [f"best checkpoint, epoch {', '.join(epochs)}", f"{settings['sampler']['steps']} steps"]
        details += [f"{len(runs)} seeds"] if len(runs) > 1 else []
        cells = [Cell(label, (", ".join(details),))]
        for key in keys:
            values = [run.best.evaluation["scores"][key] for run in runs if key in run.best.evaluation["scores"]]
            report = model.reported.scores if model.reported else {}
            report_line = [f"reported {report[key]:.4g}"] if key in report else []
            if len(values) < len(runs):
                cells.append(Cell("-", tuple(report_line)))
                continue
            spread = (
                f"± {standard_deviation(values):.2g}"
                if len(values) > 1
                else error_of(key, runs[0].best.evaluation["scores"])
            )
            below = (*filter(None, [spread]), *report_line)
            cells.append(Cell(f"{means[label]['scores'][key]:.4g}", below, label in best[key]))
        rows.append(cells)
    return Table(["model", *keys], rows)


def _model(label: str, model: StudyModel, runs: Sequence[MemberResult]) -> ModelView:
    first = runs[0].best
    tables = []
    for run in runs:
        seed = f", {run.member.name}" if len(runs) > 1 else ""
        by_epoch = {str(epoch): weights_run.evaluation["scores"] for epoch, weights_run in run.by_epoch.items()}
        if by_epoch:
            tables.append(_score_rows(by_epoch, "epoch", f"Weights kept along the training{seed}"))
        by_prior = run.best.evaluation["by_prior"]
        if len(by_prior) > 1:
            tables.append(_score_rows(by_prior, "prior", f"Samples by where they start{seed}"))
        tables += [_by_start(run.by_start, model, seed)] if run.by_start else []
    parameters = first.run.info().get("parameters", 0)
    settings = f", with {'; '.join(f'{key}: {_words(value)}' for key, value in model.set.items())}" if model.set else ""
    description = f"Preset {first.preset_name}{settings}. {first.preset.description}. {parameters:,} parameters."
    description += f" Told the label {_words(model.label)}." if model.label is not None else ""
    return ModelView(label, description, to_yaml(first.preset), tables)


def _words(value: Any) -> str:
    """A value of a preset as its file would write it."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n...\n").strip()


def _score_rows(scores: Mapping[str, Mapping[str, float]], head: str, title: str) -> Table:
    keys = columns(list(scores.values()))
    rows = [
        [
            Cell(name),
            *(Cell(f"{values[key]:.4g}", _lines_below(key, values)) if key in values else Cell("-") for key in keys),
        ]
        for name, values in scores.items()
    ]
    return Table([head, *keys], rows, title)


def _by_start(runs: Sequence[ComparedRun], model: StudyModel, seed: str) -> Table:
    """Reconstructions by the z_t that they start from, with 95 % intervals, and what is reported of the model."""
    keys = columns([run.evaluation["scores"] for run in runs])
    rows = []
    for run in runs:
        scores, settings = run.evaluation["scores"], run.evaluation["settings"]
        start = start_of_reconstructions(settings)
        intervals = (str(of_score(key, scores, settings)) if key in scores else "-" for key in keys)
        counts = (str(settings["n_test"]), f"{settings['sampler']['steps']}")
        rows.append([Cell(text) for text in (start, *intervals, *counts)])
    report = model.reported
    if report and set(keys) & set(report.scores):
        values = (f"{report.scores[key]:.4g}" if key in report.scores else "-" for key in keys)
        rows.append([Cell(text) for text in (f"reported ({report.where})", *values, "-", "-")])
    head = ["start", *keys, "test images", "steps from T"]
    return Table(head, rows, f"Reconstructions by the z_t that they start from, with 95 % intervals{seed}")


def _lines_below(key: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    kinds = ("floor", "test", "real")
    parts = [f"{COMPANIONS[name]} {scores[f'{key}_{name}']:.4g}" for name in kinds if f"{key}_{name}" in scores]
    return tuple(filter(None, [error_of(key, scores), *parts]))


def _short_path(folder: Path) -> str:
    """The last two parts of a run's folder."""
    return str(Path(*folder.resolve().parts[-2:]))


def _trainings(runs: Sequence[MemberResult]) -> Table:
    head = ["run", "folder", "epochs", "seed", "hours", "images/s", "lowest validation loss", "computed"]
    rows = []
    for result in runs:
        run, preset = result.best.run, result.best.preset
        info, epochs = run.info(), run.history()
        losses = {int(row["epoch"]): float(row["val_loss"]) for row in epochs if row.get("val_loss")}
        best_epoch = min(losses, key=losses.__getitem__) if losses else None
        speeds = [float(row["images_per_second"]) for row in epochs]
        limit = info.get("limit_batches")
        cells = [
            result.member.name,
            _short_path(run.folder),
            f"{len(epochs)} of {preset.training.epochs}" + (f", {limit} batches each" if limit else ""),
            str(preset.training.seed),
            f"{sum(float(row['seconds']) for row in epochs) / 3600:.2g}",
            f"{min(speeds):,.0f} to {max(speeds):,.0f}" if speeds else "-",
            f"{losses[best_epoch]:.4g}, epoch {best_epoch}" if best_epoch is not None else "-",
            "; ".join(story(info)),
        ]
        rows.append([Cell(cell) for cell in cells])
    return Table(head, rows)


def _origins(runs: Sequence[MemberResult]) -> Table:
    head = ["numbers of", "folder", "weights", "sampler", "prior", "n_test", "n_fid", "seed", "features", "computed"]
    evaluations: list[ComparedRun] = [one for run in runs for one in (run.best, *run.by_epoch.values(), *run.by_start)]
    return Table(head, [[Cell(text) for text in _origin(run)] for run in evaluations])


def _origin(run: ComparedRun) -> list[str]:
    settings = run.evaluation["settings"]
    features = "; ".join(
        f"{extractor['name']}, weights {extractor.get('weights') or extractor['weights_sha256'][:8]}"
        for extractor in settings["extractors"]
    )
    sampler = settings["sampler"]
    samples = str(settings["n_fid"] or "-")
    for name, purpose in (("n_manifold", "precision and recall"), ("n_cas", "accuracy score")):
        samples += f"; {settings[name]} for {purpose}" if settings.get(name) not in (None, settings["n_fid"]) else ""
    return [
        run.name,
        _short_path(run.run.folder),
        f"epoch {settings['epoch']}, sha256 {settings['checkpoint_sha256'][:8]}",
        f"{sampler['name']}, {sampler['steps']} steps",
        ", ".join(run.evaluation["by_prior"]) or "-",
        str(settings["n_test"]),
        samples,
        str(settings["seed"]),
        features or "none",
        f"{settings['device']}, {settings['precision']}, diffcli {settings['diffcli']}, {settings['date'][:10]}",
    ]
