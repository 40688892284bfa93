"""The two ways a command can fail, each shown as one line and never as a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DiffcliError(Exception):
    """Base of the errors that a user sees; ``exit_code`` is the process's exit status."""

    exit_code = 1


class UserError(DiffcliError):
    """The request cannot be met as given (exit 2): names what is wrong and what would be right."""

    exit_code = 2


class RunError(DiffcliError):
    """A sound request failed while it ran (exit 1): says where the work so far is."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of an accelerator or of the machine."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not among ``known``, with the nearest known one first.

    >>> unknown("preset", "quikstart", ["ddpm-linear", "quickstart"])
    "unknown preset 'quikstart'; did you mean 'quickstart'? known: ddpm-linear, quickstart"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return f"unknown {what} '{name}';{hint} known: {', '.join(names) or 'none'}"
