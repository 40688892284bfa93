"""The comparison page: one self-contained HTML file, and the same as Markdown."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from diffcli import __version__
from diffcli.evaluation.metrics import is_beside
from diffcli.report.claims import Claim


@dataclass(frozen=True)
class Picture:
    """An inlined picture; ``pixels`` are enlarged without smoothing."""

    data: str
    caption: str
    pixels: bool = False


@dataclass(frozen=True)
class RunView:
    """What the page shows of a run."""

    name: str
    note: str
    about: str
    preset: str
    scores: dict[str, float]
    reported: dict[str, float]
    by_prior: dict[str, dict[str, float]]
    pictures: list[Picture]

    @property
    def prior_keys(self) -> list[str]:
        """The scores that depend on the prior."""
        return list(next(iter(self.by_prior.values()), {}))


def reported_values() -> dict[str, dict[str, Any]]:
    """The report's own values by preset: ``where`` they stand, and ``scores`` by the keys of eval.json."""
    text = resources.files("diffcli.report").joinpath("report.yaml").read_text(encoding="utf-8")
    values: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return values


def picture_of(source: Path | Figure, caption: str, pixels: bool = False) -> Picture:
    """A PNG file or a figure as a picture that needs no other file."""
    if isinstance(source, Figure):
        buffer = io.BytesIO()
        source.savefig(buffer, format="png")
        content = buffer.getvalue()
    else:
        content = source.read_bytes()
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", caption, pixels)


def columns(scores: Sequence[Mapping[str, float]]) -> list[str]:
    """The metrics that any run has, in order, without those that stand beside another."""
    keys = dict.fromkeys(key for held in scores for key in held)
    return [key for key in keys if not is_beside(key)]


def html_page(
    title: str,
    runs: Sequence[RunView],
    best: Mapping[str, set[str]],
    remarks: Sequence[str],
    shared: Sequence[tuple[str, list[Picture]]],
    claims: Sequence[Claim],
) -> str:
    """The page; every value is escaped, every picture inlined, no script.

    Args:
        best: by score, in the order of the columns, the runs whose value is marked.
        remarks: what is to be said of the scores, a line each.
        shared: headings and pictures that concern all the runs.
    """
    loader = PackageLoader("diffcli.reporting", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("compare.html").render(
        title=title,
        runs=runs,
        best=best,
        remarks=remarks,
        shared=shared,
        claims=claims,
        version=__version__,
        date=date.today().isoformat(),
    )
    return _encodable(page)


def _encodable(text: str) -> str:
    """``text`` without lone surrogates, which stand for bytes of a file's name that are no text."""
    return text.encode("utf-8", "replace").decode()


def _plain(text: str) -> str:
    """``text`` in one cell of a Markdown table: no HTML, no line break, no further cell."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def markdown_page(
    title: str,
    runs: Sequence[RunView],
    best: Mapping[str, set[str]],
    remarks: Sequence[str],
    claims: Sequence[Claim],
) -> str:
    """The scores and the claims as Markdown; the report's value in brackets, the best of each column bold."""
    heading = " | ".join(_plain(metric) for metric in best)
    lines = [f"# {_plain(title)}", "", f"| run | {heading} |", "| --- " * (len(best) + 1) + "|"]
    for run in runs:
        cells = []
        for metric in best:
            value = f"{run.scores[metric]:.4g}" if metric in run.scores else "-"
            value = f"**{value}**" if run.name in best[metric] else value
            cells.append(value + (f" (report: {run.reported[metric]:.4g})" if metric in run.reported else ""))
        lines.append(f"| {_plain(run.name)} | {' | '.join(cells)} |")
    lines += ["", *(f"- {_plain(remark)}" for remark in remarks)] if remarks else []
    lines += ["", "## The report's findings, checked", ""]
    lines += [f"{i}. {claim.text} **{claim.verdict}**: {_plain(claim.evidence)}" for i, claim in enumerate(claims, 1)]
    return _encodable("\n".join(lines) + "\n")
