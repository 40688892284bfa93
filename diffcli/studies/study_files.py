"""Studies as YAML files: found by name or path, read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from diffcli.config.presets import find_file, read_values
from diffcli.config.schema import explain
from diffcli.diffusion.priors import PRIORS
from diffcli.evaluation.metrics import METRICS
from diffcli.studies.checks import CHECKS
from diffcli.studies.facts import FACTS
from diffcli.studies.study_schema import (
    Budget,
    ByEpoch,
    ClaimSubject,
    Effort,
    Reconstructions,
    ReportedScores,
    Study,
    StudyBound,
    StudyClaim,
    StudyEvaluation,
    StudyFigure,
    StudyModel,
    StudySection,
)
from diffcli.utils.errors import UserError, unknown_name

PACKAGED = Path(__file__).parent
BY_MODEL = ("steps", "precision", "n_test", "n_fid")
"""Keys of an evaluation that a budget may set for some models alone."""


def study_files() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    return {file.stem: file for file in sorted(PACKAGED.glob("*.yaml"))}


def find_study(name_or_path: str) -> Path:
    """The file of a study given by name or by path.

    Raises:
        UserError: there is none; the line names the nearest known study.
    """
    template = "; or give a YAML file; 'diffcli study degradations `show`' prints one to start from"
    return find_file(name_or_path, "study", study_files(), no_name=template)


def load_study(name_or_path: str) -> Study:
    """A study that is checked but for its presets.

    Raises:
        UserError: it is not found, not readable, or not valid; the line names the key.
    """
    path = find_study(name_or_path)
    study = study_of(read_values(path, "study"), f"study {name_or_path}")
    for section in study.sections:
        read_table(path, section)
    return study


def read_table(study_file: Path, section: StudySection) -> tuple[str, list[list[str]]]:
    """(the other lines, the rows with the head first) of the Markdown table of a section; empty where it has none.

    Raises:
        UserError: its file cannot be read, or holds no table.
    """
    if section.table is None:
        return "", []
    file = study_file.parent / section.table
    place = f"study {study_file}: the table {file} of '{section.title}'"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place} cannot be read: {error}") from error
    of_table = [line.strip().removeprefix("|").removesuffix("|") for line in lines if line.lstrip().startswith("|")]
    rows = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)] for line in of_table]
    if len(rows) < 2 or not all(re.fullmatch(":?-+:?", cell) for cell in rows[1]):
        raise UserError(f"{place} holds no Markdown table: a line of names, one of dashes, and the rows")
    if len({len(row) for row in rows}) > 1:
        raise UserError(f"{place}: a row has another number of cells than its head")
    return " ".join(line.strip() for line in lines if not line.lstrip().startswith("|")).strip(), [rows[0], *rows[2:]]


def study_of(values: Any, place: str) -> Study:
    """A mapping -> a study.

    Raises:
        UserError: a key is unknown, missing or of the wrong type, or names something that is not there.
    """
    if not isinstance(values, dict):
        raise UserError(f"{place}: a study is a mapping of keys to values; it has at least a title and models")
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{place}: {explain(error, allowed_keys=dict(_allowed_keys(values)))}") from error
    for name, budget in study.known_budgets.items():
        key = f"budgets.{name}" if study.budgets else "budget"
        _check_labels(f"{key}.models", budget.models, study, place)
        _check_labels(f"{key}.without", budget.without, study, place)
        for by_model_key in BY_MODEL:
            _check_labels(f"{key}.{by_model_key}", getattr(budget, by_model_key), study, place)
        if not set(study.models) - set(budget.without):
            raise UserError(f"{place}: {key}.without leaves out every model")
        try:
            evaluation = evaluation_of(study, budget)
        except ValidationError as error:
            fields = dict(_keys_of_evaluation(budget.evaluation, ""))
            raise UserError(f"{place}: {explain(error, f'{key}.evaluation', fields)}") from error
        by_epoch = evaluation.by_epoch
        for names in (evaluation.metrics, by_epoch.metrics if by_epoch else []):
            _check_names(f"{key}.evaluation.metrics", names, METRICS, "metric", place)
        _check_labels(f"{key}.evaluation.by_epoch.models", by_epoch.models if by_epoch else [], study, place)
        for number, group in enumerate(evaluation.reconstructions):
            group_key = f"{key}.evaluation.reconstructions.{number}"
            _check_labels(f"{group_key}.models", group.models, study, place)
            of_them = {name: metric for name, metric in METRICS.items() if metric.source == "reconstructions"}
            _check_names(f"{group_key}.metrics", group.metrics, of_them, "metric of reconstructions", place)
        if evaluation.n_cas is not None and "cas" not in evaluation.metrics:
            raise UserError(
                f"{place}: evaluation.n_cas is the number of samples for cas; name that in evaluation.metrics"
            )
    _check_folders(study, place)
    for label, model in study.models.items():
        _check_names(f"models.{label}.priors", model.priors, PRIORS, "prior", place)
    for number, figure in enumerate(study.figures or []):
        _check_labels(f"figures.{number}.models", figure.models, study, place)
    for key, claim in _claims((f"claims.{number}", claim) for number, claim in enumerate(study.claims)):
        _check_claim(key, claim, study, place)
    return study


def evaluation_of(study: Study, budget: Budget, label: str | None = None) -> StudyEvaluation:
    """The evaluation of a study's models, or of one of them, on a budget.

    Raises:
        ValidationError: the budget's keys are not an evaluation's.
    """
    model_values = {key: values[label] for key in BY_MODEL if label in (values := getattr(budget, key))}
    return StudyEvaluation.model_validate(
        study.evaluation.model_dump(exclude_unset=True) | budget.evaluation | model_values
    )


def effort_of(budget: Budget, label: str) -> Effort:
    """The length of a model's training on a budget."""
    return budget.models.get(label, budget)


