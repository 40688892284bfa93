"""What commands print: text as it is, whole in a pipe, in any encoding."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 1_000_000
"""Columns of what is not a terminal: nothing is cut, each row is one line."""


def _escaped(error: UnicodeError) -> tuple[bytes, int]:
    """What an encoding lacks, as an escape (``\\u6570``); bytes of a file's name that are no text, as they are."""
    assert isinstance(error, UnicodeEncodeError)
    codes = map(ord, error.object[error.start : error.end])
    parts = [
        bytes([c - 0xDC00]) if 0xDC80 <= c <= 0xDCFF else chr(c).encode("ascii", "backslashreplace") for c in codes
    ]
    return b"".join(parts), error.end


codecs.register_error("diffcli.escaped", _escaped)


def prepare() -> None:
    """From here on no character stops a result or a message, whatever the encoding of the terminal or the pipe."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="diffcli.escaped")


def is_text(name: str) -> bool:
    """Whether a file's name is text: Python represents the bytes of one that is not as lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def one_line(text: str) -> str:
    """``text`` on one line, with control characters as escapes: a file's name must not move the cursor."""
    joined = " ".join(filter(None, (line.strip() for line in text.splitlines())))
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in joined)


def console() -> Console:
    """Standard output: no markup, no emoji codes, no wrapping but on a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, emoji=False)


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
