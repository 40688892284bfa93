"""Which plug-in a component comes from, and what is told of its failures."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffcli.errors import DiffcliError, UserError

MODULE_PREFIX = "diffcli_plugin_"
"""Of the names under which the files of plug-ins are imported."""

_origins: dict[tuple[str, str], str] = {}
"""By kind and name of a component."""
_loading: list[str] = []
"""The plug-in that is being loaded, last."""


def origin_of(kind: str, name: str) -> str | None:
    """The plug-in that registered a component; None of diffcli's own."""
    return _origins.get((kind, name))


def record(kind: str, name: str, component: Callable[..., Any]) -> None:
    """Notes that the plug-in which is being loaded registers a component."""
    _origins[kind, name] = current(component)


def current(component: Callable[..., Any]) -> str:
    """The plug-in that is being loaded; outside of one, the module that defines the component."""
    return _loading[-1] if _loading else str(getattr(component, "__module__", "__main__"))


def needed_by(names: Mapping[str, str]) -> dict[str, str]:
    """Of components, kind -> name, those that come from plug-ins: ``{"degradation swirl": "mine"}``."""
    return {f"{kind} {name}": _origins[kind, name] for kind, name in names.items() if (kind, name) in _origins}


@contextmanager
def loading(name: str, where: str) -> Iterator[None]:
    """What is registered inside the block is the plug-in's.

    Args:
        where: what messages call it.

    Raises:
        UserError: something fails in the block.
    """
    _loading.append(name)
    try:
        yield
    except DiffcliError as error:
        raise UserError(f"plug-in {where}: {error}") from error
    except Exception as error:
        raise UserError(f"plug-in {where} fails: {_told(error)}") from error
    finally:
        _loading.pop()


@contextmanager
def of_plugin(kind: str, name: str) -> Iterator[None]:
    """Where the component is a plug-in's, a failure in the block is told in one line, with its place.

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
        raise UserError(f"{kind} {name} fails: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """An error in one line, with the last of its places that is in the file of a plug-in."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):  # it names its place
        return text
    files = {str(module.__file__) for name, module in sys.modules.items() if name.startswith(MODULE_PREFIX)}
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return text + (f" ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places else "")