def folder_of(label: str, seed: int | None = None) -> str:
    """The name of the folder of a model's run."""
    name = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return name if seed is None else f"{name}-seed-{seed}"


def _check_folders(study: Study, place: str) -> None:
    owners: dict[str, str] = {}
    for label in study.models:
        for seed in dict.fromkeys(study.seeds_of(label)):
            name = folder_of(label, seed)
            if not folder_of(label) or owners.setdefault(name, label) != label:
                other = f" and '{owners[name]}'" if name in owners else ""
                raise UserError(
                    f"{place}: models: the labels '{label}'{other} make no folders of their own; "
                    "use letters and digits, others for each"
                )
        if len(set(study.seeds_of(label))) < len(study.seeds_of(label)):
            raise UserError(f"{place}: the seeds of '{label}' hold one twice; give each once")


def _check_names(key: str, names: Sequence[str], choices: Any, kind: str, place: str) -> None:
    for name in names:
        if name not in choices:
            raise UserError(f"{place}: {key}: {unknown_name(kind, name, choices)}")


def _check_labels(key: str, labels: Any, study: Study, place: str) -> None:
    _check_names(key, list(labels), study.models, "model", place)


def _claims(claims: Iterable[tuple[str, StudyClaim]]) -> Iterator[tuple[str, StudyClaim]]:
    """Claims with their keys, and with them their parts and the bounds that they had before."""
    for key, claim in claims:
        yield key, claim
        yield from _claims((f"{key}.all.{number}", part) for number, part in enumerate(claim.all))
        yield from _claims((f"{key}.history.{number}.claim", bound.claim) for number, bound in enumerate(claim.history))


def _check_claim(key: str, claim: StudyClaim, study: Study, place: str) -> None:
    for name, subject in claim.subjects:
        _check_labels(f"{key}.{name}", [subject.model], study, place)
        if subject.prior is not None:
            _check_names(f"{key}.{name}.prior", [subject.prior], PRIORS, "prior", place)
    if claim.check is not None:
        _check_names(f"{key}.check", [claim.check], CHECKS, "check", place)
    for name in claim.metric:
        if name in FACTS:
            continue
        _check_names(f"{key}.metric", [name], {**METRICS, **FACTS}, "metric", place)
        if claim.than is not None and METRICS[name].better is None:
            raise UserError(
                f"{place}: {key}.metric: of {name}, neither more nor less is better; use at_least or at_most"
            )


def _allowed_keys(values: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The keys that are known below each dotted path of a file, to name the nearest to an unknown one."""

    def fields(kind: type[BaseModel]) -> list[str]:
        return list(kind.model_fields)

    def mapping(key: str) -> dict[str, Any]:
        section = values.get(key)
        return section if isinstance(section, dict) else {}

    def entries(items: Any, key: str) -> Iterator[tuple[str, Any]]:
        yield from ((f"{key}.{number}", item) for number, item in enumerate(items if isinstance(items, list) else []))

    def claims(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[str]]]:
        for key, claim in items:
            yield key, fields(StudyClaim)
            for name in ("better", "not_better", "than", "of"):
                yield f"{key}.{name}", fields(ClaimSubject)
            if isinstance(claim, dict):
                yield from claims(entries(claim.get("all"), f"{key}.all"))
                for place, bound in entries(claim.get("history"), f"{key}.history"):
                    yield place, fields(StudyBound)
                    yield from claims([(f"{place}.claim", bound.get("claim") if isinstance(bound, dict) else None)])

    yield "", fields(Study)
    yield from _keys_of_evaluation(values.get("evaluation"), "evaluation")
    yield "budget", fields(Budget)
    for label in mapping("models"):
        yield f"models.{label}", fields(StudyModel)
        yield f"models.{label}.reported", fields(ReportedScores)
    for name in mapping("budgets"):
        yield f"budgets.{name}", fields(Budget)
    sections = values.get("sections")
    for number in range(len(sections) if isinstance(sections, list) else 0):
        yield f"sections.{number}", fields(StudySection)
    figures = values.get("figures")
    for number in range(len(figures) if isinstance(figures, list) else 0):
        yield f"figures.{number}", fields(StudyFigure)
    yield from claims(entries(values.get("claims"), "claims"))


def _keys_of_evaluation(values: Any, key: str) -> Iterator[tuple[str, list[str]]]:
    below = f"{key}." if key else ""
    yield key, list(StudyEvaluation.model_fields)
    yield f"{below}by_epoch", list(ByEpoch.model_fields)
    groups = values.get("reconstructions") if isinstance(values, dict) else None
    for number in range(len(groups) if isinstance(groups, list) else 1):
        yield f"{below}reconstructions.{number}", list(Reconstructions.model_fields)
