"""Former names of attributes and options: each works for one more minor version, and a warning says the name of
today."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from diffcli.utils.errors import UserError


def warn(former: str, name: str, until: str) -> None:
    """Warns, as of the line outside of diffcli that used it, that ``former`` is called ``name`` today."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "diffcli":
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"`{former}` is called `{name}` now; the former name goes in version {until}",
        DeprecationWarning,
        stacklevel=level,
    )


class FormerAttribute:
    """An attribute of a class under its former name; methods and properties, too.

    Args:
        name: today's.
        until: the version that has the former name no more.
    """

    def __init__(self, name: str, *, until: str) -> None:
        self.name, self.until = name, until

    def __set_name__(self, owner: type, former: str) -> None:
        self.former = former

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        warn(f"{owner.__name__}.{self.former}", f"{owner.__name__}.{self.name}", self.until)
        return getattr(instance, self.name)


@dataclass(frozen=True)
class FormerOption:
    """The former name of an option, as an argument in Python; its flag is made of it.

    Args:
        until: the version that has it no more.
    """

    name: str
    until: str


def todays_arguments(kind: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an options class under today's names, with a warning for each former one.

    Raises:
        UserError: an argument has both names.
    """
    today = dict(arguments)
    for one in fields(kind):
        former = one.metadata["flag"].former if "flag" in one.metadata else None
        if former is not None and former.name in today:
            if one.name in today:
                raise UserError(f"`{former.name}` is called `{one.name}` now; give `{one.name}` alone")
            warn(former.name, one.name, former.until)
            today[one.name] = today.pop(former.name)
    return today
