"""Paths as users write them: ``~`` is the home folder, wherever the path comes from."""

from __future__ import annotations

import os
from pathlib import Path

from diffcli.utils.errors import UserError


def user_path(path: Path | str) -> Path:
    """The path that a user means: ``~`` as its first part is the home folder.

    A name that begins with ``~`` is a file's, such as an editor's ``~$letter.docx``; whose home ``~name`` is, a shell
    knows.

    Raises:
        UserError: the home folder is unknown.
    """
    text = os.fspath(path)
    if text.startswith(os.path.join(os.curdir, "~")):
        return Path(text).absolute()  # so that it stays what it is when it is expanded again
    if Path(text).parts[:1] != ("~",):
        return Path(text)
    home = os.path.expanduser(text)
    if home.startswith("~"):
        raise UserError(f"{text}: the home folder is unknown here (HOME is not set); write the path out")
    return Path(home)


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
