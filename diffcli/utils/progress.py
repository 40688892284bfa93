"""What is said on stderr while something takes long: a bar where somebody looks, lines in a pipe on request, and notes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffcli.utils.console import one_line

LINES = 10
"""In a pipe, over the whole of what takes long."""

_wanted = False


def show_lines(wanted: bool) -> None:
    """From here on, whether what takes long says so in lines where no bar can move: in a pipe, in a file."""
    global _wanted
    _wanted = wanted


def lines_wanted() -> bool:
    """Whether lines are to say what a bar cannot: on request, and in a notebook, where they stand below their cell."""
    return _wanted or "ipykernel" in sys.modules


@contextmanager
def progress(description: str, total: int, unit: str, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar over ``total`` units, where one can move; the block calls what it gets with the number of units just done.

    In a pipe, lines in its place where they are wanted.
    """
    if quiet or not (sys.stderr.isatty() or lines_wanted()):
        yield lambda done: None
        return
    if _wanted and not sys.stderr.isatty():
        yield Lines(description, total, unit).advance
        return
    from diffcli.utils.bars import bar

    with bar(unit) as display:
        task = display.add_task(description, total=total, note="")
        yield lambda done: display.advance(task, done)


class Lines:
    """Progress as ten lines, one for each tenth of ``total`` units: done, speed, time left."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0
        self._start = time.perf_counter()

    def advance(self, done: int) -> None:
        """Counts units that were just done; prints a line where a tenth is full."""
        before, self.done = self.done, self.done + done
        if self.done * LINES // self.total > before * LINES // self.total:
            speed = self.done / max(time.perf_counter() - self._start, 1e-9)
            left = round((self.total - self.done) / speed)
            counts = f"{self.done:,} of {self.total:,} {self.unit}"
            note(f"{self.description}: {counts}, {speed:,.3g} {self.unit}/s, {left // 60}:{left % 60:02d} left")


def note(text: str) -> None:
    """Prints a line on stderr, above a bar if there is one."""
    if sys.stderr.isatty():
        from diffcli.utils.bars import console

        console.print(one_line(text), soft_wrap=True)
    else:
        print(one_line(text), file=sys.stderr)
