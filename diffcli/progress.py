"""What is said on stderr while something takes long: a bar where somebody looks, and notes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffcli.output import one_line


@contextmanager
def progress(description: str, total: int, unit: str, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar over ``total`` units, where one can move; the block calls what it gets with the number of units just done."""
    if quiet or not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        yield lambda done: None
        return
    from diffcli.bars import bar

    with bar(unit) as display:
        task = display.add_task(description, total=total, note="")
        yield lambda done: display.advance(task, done)


def note(text: str) -> None:
    """Prints a line on stderr, above a bar if there is one."""
    if sys.stderr.isatty():
        from diffcli.bars import console

        console.print(one_line(text), soft_wrap=True)
    else:
        print(one_line(text), file=sys.stderr)
