"""A cache on disk of what would be computed again: of real images by evaluations, of networks for their engine.

A file is named by a checksum of everything that its numbers depend on, and holds that in full, with a checksum of the
numbers: one that is damaged, or that something else has written, is not used, and is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcli import __version__
from diffcli.utils.errors import DiffcliError, UserError
from diffcli.utils.files import ENTRY, path_in_environment, user_path, write_safetensors, written_whole
from diffcli.utils.hashing import of_tensors, of_text

LIMIT = 1 << 30
"""Bytes of all files; those that were not used for the longest time are removed."""
SUFFIX = ".safetensors"
VALUES = "values"
"""The name of a tensor that is alone."""


def cache_folder() -> Path | None:
    """``DIFFCLI_CACHE``, else ``diffcli`` in the user's folder of caches (XDG Base Directory Specification).

    None where that is not set and the home folder is unknown, as in a container that runs as nobody in particular.

    Raises:
        UserError: ``DIFFCLI_CACHE`` names a home folder that is unknown.
    """
    if folder := path_in_environment("DIFFCLI_CACHE"):
        return folder
    of_user = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(of_user):
        return Path(of_user) / "diffcli"
    with contextlib.suppress(UserError):
        return user_path("~/.cache") / "diffcli"
    return None


class Cache:
    """Tensors by what they depend on, a mapping of plain types.

    A folder that cannot be written or read, and none at all, is as an empty one. Several processes may use it at once.

    Args:
        folder: where caches are; None is :func:`cache_folder`.
        part: the folder in it.
    """

    def __init__(self, folder: Path | None = None, part: str = "evaluation") -> None:
        place = folder or cache_folder()
        self.folder = None if place is None else place / part

    def load(self, key: Mapping[str, Any]) -> Tensor | None:
        """The tensor that was saved for this key; None where there is none, or not a whole one."""
        tensors = self.load_all(key)
        return None if tensors is None else tensors.get(VALUES)

    def load_all(self, key: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The tensors that were saved for this key, by name; None where there are none, or not whole ones."""
        from safetensors import SafetensorError, safe_open

        if self.folder is None:
            return None
        file, description = self._file(self.folder, key), _description(key)
        try:
            with safe_open(file, framework="pt") as content:
                text = (content.metadata() or {}).get(ENTRY)
                tensors = {name: content.get_tensor(name).clone() for name in content.keys()}  # noqa: SIM118 (no mapping)
            if text != _metadata(description, tensors):
                return None
        except (OSError, SafetensorError):
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return tensors

    def save(self, key: Mapping[str, Any], tensor: Tensor) -> None:
        """Keeps a tensor for this key, if the disk allows it."""
        self.save_all(key, {VALUES: tensor})

    def save_all(self, key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Keeps tensors by name for this key, if the disk allows it."""
        if self.folder is None:
            return
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        with contextlib.suppress(OSError, DiffcliError):
            with written_whole(self._file(self.folder, key)) as part:
                write_safetensors(part, tensors, _metadata(_description(key), tensors))
            self._shrink(self.folder)

    @staticmethod
    def _file(folder: Path, key: Mapping[str, Any]) -> Path:
        return folder / (of_text(_description(key)) + SUFFIX)

    @staticmethod
    def _shrink(folder: Path) -> None:
        status = {file: file.stat() for file in folder.glob(f"*{SUFFIX}")}
        size = 0
        for file in sorted(status, key=lambda file: -status[file].st_mtime):
            size += status[file].st_size
            if size > LIMIT:
                file.unlink(missing_ok=True)


def _description(key: Mapping[str, Any]) -> str:
    """The key as text, with what decides how numbers are computed besides it."""
    return json.dumps({**key, "diffcli": __version__, "torch": torch.__version__}, sort_keys=True)


def _metadata(description: str, tensors: Mapping[str, Tensor]) -> str:
    """The metadata of a file: its key, and a checksum of its tensors."""
    return json.dumps({"key": description, "checksum": of_tensors(tensors)})
