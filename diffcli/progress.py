"""One progress bar for everything that takes long: rate and remaining time, on stderr, in a notebook too, silent where nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console(stderr=True, highlight=False, markup=False, emoji=False)


class RateColumn(ProgressColumn):
    """Finished units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self.unit}/s" if speed else f"- {self.unit}/s", style="cyan")


def bar(unit: str, quiet: bool = False) -> Progress:
    """A Rich progress display of ``unit`` per second, for a terminal or a notebook."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        RateColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=console,
        speed_estimate_period=60,
        disable=quiet or not _is_watched(),
    )


def _is_watched() -> bool:
    """Whether a bar can move: on a terminal, and in a notebook that has ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


@contextmanager
def progress(description: str, total: int, unit: str, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar over ``total`` units; the block calls what it gets with the number of units just done."""
    with bar(unit, quiet) as display:
        task = display.add_task(description, total=total, note="")
        yield lambda done: display.advance(task, done)
