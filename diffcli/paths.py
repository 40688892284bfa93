"""Paths as users write them: ``~`` is the home folder, wherever the path comes from."""

from __future__ import annotations

import os
from pathlib import Path

from diffcli.errors import UserError


def user_path(path: Path | str) -> Path:
    """The path that a user means: ``~`` at its beginning is the home folder, ``~name`` that of another user.

    A file's own name may begin with ``~``, too: such a path is absolute here, so that it stays what it is when it is expanded
    again.

    Raises:
        UserError: the home folder is unknown, or nobody has that name.
    """
    text = os.fspath(path)
    if text.startswith(os.path.join(os.curdir, "~")):
        return Path(text).absolute()
    if not text.startswith("~"):
        return Path(text)
    home = os.path.expanduser(text)
    if not home.startswith("~"):
        return Path(home)
    name = Path(text).parts[0][1:]
    if name and os.path.lexists(text):
        return Path(text).absolute()
    reason = (
        f"no user is called {name}; write ./{text} for a name that begins so"
        if name
        else "the home folder is unknown here (HOME is not set); write the path out"
    )
    raise UserError(f"{text}: {reason}")


def path_at(path: Path | str, place: str) -> Path:
    """As :func:`user_path`, of a path that stands in a place.

    Raises:
        UserError: see there; the line begins with ``place``.
    """
    try:
        return user_path(path)
    except UserError as error:
        raise UserError(f"{place} {error}") from None


def path_in_environment(name: str) -> Path | None:
    """The path that an environment variable holds; None where it is not set or empty.

    Raises:
        UserError: see :func:`user_path`; the line names the variable.
    """
    text = os.environ.get(name)
    return path_at(text, f"{name}:") if text else None


def expand_fields(options: object, *names: str) -> None:
    """Makes the paths in these fields of a frozen dataclass those that the user means; None stays None.

    Raises:
        UserError: see :func:`user_path`; the line names the field.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None:
            object.__setattr__(options, name, path_at(value, f"`{name}`"))
