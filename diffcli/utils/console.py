"""Output of commands: results as they are, whole in a pipe, in any encoding; and on stderr notes, and the progress of
long work: a bar where somebody looks, lines in a pipe on request."""

from __future__ import annotations

import codecs
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from diffcli.utils.errors import UserError
from diffcli.utils.options import option

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 1_000_000
"""Columns of what is not a terminal: nothing is cut, each row is one line."""

LINES = 10
"""In a pipe, over the whole of what takes long."""

_progress_in_lines = False
"""Whether what takes long says so in lines where no bar can move: in a pipe, in a file."""


def _escape(error: UnicodeError) -> tuple[bytes, int]:
    """The escapes (``\\u6570``) of characters that an encoding lacks; bytes of a file's name that are no text, as they
    are."""
    assert isinstance(error, UnicodeEncodeError)
    codes = map(ord, error.object[error.start : error.end])
    parts = [
        bytes([c - 0xDC00]) if 0xDC80 <= c <= 0xDCFF else chr(c).encode("ascii", "backslashreplace") for c in codes
    ]
    return b"".join(parts), error.end


codecs.register_error("diffcli.escaped", _escape)


def prepare() -> None:
    """Makes stdout and stderr escape the characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="diffcli.escaped")


def is_text(name: str) -> bool:
    """Whether a file's name is text: Python represents the bytes of one that is not as lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def one_line(text: str) -> str:
    """``text`` on one line, with control characters as escapes: a file's name must not move the cursor."""
    single = " ".join(filter(None, (line.strip() for line in text.splitlines())))
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in single)


def console() -> Console:
    """Standard output: no markup, no emoji codes, no wrapping but on a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False, emoji=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", framed: bool = True) -> None:
    """Prints rows of text below their headers; what is too long for a terminal goes on in the next line of its cell."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(Text(one_line(header)), overflow="fold") for header in headers]
    table = Table(*columns, box=box.HEAVY_HEAD if framed else None)
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    if title:
        console().print(one_line(title), style="italic")
    console().print(table)


def quiet_option() -> Any:
    """Whether a command shows no progress; beside it on the command line, whether it shows lines of it."""
    lines = option(False, kind=bool, help="Lines of progress on stderr where no bar can move: in a pipe, in a log.")
    return option(
        False, help="No progress, only the result.", also="q", further_flags={"progress": lines}, parse=_silent
    )


def _silent(quiet: bool, progress: bool) -> bool:
    if quiet and progress:
        raise UserError("`quiet` and `progress` contradict each other; give one of them")
    global _progress_in_lines
    _progress_in_lines = progress
    return quiet


def progress_in_lines() -> bool:
    """Whether lines are to say what a bar cannot: on request, and in a notebook, where they stand below their cell."""
    return _progress_in_lines or "ipykernel" in sys.modules


@contextmanager
def progress(description: str, total: int, unit: str, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar over ``total`` units, where one can move; the block calls what it gets with the number of units just done.

    In a pipe, lines in its place where they are wanted.
    """
    if quiet or not (sys.stderr.isatty() or progress_in_lines()):
        yield lambda count: None
        return
    if _progress_in_lines and not sys.stderr.isatty():
        yield Lines(description, total, unit).advance
        return
    from diffcli.utils.bars import bar

    with bar(unit) as display:
        task = display.add_task(description, total=total, note="")
        yield lambda count: display.advance(task, count)


class Lines:
    """Progress as ten lines, one for each tenth of ``total`` units: done, speed, time left."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.count = 0
        self._start = time.perf_counter()

    def advance(self, count: int) -> None:
        """Counts units that were just done; prints a line where a tenth is full."""
        before, self.count = self.count, self.count + count
        if self.count * LINES // self.total > before * LINES // self.total:
            speed = self.count / max(time.perf_counter() - self._start, 1e-9)
            seconds = round((self.total - self.count) / speed)
            counts = f"{self.count:,} of {self.total:,} {self.unit}"
            note(f"{self.description}: {counts}, {speed:,.3g} {self.unit}/s, {seconds // 60}:{seconds % 60:02d} left")


def note(text: str) -> None:
    """Prints a line on stderr, above a bar if there is one."""
    if sys.stderr.isatty():
        from diffcli.utils.bars import console as stderr

        stderr.print(one_line(text), soft_wrap=True)
    else:
        print(one_line(text), file=sys.stderr)
