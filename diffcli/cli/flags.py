"""Translates Python's arguments into the command line's flags: messages, and assignments of preset keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from diffcli.training.options import KEYS
from diffcli.utils.errors import UserError

ARGUMENT = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)`")


def flag_of(name: str) -> str:
    """The flag of an argument, or of a preset key.

    >>> flag_of("training.batch_size")
    '--batch-size'
    """
    return "--" + name.rpartition(".")[2].strip("_").replace("_", "-")


def with_flags(message: str) -> str:
    """A message of the library with its arguments as flags.

    >>> with_flags("`n_fid` must be at least 2, got 1")
    '--n-fid must be at least 2, got 1'
    """

    def flag(match: re.Match[str]) -> str:
        name = match[1]
        return f"--set {name}" if "." in name and name not in KEYS else flag_of(name)

    return ARGUMENT.sub(flag, message)


def overrides(
    assignments: Sequence[str] | None,
    shortcuts: Mapping[str, Any] | None = None,
    *,
    command: str = "",
    flags: Collection[str] = (),
) -> dict[str, Any]:
    """Preset keys and their new values, of ``--set key.key=value`` and of the flags that stand for a key.

    Args:
        shortcuts: values by key; None where the flag was not given.
        command: the command's name, for messages.
        flags: its own options, which a key may be taken for.

    Raises:
        UserError: an assignment has no ``=`` or no key, its value begins as YAML and is none, it is beside the flag of
            its key, or its key is an option.
    """
    from diffcli.config.notation import parse_argument

    changes: dict[str, Any] = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        key = key.strip()
        _check_no_option(key, command, flags)
        if not equals or not all(key.split(".")):
            raise UserError(f"--set {assignment}: write it as key.key=value, for example training.epochs=5")
        changes.pop(key, None)  # the last one counts, at its place
        changes[key] = parse_argument(text, f"--set {key}")
    by_flag = {key: value for key, value in (shortcuts or {}).items() if value is not None}
    for key, value in by_flag.items():
        for name in (key, key.partition(".")[0]):
            if name in changes:
                raise UserError(f"{flag_of(key)} {value} and --set {name} both say what {key} is; give one of them")
    return changes | by_flag


def _check_no_option(key: str, command: str, flags: Collection[str]) -> None:
    """Checks that a key of ``--set`` is not meant for an option of the command itself.

    Raises:
        UserError: it has an option's name and no key's.
    """
    from diffcli.config.schema import Preset

    names = [] if key in Preset.model_fields else [flag.strip("-") for flag in flags]
    for near in difflib.get_close_matches(key.replace("_", "-"), names, n=1, cutoff=0.9):
        raise UserError(f"--set {key}: --{near} is an option of diffcli {command}, and no key of a preset")
