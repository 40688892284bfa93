"""Between Python's arguments and the command line's flags: messages, and assignments of preset keys."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from diffcli.utils.errors import UserError

SHORTCUTS = {
    "training.epochs": "--epochs",
    "training.max_time": "--max-time",
    "training.batch_size": "--batch-size",
    "training.lr": "--lr",
    "training.seed": "--seed",
    "training.precision": "--precision",
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


def overrides(
    assignments: Sequence[str] | None,
    shortcuts: Mapping[str, Any] | None = None,
    *,
    command: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Preset keys and their new values, of ``--set key.key=value`` and of the flags that stand for a key.

    Args:
        shortcuts: values by key of :data:`SHORTCUTS`; None where the flag was not given.
        command: the function of the command, whose own options a key may be taken for.

    Raises:
        UserError: an assignment has no ``=`` or no key, its value begins as YAML and is none, it is beside the flag of its key,
            or its key is an option.
    """
    from diffcli.config.notation import parse_argument

    changes: dict[str, Any] = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        key = key.strip()
        _check_no_option(key, command)
        if not equals or not all(key.split(".")):
            raise UserError(f"--set {assignment}: write it as key.key=value, for example training.epochs=5")
        changes.pop(key, None)  # the last one counts, at its place
        changes[key] = parse_argument(text, f"--set {key}")
    flags = {key: value for key, value in (shortcuts or {}).items() if value is not None}
    for key, value in flags.items():
        for both in (key, key.partition(".")[0]):
            if both in changes:
                raise UserError(f"{SHORTCUTS[key]} {value} and --set {both} both say what {key} is; give one of them")
    return changes | flags


def _check_no_option(key: str, command: Callable[..., Any] | None) -> None:
    """Checks that a key of ``--set`` is not meant for an option of the command itself.

    Raises:
        UserError: it has an option's name and no key's.
    """
    from diffcli.config.schema import Preset

    if command is None or key in Preset.model_fields:
        return
    options = [name.strip("_").replace("_", "-") for name in inspect.signature(command).parameters]
    for near in difflib.get_close_matches(key.replace("_", "-"), options, n=1, cutoff=0.9):
        name = command.__name__.replace("_", "-")
        raise UserError(f"--set {key}: --{near} is an option of diffcli {name}, and no key of a preset")


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
