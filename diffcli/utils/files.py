"""Paths as users write them, ``~`` for the home folder; files and folders that are written whole or not at all."""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.utils.errors import RunError, UserError

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = "diffcli"
"""The one entry of the metadata of our safetensors files, JSON: several come in random order, so that no two files are
alike."""


def user_path(path: Path | str, place: str = "") -> Path:
    """The path that a user means: ``~`` as its first part is the home folder.

    A name that begins with ``~`` is a file's, such as an editor's ``~$letter.docx``; whose home ``~name`` is, a shell
    knows.

    Args:
        place: where the path stands, for messages.

    Raises:
        UserError: the home folder is unknown; the line begins with ``place``.
    """
    text = os.fspath(path)
    if text.startswith(os.path.join(os.curdir, "~")):
        return Path(text).absolute()  # so that it stays what it is when it is expanded again
    if Path(text).parts[:1] != ("~",):
        return Path(text)
    home = os.path.expanduser(text)
    if home.startswith("~"):
        subject = f"{place} {text}" if place else text
        raise UserError(f"{subject}: the home folder is unknown here (HOME is not set); write the path out")
    return Path(home)


def path_in_environment(name: str) -> Path | None:
    """The path that an environment variable holds; None where it is not set or empty.

    Raises:
        UserError: see :func:`user_path`; the line names the variable.
    """
    text = os.environ.get(name)
    return user_path(text, f"{name}:") if text else None


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    Of several commands that write one file at once the last wins.

    Raises:
        UserError: the folder of ``path`` cannot be made or written.
        RunError: ``path`` has become a folder that is not empty, or is of another kind; the line says what the
            result is called instead.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=writable_folder(path.parent)) as scratch:
        part = Path(scratch) / path.name
        yield part
        try:
            part.replace(path)
        except OSError as error:
            if not path.exists():
                raise
            names = (path.with_stem(f"{path.stem}-{count}") for count in itertools.count(2))
            other = part.replace(next(name for name in names if not name.exists()))
            raise RunError(f"{path} was made by another command meanwhile; what this one made is in {other}") from error


def writable_folder(folder: Path) -> Path:
    """``folder``, made where missing.

    Raises:
        UserError: it cannot be made, or nothing can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}; name another place") from error


def json_text(value: Any, indent: int | None = 2) -> str:
    """``value`` as JSON. That knows neither NaN nor infinity, which most programs refuse to read: they become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """``value`` as indented JSON, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json_text(value) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file holds; empty where the file is missing, damaged or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], text: str, *, entry: str = ENTRY) -> None:
    """Tensors that share no memory, and a text in the metadata, as a safetensors file: the same bytes each time.

    Args:
        entry: of the metadata that holds the text; other programs look for others.
    """
    from safetensors.torch import save

    path.write_bytes(save(dict(tensors), {entry: text}))


def separate_names(names: Sequence[str]) -> list[str]:
    """The names, with ``-2``, ``-3``, ... after those that are there already, so that each file gets one of its own.

    The first of equal names keeps it, and no number makes a name that another has. Names are equal that some file
    system takes for one: of another case, or of another Unicode form.

    >>> separate_names(["a", "a", "a-2"])
    ['a', 'a-3', 'a-2']
    """

    def fold(name: str) -> str:
        return unicodedata.normalize("NFC", name.casefold())

    folded_names = {fold(name) for name in names}
    names_so_far: set[str] = set()
    last: dict[str, int] = {}
    separate = []
    for name in names:
        candidate, number = name, last.get(fold(name), 1)
        while fold(candidate) in names_so_far or (candidate != name and fold(candidate) in folded_names):
            number += 1
            candidate = f"{name}-{number}"
        last[fold(name)] = number
        names_so_far.add(fold(candidate))
        separate.append(candidate)
    return separate


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file that is there, by whatever names."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def check_beside(out: Path, others: Sequence[Path], argument: str) -> None:
    """Refuses to write companion files, whose names nobody gave, over existing ones when ``out`` itself does not exist
    yet.

    Raises:
        UserError: one of ``others`` exists and ``out`` does not, so they are not from an earlier time.
    """
    for other in others:
        if other.exists() and not out.exists():
            raise UserError(f"`{argument}` {out}: {other}, which is written with it, is there already; name another")


def check_output(out: Path | str, suffixes: tuple[str, ...], argument: str) -> Path:
    """The path ``out``, once it is sure that it can be written, before hours are spent on what goes there.

    Args:
        suffixes: those that it may have; '' is a folder.
        argument: what the caller calls ``out``.

    Raises:
        UserError: the extension is unknown, the place cannot be written, or the folder is not empty.
    """
    out = user_path(out)
    kinds = ", ".join(suffix or "a folder (no extension)" for suffix in suffixes)
    if out.suffix.lower() not in suffixes:
        raise UserError(f"`{argument}` {out}: unknown extension '{out.suffix}'; use {kinds}")
    if out.suffix and out.is_dir():
        raise UserError(f"`{argument}` {out} is a folder; name a file")
    if not out.suffix and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"`{argument}` {out} is not an empty folder; name a new one")
    ancestor = next(folder for folder in out.absolute().parents if folder.exists())
    writable_folder(ancestor)
    return out


def output_of(*suffixes: str) -> Callable[[str, Path], Path]:
    """The check of an option that a file of one of these kinds can be written there: see :func:`check_output`."""
    return lambda name, path: check_output(path, suffixes, name)
