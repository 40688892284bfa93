"""The two ways to fail that a user sees, each told in one line.

A message names arguments and preset keys that the caller gave in backticks, as Python knows them; the command line
shows them as its flags.
"""

from __future__ import annotations

import difflib
import errno
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


UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""The errors that a full, broken or read-only disk answers to a write."""


def failed_write(error: BaseException | None) -> OSError | None:
    """The ``OSError`` of a failed write that caused this error, or None.

    Writers of archives, checkpoints and logs fail once more while they clean up, each with an error of its own.
    """
    visits: set[int] = set()
    while error is not None and id(error) not in visits:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            return error
        visits.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def explain(error: BaseException) -> tuple[str, str] | None:
    """Explains a known failure of the machine as (what failed, what may help or ''); None for a bug."""
    if is_out_of_memory(error):
        return "out of memory", "a smaller `batch_size` needs less"
    cause = failed_write(error) or error
    if isinstance(cause, OSError):
        place = f"{cause.filename}: " if cause.filename else "a file cannot be written: "
        return f"{place}{cause.strerror or cause}", ""
    return None


def unknown_name(kind: str, name: str, choices: Iterable[str], longer_names: Iterable[str] = ()) -> str:
    """One line for a name that is not among ``choices``, with the nearest of these; or with the one of ``longer_names``
    that ends in it.

    >>> unknown_name("preset", "quikstart", ["ddpm-linear", "quickstart"])
    "unknown preset 'quikstart'; did you mean 'quickstart'? known: ddpm-linear, quickstart"
    """
    names = sorted(choices)
    near = [other for other in longer_names if other.endswith(f".{name}")]
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}';{hint} known: {', '.join(names) or 'none'}"
