"""Between Python's arguments and the command line's flags: messages, and assignments of preset keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from diffcli.utils.errors import UserError

SHORTCUTS = {
    "training.epochs": "--epochs",
    "training.max_time": "--max-time",
    "training.batch_size": "--batch-size",
    "training.lr": "--lr",
    "training.seed": "--seed",
    "data.on_bad_image": "--on-bad-image",
}
"""Preset keys that have a flag of their own; the others have ``--set``."""
ARGUMENT = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)`")


def with_flags(message: str) -> str:
    """A message of the library with its arguments as flags.

    >>> with_flags("`n_fid` must be at least 2, got 1")
    '--n-fid must be at least 2, got 1'
    """

    def flag(match: re.Match[str]) -> str:
        name = match[1]
        if "." in name:
            return SHORTCUTS.get(name, f"--set {name}")
        return "--" + name.replace("_", "-")

    return ARGUMENT.sub(flag, message)


def overrides(assignments: Sequence[str] | None, shortcuts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Preset keys and their new values, of ``--set key.key=value`` and of the flags that stand for a key.

    Args:
        shortcuts: values by key; None where the flag was not given.

    Raises:
        UserError: an assignment has no ``=`` or no key, or its value begins as YAML and is none.
    """
    from diffcli.config.notation import parse_argument

    changes: dict[str, Any] = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise UserError(f"--set {assignment}: write it as key.key=value, for example training.epochs=5")
        changes.pop(key, None)  # the last one counts, at its place
        changes[key] = parse_argument(text, f"--set {key}")
    return changes | {key: value for key, value in (shortcuts or {}).items() if value is not None}


def batch_size_of(text: str) -> int | Literal["auto"]:
    """What ``--batch-size`` says.

    Raises:
        UserError: it is neither a number nor ``auto``.
    """
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise UserError(f"`batch_size` must be a number or auto, got {text}") from None
