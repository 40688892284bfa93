"""The content of a comparison's page, and its renderers: one self-contained HTML file, and the same as Markdown."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli import __version__
from diffcli.evaluation.metrics import in_rows, times_floor
from diffcli.studies.claim_text import Claim
from diffcli.utils.numbers import error_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """An inlined picture; ``pixels`` are enlarged without smoothing."""

    data: str
    caption: str
    pixels: bool = False


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it."""

    name: str
    note: str
    description: str
    preset: str
    scores: dict[str, float]
    reported: dict[str, float]
    by_prior: dict[str, dict[str, float]]
    pictures: list[Picture]
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts about the model, by their names."""

    @property
    def prior_keys(self) -> list[str]:
        """The scores that depend on the prior."""
        return [key for key in next(iter(self.by_prior.values()), {}) if not key.endswith("_error")]

    def lines_below(self, key: str) -> list[str]:
        """The numbers below a score: its standard error, the score of real images, and the report's own number."""
        report = f"report {self.reported[key]:.4g}" if key in self.reported else ""
        return [part for part in (error_of(key, self.scores), floor_of(key, self.scores), report) if part]


def picture_of(source: Path | Figure, caption: str, pixels: bool = False) -> Picture:
    """A PNG file or a figure as a picture that needs no other file."""
    if isinstance(source, Path):
        content = source.read_bytes()
    else:
        buffer = io.BytesIO()
        source.savefig(buffer, format="png")
        content = buffer.getvalue()
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", caption, pixels)


def columns(scores: Sequence[Mapping[str, float]]) -> list[str]:
    """The metrics that any run has, in order, without those that stand beside another."""
    return list(dict.fromkeys(key for values in scores for key in in_rows(values)))


@dataclass(frozen=True)
class Page:
    """A comparison as its page shows it.

    Args:
        best: by score, in the order of the columns, the runs whose value is marked.
        remarks: what is to be said of the scores, a line each.
        samples: pictures of all the runs side by side, with their headings.
        claims: statements checked against the scores, and their source.
        shared: headings and pictures that concern all the runs.
    """

    title: str
    runs: Sequence[RunView]
    best: Mapping[str, set[str]]
    remarks: Sequence[str] = ()
    claims: Sequence[Claim] = ()
    source: str = ""
    shared: Sequence[tuple[str, list[Picture]]] = ()
    samples: Sequence[tuple[str, list[Picture]]] = ()

    @property
    def facts(self) -> list[str]:
        """The names of the facts that are told of any model."""
        return list(dict.fromkeys(name for run in self.runs for name in run.facts))


def floor_of(key: str, scores: Mapping[str, float]) -> str:
    """The score of real images, ``floor 0.0134 (2.10 times that)``; empty where that was not measured."""
    floor, test, times = scores.get(f"{key}_floor"), scores.get(f"{key}_test"), times_floor(key, scores)
    if floor is not None:
        return f"floor {floor:.3g}" + ("" if times is None else f" ({times:.2f} times that)")
    return "" if test is None else f"test images {test:.3g}"


def html_page(page: Page) -> str:
    """The page as one HTML file; every value is escaped, every picture inlined, no script."""
    return fill_template("compare.html", vars(page) | {"facts": page.facts})


def fill_template(template: str, values: Mapping[str, Any]) -> str:
    """A template of this package with its values, each escaped, and this version and day."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("diffcli.studies", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    text = environment.get_template(template).render(**values, version=__version__, date=date.today().isoformat())
    return without_surrogates(text)


def without_surrogates(text: str) -> str:
    """``text`` without lone surrogates, which stand for bytes of a file's name that are no text."""
    return text.encode("utf-8", "replace").decode()


def markdown_text(text: str) -> str:
    """``text`` in one cell of a Markdown table: no HTML, no line break, no further cell."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def markdown_page(page: Page) -> str:
    """The scores and the claims as Markdown; the report's value in brackets, the best of each column bold."""
    heading = " | ".join(markdown_text(metric) for metric in page.best)
    lines = [f"# {markdown_text(page.title)}", "", f"| run | {heading} |", "| --- " * (len(page.best) + 1) + "|"]
    for run in page.runs:
        cells = []
        for metric in page.best:
            value = f"{run.scores[metric]:.4g}" if metric in run.scores else "-"
            value = f"**{value}**" if run.name in page.best[metric] else value
            value = f"{value} {error_of(metric, run.scores)}".strip()
            value += f", {floor}" if (floor := floor_of(metric, run.scores)) else ""
            cells.append(value + (f" (report: {run.reported[metric]:.4g})" if metric in run.reported else ""))
        lines.append(f"| {markdown_text(run.name)} | {' | '.join(cells)} |")
    lines += ["", *(f"- {markdown_text(remark)}" for remark in page.remarks)] if page.remarks else []
    if page.facts:
        names = " | ".join(markdown_text(run.name) for run in page.runs)
        lines += ["", f"| model | {names} |", "| --- " * (len(page.runs) + 1) + "|"]
        lines += [
            f"| {fact} | {' | '.join(markdown_text(run.facts.get(fact, '-')) for run in page.runs)} |"
            for fact in page.facts
        ]
    if page.claims:
        lines += ["", "## The report's findings, checked", "", f"The report: {markdown_text(page.source)}.", ""]
        lines += [
            f"{i}. {claim.text} **{claim.verdict}**: {markdown_text(claim.evidence)}"
            for i, claim in enumerate(page.claims, 1)
        ]
    return without_surrogates("\n".join(lines) + "\n")
