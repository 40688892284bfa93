"""Results as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from diffcli.cli.flags import with_flags
from diffcli.evaluation.metrics import COMPANIONS, in_rows, metric_of, times_floor
from diffcli.utils.console import console, one_line, print_table
from diffcli.utils.numbers import with_error

if TYPE_CHECKING:
    from diffcli.checkpoints.evaluations import Evaluation
    from diffcli.studies.claim_text import Claim
    from diffcli.studies.comparison import Comparison
    from diffcli.studies.study_result import StudyResult


def scores_in_a_line(scores: Mapping[str, float]) -> str:
    """The scores of a model, without those that stand beside another one."""
    row_scores = {key: scores[key] for key in in_rows(scores) if scores[key] is not None}
    return ", ".join(f"{key} {value:.4g}" for key, value in row_scores.items()) or "not evaluated"


def print_evaluation(result: Evaluation) -> None:
    """Prints the scores of a model, the settings that matter, what was left out, and the file."""
    from diffcli.studies.best_values import note_of_floor, start_of_reconstructions

    settings, scores = result.settings, result.scores
    rows = []

    def add_row(key: str, values: dict[str, float], prior: str) -> None:
        metric = metric_of(key)
        assert metric is not None
        numbers = {suffix: values.get(f"{key}_{suffix}") for suffix in COMPANIONS}
        notes = {
            suffix: f"{COMPANIONS[suffix]}: {number:.4g}" for suffix, number in numbers.items() if number is not None
        }
        if (times := times_floor(key, values)) is not None:
            notes["floor"] += f" ({times:.2f} times that)"
        rows.append((key, f"{values[key]:.4g}", ", ".join(notes.values()), str(settings[metric.n]), prior))

    by_prior: dict[str, dict[str, float]] = result.by_prior
    for key in (key for key in in_rows(scores) if not any(key in values for values in by_prior.values())):
        add_row(key, scores, settings["prior"] if key == "cas" else "")
    for prior, values in by_prior.items():
        for key in in_rows(values):
            add_row(key, values, f"{prior} (restoration)" if prior == "blurred-data" else prior)
    for name, distances in result.by_label.items():
        rows += [(f"{key} of {name}", f"{value:.4g}", "", "", settings["prior"]) for key, value in distances.items()]
    sampler = settings["sampler"]
    title = f"{settings['preset']}, epoch {settings['epoch']}, {sampler['name']}, {sampler['steps']} steps"
    if settings["evaluations"] != sampler["steps"]:
        title += f", {settings['evaluations']} network evaluations"
    start = start_of_reconstructions(settings)
    if start != "z_T":
        title += f"; reconstructions from {start}"
    print_table(("metric", "value", "beside it", "n", "prior"), rows, title)
    for extractor in settings["extractors"]:
        weights = extractor.get("weights") or extractor["weights_sha256"][:8]
        weights = f"weights {weights}" if " " not in weights else weights
        origin = (
            "" if extractor.get("official_weights", True) else ", not the official ones: compare with nothing published"
        )
        reads = (
            f", reads {extractor['test_accuracy']:.3g} of the test images right" if "test_accuracy" in extractor else ""
        )
        console().print(
            one_line(f"features: {extractor['name']} ({extractor['features']}-d, {weights}{origin}{reads})")
        )
    for note in filter(None, [note_of_floor(settings), *result.notes]):
        console().print(one_line(with_flags(note)), style="yellow")
    if result.file:
        print(result.file)


def print_comparison(comparison: Comparison) -> None:
    """Prints the scores of runs side by side, remarks on them, and the report's claims."""
    scores, best = comparison.scores, comparison.best
    # Runs across, metrics down: a terminal is narrower than the list of metrics.
    seconds = [run.evaluation["settings"].get("sample_seconds") for run in comparison.runs]
    rows: list[tuple[str, ...]] = [
        ("parameters", *(f"{run.parameters:,}" for run in comparison.runs)),
        ("evaluations a sample", *(f"{run.evaluation['settings']['evaluations']:,}" for run in comparison.runs)),
        ("seconds a sample", *("-" if one is None else f"{one:g}" for one in seconds)),
    ]
    for metric in best:
        cells = [
            f"{with_error(metric, values)}{_in_floors(metric, values)}{' *' if name in best[metric] else ''}"
            if metric in values
            else "-"
            for name, values in scores.items()
        ]
        rows.append((metric, *cells))
    _print_scores(list(scores), rows, comparison.remarks, comparison.claims)


def _in_floors(key: str, scores: Mapping[str, float]) -> str:
    """A distance beside that of real images: ``, 2.10 floors``; empty of other scores."""
    times = times_floor(key, scores)
    return "" if times is None else f", {times:.2f} floors"


def print_study(result: StudyResult) -> None:
    """Prints the scores of a study's models side by side, remarks on them, and what became of its claims."""
    from diffcli.studies.study_page import score_table

    table, remarks = score_table(result)
    # Models across, metrics down: a terminal is narrower than the list of metrics.
    columns = [
        [" ".join([cell.text, *cell.below, *("*" if cell.best else "")]) for cell in row[1:]] for row in table.rows
    ]
    labels = [row[0].text for row in table.rows]
    rows = [(key, *cells) for key, *cells in zip(table.head[1:], *columns, strict=True)]
    _print_scores(labels, rows, remarks, result.claims)


def _print_scores(
    names: Sequence[str], rows: Sequence[tuple[str, ...]], remarks: Sequence[str], claims: Sequence[Claim]
) -> None:
    print_table(
        ("metric", *names),
        rows,
        "the best value of each metric is marked *; ± is a standard error, a floor what real images score",
    )
    for line in [*map(with_flags, remarks), *(f"{claim.verdict}: {claim.text} {claim.evidence}" for claim in claims)]:
        console().print(one_line(line))
