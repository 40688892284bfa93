"""Plug-ins: Python files of one's own, and installed packages, that add components to the registries.

Nothing here is loaded on the word of a run folder or a checkpoint: a plug-in runs only because the user named its file or
installed its package.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from diffcli.errors import DiffcliError, UserError, unknown

Registered = TypeVar("Registered", bound=Callable[..., Any])

GROUP = "diffcli.plugins"
"""The entry points of installed packages that are plug-ins."""
NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")

_origins: dict[tuple[str, str], str] = {}
"""By kind and name, the plug-in that registered a component."""
_files: list[Path] = []
_loading: list[str] = []
_configured = False


def register(kind: str, name: str) -> Callable[[Registered], Registered]:
    """Adds a component under a name that presets can use; a decorator of a class or function.

    Args:
        kind: "data", "schedule", "degradation", "noise", "network", "prior" or "sampler".
        name: lower-case letters, digits, ``-``, ``+``, ``.`` and ``_``.

    Raises:
        UserError: the kind is unknown, the name is not usable or another's, or what is registered is of another kind.
    """
    from diffcli.registry import KINDS

    if kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' is no name of a {kind}: write it in lower case, for example my-{kind}")

    def add(component: Registered) -> Registered:
        entry = KINDS[kind]
        if entry.base is not None and not (inspect.isclass(component) and issubclass(component, entry.base)):
            raise UserError(f"{kind} '{name}' must be a subclass of diffcli.{entry.base.__name__}")
        origin = _loading[-1] if _loading else str(getattr(component, "__module__", "__main__"))
        owner = _origins.get((kind, name), "diffcli")
        if name in entry.registry and owner != origin:
            raise UserError(f"{kind} '{name}' is {owner}'s already; give yours another name")
        entry.registry[name] = component
        _origins[kind, name] = origin
        return component

    return add


def plugin(file: Path | str) -> ModuleType:
    """Runs a Python file that registers components, and returns it as a module.

    Runs, checkpoints and messages know it by its name without ``.py``. Loaded again, it replaces what it had registered.

    Raises:
        UserError: there is no such file, or it fails; the line names the place.
    """
    path = Path(os.path.expanduser(file))
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"plug-in {file}: there is no such Python file; name one that ends in .py")
    spec = importlib.util.spec_from_file_location(f"diffcli_plugin_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # As of a script: what lies beside it can be imported.
    sys.path.insert(0, str(path.parent.absolute()))
    try:
        with _from(path.stem, str(path)):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent.absolute()))
    if path not in _files:
        _files.append(path)
    return module


@contextmanager
def _from(name: str, where: str) -> Iterator[None]:
    """What is registered inside the block is the plug-in's; what fails there is told in one line."""
    _loading.append(name)
    try:
        yield
    except DiffcliError as error:
        raise UserError(f"plug-in {where}: {error}") from error
    except Exception as error:
        raise UserError(f"plug-in {where} fails: {told(error)}") from error
    finally:
        _loading.pop()


def told(error: BaseException) -> str:
    """An error of somebody's code in one line, with the last of its places that is not diffcli's or a library's."""
    message = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {message}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _sources()]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"


def _sources() -> set[str]:
    modules = [module for name, module in sys.modules.items() if name.startswith("diffcli_plugin_")]
    return {str(module.__file__) for module in modules}


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
            with _from(point.name, point.value):
                point.load()
        except UserError as error:
            print(f"warning: left out: {error}", file=sys.stderr)


def files() -> list[Path]:
    """The files of the plug-ins loaded so far."""
    return list(_files)


def is_plugins(kind: str, name: str) -> bool:
    """Whether a component comes from a plug-in."""
    return (kind, name) in _origins


def needed_by(names: Mapping[str, str]) -> dict[str, str]:
    """Of components, kind -> name, those that come from plug-ins: ``{"degradation swirl": "mine"}``."""
    return {f"{kind} {name}": _origins[kind, name] for kind, name in names.items() if (kind, name) in _origins}


def check_loaded(needed: Mapping[str, str], where: str) -> None:
    """Checks that the plug-ins which a run or a checkpoint needs are there; none is loaded for that.

    Args:
        needed: see :func:`needed_by`.
        where: what messages call the run or the checkpoint.

    Raises:
        UserError: one is not; the line names it.
    """
    from diffcli.registry import KINDS

    load_configured()
    for component, origin in needed.items():
        kind, _, name = str(component).partition(" ")
        if kind in KINDS and name not in KINDS[kind].registry:
            raise UserError(
                f"{where} needs the {kind} '{name}' of plug-in {origin}, which is not loaded; name its file with `plugin`, if "
                "you trust it"
            )
