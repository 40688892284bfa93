"""The page of a study: one self-contained HTML file, and the same without its pictures as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from diffcli.reporting.claim import Claim, Verdict
from diffcli.reporting.page import Picture, encodable, plain, rendered


@dataclass(frozen=True)
class Cell:
    """What a cell of a table shows, and in smaller type what stands below it."""

    text: str
    below: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells below their heads; the first cell of a row names it."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""


@dataclass(frozen=True)
class FigureView:
    """A figure: rows of pictures beside each other, each row with its heading, and what of it is not there."""

    title: str
    rows: Sequence[tuple[str, Sequence[Picture]]]
    about: str = ""
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class ModelView:
    """What the page shows of a model besides its scores."""

    label: str
    about: str
    preset: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class StudyPage:
    """What a study's page shows, in the order in which it is read.

    Args:
        source: the publication that is examined.
        question: paragraphs of what was asked.
        answer: paragraphs of what the results mean.
        remarks: what is to be said of the scores, a line each.
        trainings: what was trained, and for how long.
        origins: what each number was measured of, and with what.
    """

    title: str
    source: str
    question: Sequence[str]
    claims: Sequence[Claim]
    scores: Table
    answer: Sequence[str]
    remarks: Sequence[str] = ()
    figures: Sequence[FigureView] = ()
    models: Sequence[ModelView] = ()
    trainings: Table = field(default_factory=lambda: Table([], []))
    origins: Table = field(default_factory=lambda: Table([], []))
    pictures: str = ""
    """The name of the page with pictures, for the one without."""

    @property
    def verdicts(self) -> str:
        """How many claims came out how: ``3 confirmed, 1 not settled``."""
        counts = Counter(claim.verdict for claim in self.claims)
        return ", ".join(f"{counts[name]} {name}" for name in get_args(Verdict) if counts[name])


def html_study(page: StudyPage) -> str:
    """The page as one HTML file; every value is escaped, every picture inlined, no script."""
    return rendered("study.html", vars(page) | {"verdicts": page.verdicts})


def markdown_study(page: StudyPage) -> str:
    """The page as Markdown, its figures as a list."""
    lines = [f"# {plain(page.title)}", ""]
    if page.source:
        lines += [f"Examined: {plain(page.source)}.", ""]
    lines += [f"The page with every picture: [{page.pictures}]({page.pictures}).", ""] if page.pictures else []
    if page.question:
        lines += ["## What was asked", "", *_paragraphs(page.question)]
    lines += ["## What came out", ""]
    if page.claims:
        lines += [f"Claims: {page.verdicts}. In brackets are 95 % intervals.", ""]
        lines += ["| | claim | verdict | numbers |", "| --- | --- | --- | --- |"]
        for number, claim in enumerate(page.claims, 1):
            why = f" {plain(claim.why)}" if claim.why else ""
            cells = [str(number), plain(claim.text), f"**{claim.verdict}**", plain(claim.evidence) + why]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += ["### Scores", "", *_markdown_table(page.scores)]
    lines += [*(f"- {plain(remark)}" for remark in page.remarks), ""] if page.remarks else []
    if page.answer:
        lines += ["## What it means", "", *_paragraphs(page.answer)]
    if page.figures:
        lines += ["## Figures", ""]
        for figure in page.figures:
            missing = f" Not there: {plain('; '.join(figure.missing))}." if figure.missing else ""
            lines.append(f"- {plain(figure.title)}. {plain(figure.about)}{missing}".rstrip())
        lines.append("")
    for model in page.models:
        if model.tables:
            lines += [f"## {plain(model.label)}", "", plain(model.about), ""]
            for table in model.tables:
                lines += [f"{plain(table.title)}:", "", *_markdown_table(table)]
    lines += ["## Where the numbers come from", "", "The trainings:", "", *_markdown_table(page.trainings)]
    lines += ["The evaluations:", "", *_markdown_table(page.origins)]
    return encodable("\n".join(lines).rstrip() + "\n")


def _paragraphs(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in (plain(text), "")]


def _markdown_table(table: Table) -> list[str]:
    lines = [f"| {' | '.join(map(plain, table.head))} |", "| --- " * len(table.head) + "|"]
    for row in table.rows:
        cells = []
        for cell in row:
            text = f"**{plain(cell.text)}**" if cell.best else plain(cell.text)
            cells.append(" ".join([text, *(f"({plain(part)})" for part in cell.below)]))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
