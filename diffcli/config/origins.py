"""Which plug-in a component comes from, and what is told of its failures."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from diffcli.utils.errors import DiffcliError, UserError

MODULE_PREFIX = "diffcli_plugin_"
"""Of the names under which the files of plug-ins are imported."""


class Origin(NamedTuple):
    """A plug-in."""

    name: str
    """What runs and checkpoints call it."""
    where: str
    """The file, or the entry point's or the notebook's module: two plug-ins of one name are two."""


_origins: dict[tuple[str, str], Origin] = {}
"""By kind and name of a component."""
_loading: list[Origin] = []
"""The plug-in that is being loaded, last."""


def origin_of(kind: str, name: str) -> Origin | None:
    """The plug-in that registered a component; None of diffcli's own."""
    return _origins.get((kind, name))


def record(kind: str, name: str, component: Callable[..., Any]) -> None:
    """Notes that the plug-in which is being loaded registers a component."""
    _origins[kind, name] = current(component)


def current(component: Callable[..., Any]) -> Origin:
    """The plug-in that is being loaded; outside of one, the module that defines the component."""
    module = str(getattr(component, "__module__", "__main__"))
    return _loading[-1] if _loading else Origin(module, module)


def needed_by(names: Mapping[str, str]) -> dict[str, str]:
    """Of components, kind -> name, those that come from plug-ins: ``{"degradation swirl": "mine"}``."""
    return {f"{kind} {name}": _origins[kind, name].name for kind, name in names.items() if (kind, name) in _origins}


@contextmanager
def loading(origin: Origin, title: str) -> Iterator[None]:
    """What is registered inside the block is the plug-in's.

    Args:
        title: what messages call it.

    Raises:
        UserError: something fails in the block.
    """
    _loading.append(origin)
    try:
        yield
    except DiffcliError as error:
        raise UserError(f"plug-in {title}: {error}") from error
    except Exception as error:
        raise UserError(f"plug-in {title} fails: {_in_a_line(error)}") from error
    finally:
        _loading.pop()


@contextmanager
def of_plugin(kind: str, name: str, function: Callable[..., Any] | None = None) -> Iterator[None]:
    """Where the component is a plug-in's, a failure in the block is told in one line, with its place.

    Args:
        function: of the component, called in the block; its definition is the place of a failure outside of the plug-in's file,
            such as a call with other arguments than it takes.

    Raises:
        UserError: something fails.
    """
    try:
        yield
    except DiffcliError:
        raise
    except Exception as error:
        if origin_of(kind, name) is None:
            raise
        raise UserError(f"{kind} {name} fails: {_in_a_line(error, function)}") from error


def failure_of_plugin(error: BaseException) -> str | None:
    """A failure inside of a plug-in's file, in one line with its place; None where it is none."""
    places = _places(error)
    return f"plug-in {Path(places[-1][0]).stem} fails: {_in_a_line(error)}" if places else None


def place_of(error: BaseException, function: Callable[..., Any] | None = None) -> str:
    """`` (mine.py, line 8)``: the last of an error's places in the file of a plug-in, else where ``function`` is defined; else
    nothing."""
    places = _places(error)
    code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
    if not places and code is not None and code.co_filename in _files():
        places = [(code.co_filename, code.co_firstlineno)]
    return f" ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else ""


def _places(error: BaseException) -> list[tuple[str, int | None]]:
    files = _files()
    frames = traceback.extract_tb(error.__traceback__)
    return [(frame.filename, frame.lineno) for frame in frames if frame.filename in files]


def _files() -> set[str]:
    return {str(module.__file__) for name, module in sys.modules.items() if name.startswith(MODULE_PREFIX)}


def _in_a_line(error: BaseException, function: Callable[..., Any] | None = None) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if isinstance(error, SyntaxError) else text + place_of(error, function)  # a SyntaxError names its place
