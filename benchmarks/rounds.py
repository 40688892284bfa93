"""Sides of a comparison in alternating rounds, so that a noisy machine is noisy to all of them; tables of what came
out."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from diffcli.utils.devices import processor

Side = Callable[[], float]
"""One round of a side; returns its rate."""


def rate_of(work: Callable[[], object], count: float) -> Side:
    """A side that does ``work``, which is ``count`` units, and returns units per second."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return count / (time.perf_counter() - start)

    return run


def alternate(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """The rates of each side; every round begins with another one, and a first round that warms up is not counted."""
    for side in sides.values():
        side()
    names = list(sides)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            rates[name].append(sides[name]())
    return rates


def spread(values: Sequence[float], digits: int = 3) -> str:
    """``median (lowest to highest)``, each with that many significant digits."""
    texts = [_significant(value, digits) for value in (statistics.median(values), min(values), max(values))]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def _significant(value: float, digits: int) -> str:
    number = float(f"{value:.{digits}g}")
    return f"{number:,.0f}" if number >= 10 ** (digits - 1) else f"{number:g}"


def ratios(rates: dict[str, list[float]], first: str, other: str) -> list[float]:
    """``first`` over ``other``, round by round."""
    return [a / b for a, b in zip(rates[first], rates[other], strict=True)]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def put(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        ValueError: the page lacks one of the comments.
    """
    before, opening, rest = page.partition(f"<!-- {name} -->")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not closing:
        raise ValueError(f"the page has no <!-- {name} --> ... <!-- /{name} -->")
    return f"{before}{opening}\n\n{text}\n\n{closing}{after}"


def machine() -> str:
    """What it ran on, in a line."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
