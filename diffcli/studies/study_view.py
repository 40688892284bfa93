"""The content of a study's page, and its renderers: one self-contained HTML file, and the same without pictures as
Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from diffcli.studies.claim_text import Claim, ClaimBound, EarlierBound, tally
from diffcli.studies.comparison_view import Picture, fill_template, markdown_text, without_surrogates


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and in smaller type the line below it."""

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
    description: str = ""
    gaps: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A text of paragraphs, and the table that it is about."""

    title: str
    text: Sequence[str]
    table: Table


@dataclass(frozen=True)
class ModelView:
    """A model as the page shows it besides its scores."""

    label: str
    description: str
    preset: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class StudyPage:
    """The parts of a study's page, in the order in which it is read.

    Args:
        source: the publication that is examined.
        question: paragraphs of what was asked.
        answer: paragraphs of what the results mean.
        epochs: of each run, how many epochs it was trained of how many.
        remarks: what is to be said of the scores, a line each.
        sections: texts with a table each, which stand before the figures.
        trainings: what was trained, and for how long.
        origins: what each number was measured of, and with what.
    """

    title: str
    source: str
    question: Sequence[str]
    claims: Sequence[Claim]
    scores: Table
    answer: Sequence[str]
    epochs: Sequence[str] = ()
    remarks: Sequence[str] = ()
    sections: Sequence[Section] = ()
    figures: Sequence[FigureView] = ()
    models: Sequence[ModelView] = ()
    trainings: Table = field(default_factory=lambda: Table([], []))
    origins: Table = field(default_factory=lambda: Table([], []))
    one_seed: bool = True
    """Whether each model was trained once."""
    pictures: str = ""
    """The name of the page with pictures, for the one without."""

    @property
    def verdicts(self) -> str:
        """The numbers of claims by verdict."""
        return tally(self.claims)

    @property
    def intervals(self) -> str:
        """A sentence on what the intervals are of, and what they leave out."""
        if not self.one_seed:
            return (
                "In brackets are 95 % intervals, of the trainings where a model has several seeds, else of the images."
            )
        return (
            "In brackets are 95 % intervals, of the images that were measured; what another training of a model, or "
            "other test "
            "images to compare samples with, would change is in none of them."
        )

    @property
    def has_dates(self) -> bool:
        """Whether any claim says since when its bound stands."""
        return any(claim.since is not None for claim in self.claims)


def since(bound: ClaimBound) -> str:
    """The date of a bound in words."""
    return bound.since or "no date"


def bounds(claims: Sequence[Claim]) -> tuple[list[str], Table]:
    """A sentence about the bounds of claims, and the bounds that were set or changed after numbers of theirs were
    known.

    With each stands every bound that the claim had before, and what became of it by the numbers of now. Empty where no
    claim says since when its bound stands.
    """
    head = [
        "claim",
        "bound",
        "stood",
        "numbers that were known when it was fixed",
        "by the numbers of now",
        "why changed",
    ]
    if not any(claim.since for claim in claims):
        return [], Table(head, [])
    claims_with_date = [claim for claim in claims if claim.since is not None]
    pairs = [(number, claim) for number, claim in enumerate(claims, 1) if claim.is_informed or claim.history]
    informed_claims = [claim for _, claim in pairs if claim.is_informed]
    sentences = [
        f"A bound that is fixed after its numbers are known can be fitted to them. "
        f"Of {len(claims_with_date)} claims with a date, "
        f"{len(informed_claims) or 'none'} had a bound set or changed after numbers of it were known"
        + (": they are listed here, and with them every bound that a claim had before." if pairs else ".")
    ]
    if count := len(claims) - len(claims_with_date):
        sentences.append(f"{count} have no date: nobody can tell.")
    if any(claim.history for claim in claims):
        sentences.append(
            "The bounds that stood first, by the numbers and the rules of now: "
            f"{tally([claim.first for claim in claims])}."
        )
    rows = [[str(number), *row] for number, claim in pairs for row in _story(claim)]
    return sentences, Table(head, [[Cell(text) for text in row] for row in rows])


def _story(claim: Claim) -> list[list[str]]:
    """A row for each bound of a claim, the present one last: what it says, when it stood, what was known, its verdict,
    why it changed."""
    rows, is_informed = [], False
    for bound in (*claim.history, claim):
        by_date = f"measured on {bound.measured}, before" if bound.is_later_than_its_numbers else ""
        before = bound.known_numbers or by_date or ("those above" if is_informed else "none")
        is_informed = is_informed or bound.is_informed
        until, why = (bound.until, bound.why) if isinstance(bound, EarlierBound) else ("now", "")
        rows.append([bound.text, f"{since(bound)} to {until}", before, bound.verdict, why or ""])
    return rows


def html_study(page: StudyPage) -> str:
    """The page as one HTML file; every value is escaped, every picture inlined, no script."""
    sentences, table = bounds(page.claims)
    more = {
        "verdicts": page.verdicts,
        "intervals": page.intervals,
        "has_dates": page.has_dates,
        "since": since,
        "bounds": table,
        "of_bounds": sentences,
    }
    return fill_template("study.html", vars(page) | more)


def markdown_study(page: StudyPage) -> str:
    """The page as Markdown, its figures as a list."""
    lines = [f"# {markdown_text(page.title)}", ""]
    if page.source:
        lines += [f"Examined: {markdown_text(page.source)}.", ""]
    lines += [f"Trained: {markdown_text('; '.join(page.epochs))}.", ""] if page.epochs else []
    lines += [f"The page with every picture: [{page.pictures}]({page.pictures}).", ""] if page.pictures else []
    if page.question:
        lines += ["## What was asked", "", *_paragraphs(page.question)]
    lines += ["## What came out", ""]
    if page.claims:
        lines += [f"Claims: {page.verdicts}. {page.intervals}", ""]
        head = ["", "claim", "verdict", "numbers", *(["bound fixed"] if page.has_dates else [])]
        lines += [f"| {' | '.join(head)} |".replace("|  |", "| |"), "| --- " * len(head) + "|"]
        for number, claim in enumerate(page.claims, 1):
            why = f" {markdown_text(claim.why)}" if claim.why else ""
            cells = [
                str(number),
                markdown_text(claim.text),
                f"**{claim.verdict}**",
                markdown_text(claim.evidence) + why,
            ]
            cells += [since(claim)] if page.has_dates else []
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    sentences, table = bounds(page.claims)
    if sentences:
        lines += ["### When the bounds were fixed", "", *_paragraphs([" ".join(sentences)])]
        lines += _markdown_table(table) if table.rows else []
    lines += ["### Scores", "", *_markdown_table(page.scores)]
    lines += [*(f"- {markdown_text(remark)}" for remark in page.remarks), ""] if page.remarks else []
    if page.answer:
        lines += ["## What it means", "", *_paragraphs(page.answer)]
    for section in page.sections:
        lines += [f"## {markdown_text(section.title)}", "", *_paragraphs(section.text)]
        lines += _markdown_table(section.table) if section.table.rows else []
    if page.figures:
        lines += ["## Figures", ""]
        for figure in page.figures:
            gap_text = f" Not there: {markdown_text('; '.join(figure.gaps))}." if figure.gaps else ""
            lines.append(f"- {markdown_text(figure.title)}. {markdown_text(figure.description)}{gap_text}".rstrip())
        lines.append("")
    for model in page.models:
        if model.tables:
            lines += [f"## {markdown_text(model.label)}", "", markdown_text(model.description), ""]
            for table in model.tables:
                lines += [f"{markdown_text(table.title)}:", "", *_markdown_table(table)]
    lines += ["## Where the numbers come from", "", "The trainings:", "", *_markdown_table(page.trainings)]
    lines += ["The evaluations:", "", *_markdown_table(page.origins)]
    return without_surrogates("\n".join(lines).rstrip() + "\n")


def _paragraphs(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in (markdown_text(text), "")]


def _markdown_table(table: Table) -> list[str]:
    lines = [f"| {' | '.join(map(markdown_text, table.head))} |", "| --- " * len(table.head) + "|"]
    for row in table.rows:
        cells = []
        for cell in row:
            text = f"**{markdown_text(cell.text)}**" if cell.best else markdown_text(cell.text)
            cells.append(" ".join([text, *(f"({markdown_text(part)})" for part in cell.below)]))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
