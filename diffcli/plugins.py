"""Plug-ins: Python files of one's own, and installed packages, that add components to the registries.

Nothing here is loaded on the word of a run folder or a checkpoint: a plug-in runs only because the user named its file or
installed its package.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType

from diffcli.errors import UserError
from diffcli.origins import MODULE_PREFIX, loading
from diffcli.paths import user_path
from diffcli.registry import KINDS

GROUP = "diffcli.plugins"
"""The entry points of installed packages that are plug-ins."""

_files: list[Path] = []
_configured = False


def plugin(file: Path | str) -> ModuleType:
    """Runs a Python file that registers components, and returns it as a module.

    Runs, checkpoints and messages know it by its name without ``.py``. Loaded again, it replaces what it had registered.

    Raises:
        UserError: there is no such file, or it fails; the line names the place.
    """
    path = user_path(file)
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"plug-in {file}: there is no such Python file; name one that ends in .py")
    spec = importlib.util.spec_from_file_location(MODULE_PREFIX + path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # As of a script: what lies beside it can be imported.
    sys.path.insert(0, str(path.parent.absolute()))
    try:
        with loading(path.stem, str(path)):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent.absolute()))
    if path not in _files:
        _files.append(path)
    return module


def load_configured() -> None:
    """Loads the files that ``DIFFCLI_PLUGINS`` names and the plug-ins of installed packages, once.

    Raises:
        UserError: a file is missing or fails. An installed package that fails is told of and left out.
    """
    global _configured
    if _configured:
        return
    _configured = True
    for file in filter(None, os.environ.get("DIFFCLI_PLUGINS", "").split(os.pathsep)):
        plugin(file)
    for point in metadata.entry_points(group=GROUP):
        try:
            with loading(point.name, point.value):
                point.load()
        except UserError as error:
            print(f"warning: left out: {error}", file=sys.stderr)


def files() -> list[Path]:
    """The files of the plug-ins loaded so far."""
    return list(_files)


def check_loaded(needed: Mapping[str, str], where: str) -> None:
    """Checks that the plug-ins which a run or a checkpoint needs are there; none is loaded for that.

    Args:
        needed: see :func:`~diffcli.origins.needed_by`.
        where: what messages call the run or the checkpoint.

    Raises:
        UserError: one is not; the line names it.
    """
    load_configured()
    for component, origin in needed.items():
        kind, _, name = str(component).partition(" ")
        if kind in KINDS and name not in KINDS[kind].registry:
            raise UserError(
                f"{where} needs the {kind} '{name}' of plug-in {origin}, which is not loaded; name its file with `plugin`, if "
                "you trust it"
            )
