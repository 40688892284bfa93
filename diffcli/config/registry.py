"""Components by name: looks each up in the registry of its kind and checks its parameters.

The signature of what is registered is the schema: its annotations give the types, its defaults fill the resolved
preset. Parameters that the program supplies itself (the image shape, the beta table) are not a preset's to set. Of each
component it is known which plug-in it comes from, so that the failures of one are told with their place.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from diffcli.config.schema import Component, Preset, explain
from diffcli.data.datasets import DATASETS
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation
from diffcli.diffusion.noise_levels import NOISE_LEVELS
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.diffusion.samplers import SAMPLERS
from diffcli.diffusion.schedules import SCHEDULES
from diffcli.networks import NETWORKS
from diffcli.utils.errors import DiffcliError, UserError, unknown_name

ComponentType = TypeVar("ComponentType", bound=Callable[..., Any])
AnyComponent = TypeVar("AnyComponent", bound=Component)

NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")


@dataclass(frozen=True)
class Kind:
    """A kind of component in a preset.

    Args:
        registry: its components by name.
        context: parameters that the program supplies, and a preset cannot set.
        base: the class that its components are of; None where they are functions.
    """

    registry: dict[str, Any]
    context: tuple[str, ...] = ()
    base: type | None = None


KINDS = {
    "data": Kind(DATASETS, ("data_dir", "download")),
    "schedule": Kind(SCHEDULES, ("image_shape",)),
    "degradation": Kind(DEGRADATIONS, ("betas", "image_shape"), Degradation),
    "noise": Kind(NOISE_LEVELS, ("T",)),
    "network": Kind(NETWORKS, ("image_shape", "classes", "noise_levels", "T")),
    "prior": Kind(PRIORS, (), Prior),
    "sampler": Kind(SAMPLERS, ("denoiser", "degradation", "xT", "timesteps", "draw")),
}


MODULE_PREFIX = "diffcli_plugin_"
"""The beginning of the names under which the files of plug-ins are imported."""


class Origin(NamedTuple):
    """A plug-in."""

    name: str
    """The name that runs and checkpoints call it by."""
    place: str
    """The file, or the entry point's or the notebook's module: two plug-ins of one name are two."""


_origins: dict[tuple[str, str], Origin] = {}
"""The plug-ins of components, by kind and name."""
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
    """The plug-ins that components, kind -> name, come from: ``{"degradation swirl": "mine"}``."""
    return {f"{kind} {name}": _origins[kind, name].name for kind, name in names.items() if (kind, name) in _origins}


@contextmanager
def loading(origin: Origin, title: str) -> Iterator[None]:
    """Attributes all that is registered inside the block to a plug-in.

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
    """Turns an exception of a plug-in's component in the block into one line that names the file and the line in it.

    Args:
        function: of the component, called in the block; its definition is the place of a failure outside of the
            plug-in's file, such as a call with other arguments than it takes.

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
    """`` (mine.py, line 8)``: the last of an error's places in the file of a plug-in, else where ``function`` is
    defined; else nothing."""
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


def register(kind: str, name: str) -> Callable[[ComponentType], ComponentType]:
    """Adds a component under a name that presets can use; a decorator of a class or function.

    Args:
        kind: "data", "schedule", "degradation", "noise", "network", "prior" or "sampler".
        name: lower-case letters, digits, ``-``, ``+``, ``.`` and ``_``.

    Raises:
        UserError: the kind is unknown, the name is not usable or another's, or what is registered is of another kind.
    """
    if kind not in KINDS:
        raise UserError(unknown_name("kind", kind, KINDS))
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' is no name of a {kind}: write it in lower case, for example my-{kind}")

    def add(component: ComponentType) -> ComponentType:
        entry = KINDS[kind]
        if entry.base is not None and not (inspect.isclass(component) and issubclass(component, entry.base)):
            raise UserError(f"{kind} '{name}' must be a subclass of diffcli.{entry.base.__name__}")
        owner = origin_of(kind, name)
        if name in entry.registry and owner != current(component):
            owner_name = f"of plug-in {owner.place}" if owner else "diffcli's"
            raise UserError(f"{kind} '{name}' is {owner_name} already; give yours another name")
        entry.registry[name] = component
        record(kind, name, component)
        return component

    return add


def components_of(preset: Preset) -> dict[str, str]:
    """The name of a preset's component of each kind."""
    return {kind: component.name for kind in KINDS if (component := getattr(preset, kind)) is not None}


def component_named(kind: str, name: str) -> Callable[..., Any]:
    """The class or function that is registered under a name.

    Raises:
        UserError: nothing is; the line names the nearest known one.
    """
    registry = KINDS[kind].registry
    if name not in registry:
        raise UserError(
            f"{kind}.name: {unknown_name(kind, name, registry)}; that of a plug-in needs its file, named by `plugin`"
        )
    component: Callable[..., Any] = registry[name]
    return component


def asks_for(kind: str, component: Component, parameter: str) -> bool:
    """Whether the component has a parameter of that name."""
    return parameter in inspect.signature(component_named(kind, component.name)).parameters


def _parameters(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """The parameters of a component that a preset may set."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(component_named(kind, name)).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name not in KINDS[kind].context and parameter.kind not in variadic
    }


def required(kind: str, name: str) -> list[str]:
    """The parameters of a component that a preset has to set."""
    return [key for key, parameter in _parameters(kind, name).items() if parameter.default is inspect.Parameter.empty]


@cache
def _schema(kind: str, name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """The model by which pydantic checks a component's parameters; made once, for a preset is checked many times."""
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    fields: dict[str, Any] = {
        key: (hints.get(key, Any), ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for key, parameter in _parameters(kind, name).items()
    }
    return create_model(kind, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def with_defaults(kind: str, component: AnyComponent) -> AnyComponent:
    """The component with every default written out.

    Raises:
        UserError: it is unknown, or one of its parameters is unknown, missing or of the wrong type.
    """
    schema = _schema(kind, component.name, component_named(kind, component.name))
    try:
        parameters = schema.model_validate(component.parameters).model_dump()
    except ValidationError as error:
        raise UserError(f"{explain(error, kind, {'': list(schema.model_fields)})} ({kind} {component.name})") from error
    return component.model_copy(update=parameters)


def build(kind: str, component: Component, context: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Calls what the component names with its parameters, and with those of ``context`` that it asks for.

    Raises:
        UserError: see :func:`with_defaults`; or a parameter is out of its range.
    """
    function, parameters = component_named(kind, component.name), with_defaults(kind, component).parameters
    arguments = inspect.signature(function).parameters
    with of_plugin(kind, component.name):
        try:
            return function(**parameters, **{key: value for key, value in context.items() if key in arguments})
        except ValueError as error:
            raise UserError(f"{kind} {component.name}: {error}") from error
