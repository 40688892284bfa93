"""Plug-ins: Python files of one's own, and installed packages, that add components to the registries.

Nothing here is loaded on the word of a run folder or a checkpoint: a plug-in runs only because the user named its file
or installed its package.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from itertools import count
from pathlib import Path
from types import ModuleType

from diffcli.config.registry import KINDS, MODULE_PREFIX, Origin, loading
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

GROUP = "diffcli.plugins"
"""The entry points of installed packages that are plug-ins."""

_files: list[Path] = []
_configured = False


def plugin(file: Path | str) -> ModuleType:
    """Runs a Python file that registers components, and returns it as a module.

    Runs, checkpoints and messages know it by its name without ``.py``. Loaded again, it replaces what it had
    registered; what another file of the same name registered stays.

    Raises:
        UserError: there is no such file, it fails, or it registers what another file did; the line names the place.
    """
    path = user_path(file)
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"plug-in {file}: there is no such Python file; name one that ends in .py")
    _check_neighbours(path)
    absolute = Path(os.path.abspath(path))
    spec = importlib.util.spec_from_file_location(_module_name(absolute), absolute)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # As of a script: what lies beside it can be imported.
    sys.path.insert(0, str(absolute.parent))
    try:
        with loading(Origin(path.stem, str(path.resolve())), str(path)):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(absolute.parent))
    if path not in _files:
        _files.append(path)
    return module


def _module_name(file: Path) -> str:
    """Under which a file is imported: another than that of a file of the same name elsewhere."""
    for number in count(1):
        name = MODULE_PREFIX + file.stem + (f"_{number}" if number > 1 else "")
        if name not in sys.modules or sys.modules[name].__file__ == str(file):
            break
    return name


def _check_neighbours(path: Path) -> None:
    """Checks that a file will import the modules beside it, and not those of their names beside another plug-in.

    Raises:
        UserError: Python has one of such a name already.
    """
    folder = path.parent.resolve()
    others = {file.parent.resolve() for file in _files} - {folder}
    nodes: list[ast.AST] = []
    with suppress(SyntaxError, ValueError, OSError):  # told when the file is run
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    for name in sorted({name.split(".")[0] for name in names}):
        has_neighbour = (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()
        module_file = getattr(sys.modules.get(name), "__file__", None)
        if has_neighbour and module_file and {*Path(module_file).resolve().parents} & others:
            raise UserError(
                f"plug-in {path}: it imports '{name}', of which Python has {module_file} already; rename one of the two"
            )


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
            with loading(Origin(point.name, point.value), point.value):
                point.load()
        except UserError as error:
            print(f"warning: left out: {error}", file=sys.stderr)


def files() -> list[Path]:
    """The files of the plug-ins loaded so far."""
    return list(_files)


def check_loaded(requirements: Mapping[str, str], place: str) -> None:
    """Checks that the plug-ins which a run or a checkpoint needs are there; none is loaded for that.

    Args:
        requirements: see :func:`~diffcli.config.registry.needed_by`.
        place: what messages call the run or the checkpoint.

    Raises:
        UserError: one is not; the line names it.
    """
    load_configured()
    for component, origin in requirements.items():
        kind, _, name = str(component).partition(" ")
        if kind in KINDS and name not in KINDS[kind].registry:
            raise UserError(
                f"{place} needs the {kind} '{name}' of plug-in {origin}, which is not loaded; name its file with "
                "`plugin`, if "
                "you trust it"
            )
