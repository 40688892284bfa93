"""Files of NumPy, read without executing anything: what arrays they hold, and these arrays."""

from __future__ import annotations

import math
import os
import tokenize
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy_format

from diffcli.data.array_format import Array
from diffcli.utils.errors import UserError

NAMES_SHOWN = 12
"""A line names at most so many arrays of a file."""
DAMAGE = (
    BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    UnicodeError,
    ValueError,
    tokenize.TokenError,
    zlib.error,
)
"""Errors that a file that is damaged, encrypted or of another kind makes NumPy and zipfile raise."""


class Head(NamedTuple):
    """The header of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{tuple(map(int, self.shape))} {'objects' if self.dtype.hasobject else self.dtype}"


def listing(heads: Mapping[str, Head]) -> str:
    """The arrays of a file with their shapes and types, in words."""
    lines = [f"{name!r:.60} {head}" for name, head in list(heads.items())[:NAMES_SHOWN]]
    more = [f"{len(heads) - NAMES_SHOWN} more"] if len(heads) > NAMES_SHOWN else []
    return ", ".join([*lines, *more]) or "no array"


@contextmanager
def _damage_errors(path: Path, kind: str) -> Iterator[None]:
    """Turns what a file that is not of a kind makes NumPy raise into a line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"data.path: {path} cannot be read: {error.strerror or error}") from error
    except DAMAGE as error:
        raise UserError(f"data.path: {path} is damaged, or no {kind} file; write it again") from error


def npz_heads(path: Path) -> dict[str, Head]:
    """The headers of the arrays in a .npz file, by name.

    Raises:
        UserError: it is not there, no such file, or damaged.
    """
    if not os.path.isfile(path):
        problem = "is a folder" if os.path.isdir(path) else "does not exist"
        hint = "; a folder of .npy files is data {name: npy}" if os.path.isdir(path) else ""
        raise UserError(f"data.path: {path} {problem}; name a .npz file{hint}")
    with _damage_errors(path, ".npz"):
        with path.open("rb") as stream:
            if stream.read(len(npy_format.MAGIC_PREFIX)) == npy_format.MAGIC_PREFIX:
                raise UserError(
                    f"data.path: {path} holds a single array without a name: save it with "
                    "numpy.savez_compressed('data.npz', images=...)"
                )
        heads = {}
        with ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    with archive.open(member) as stream:
                        head = _head(stream)
                    if not head.dtype.hasobject and member.file_size < head.dtype.itemsize * math.prod(head.shape):
                        raise ValueError("the array is not whole")
                    heads[member.filename.removesuffix(".npy")] = head
    return heads


def npy_head(path: Path) -> Head:
    """The header of a .npy file.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    with _damage_errors(path, ".npy"), path.open("rb") as stream:
        head = _head(stream)
        if not head.dtype.hasobject and path.stat().st_size < head.dtype.itemsize * math.prod(head.shape):
            raise ValueError("the array is not whole")
        return head


def _head(stream: IO[bytes]) -> Head:
    version = npy_format.read_magic(stream)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    if version not in readers:
        raise ValueError("the names of its fields are no text in ASCII")
    shape, _, dtype = readers[version](stream)
    return Head(shape, dtype)


def npz_array(path: Path, name: str) -> Array:
    """An array of a .npz file; of objects none is read, which would be executed.

    Raises:
        UserError: it is damaged.
    """
    with _damage_errors(path, ".npz"), np.load(path, allow_pickle=False) as archive:
        array: Array = archive[name]
        return array


def npy_array(path: Path) -> Array:
    """The array of a .npy file; of objects none is read, which would be executed.

    Raises:
        UserError: it is damaged.
    """
    with _damage_errors(path, ".npy"):
        array: Array = np.load(path, allow_pickle=False)
        return array


def check_numbers(head: Head, name: str) -> None:
    """Checks that an array's values are real numbers.

    Raises:
        UserError: they are not.
    """
    if head.dtype.hasobject:
        raise UserError(
            f"data.path: {name} holds Python objects, which are a pickle and not read, for that executes what it "
            "holds; save numbers, numpy.asarray(images, dtype='float32')"
        )
    if head.dtype.kind not in "buif":
        raise UserError(f"data.path: {name} holds {head.dtype}, not real numbers")
