"""Components by name: looks each up in the registry of its kind and checks its parameters.

The signature of what is registered is the schema: its annotations give the types, its defaults fill the resolved
preset. Parameters that the program supplies itself (the image shape, the beta table) are not a preset's to set.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from diffcli.config.origins import current, of_plugin, origin_of, record
from diffcli.config.schema import Component, Preset, explain
from diffcli.data.datasets import DATASETS
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation
from diffcli.diffusion.noise_levels import NOISE_LEVELS
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.diffusion.samplers import SAMPLERS
from diffcli.diffusion.schedules import SCHEDULES
from diffcli.networks import NETWORKS
from diffcli.utils.errors import UserError, unknown

Registered = TypeVar("Registered", bound=Callable[..., Any])
AnyComponent = TypeVar("AnyComponent", bound=Component)

NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")


@dataclass(frozen=True)
class Kind:
    """A kind of component in a preset.

    Args:
        registry: its components by name.
        supplied: parameters that the program supplies, and a preset cannot set.
        base: the class that its components are of; None where they are functions.
    """

    registry: dict[str, Any]
    supplied: tuple[str, ...] = ()
    base: type | None = None


KINDS = {
    "data": Kind(DATASETS, ("data_dir", "download")),
    "schedule": Kind(SCHEDULES),
    "degradation": Kind(DEGRADATIONS, ("betas", "image_shape"), Degradation),
    "noise": Kind(NOISE_LEVELS, ("T",)),
    "network": Kind(NETWORKS, ("image_shape", "classes")),
    "prior": Kind(PRIORS, (), Prior),
    "sampler": Kind(SAMPLERS, ("denoiser", "degradation", "xT", "timesteps", "draw")),
}


def register(kind: str, name: str) -> Callable[[Registered], Registered]:
    """Adds a component under a name that presets can use; a decorator of a class or function.

    Args:
        kind: "data", "schedule", "degradation", "noise", "network", "prior" or "sampler".
        name: lower-case letters, digits, ``-``, ``+``, ``.`` and ``_``.

    Raises:
        UserError: the kind is unknown, the name is not usable or another's, or what is registered is of another kind.
    """
    if kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' is no name of a {kind}: write it in lower case, for example my-{kind}")

    def add(component: Registered) -> Registered:
        entry = KINDS[kind]
        if entry.base is not None and not (inspect.isclass(component) and issubclass(component, entry.base)):
            raise UserError(f"{kind} '{name}' must be a subclass of diffcli.{entry.base.__name__}")
        owner = origin_of(kind, name)
        if name in entry.registry and owner != current(component):
            whose = f"of plug-in {owner.where}" if owner else "diffcli's"
            raise UserError(f"{kind} '{name}' is {whose} already; give yours another name")
        entry.registry[name] = component
        record(kind, name, component)
        return component

    return add


def components_of(preset: Preset) -> dict[str, str]:
    """The name of a preset's component of each kind."""
    return {kind: component.name for kind in KINDS if (component := getattr(preset, kind)) is not None}


def registered(kind: str, name: str) -> Callable[..., Any]:
    """What is registered under a name.

    Raises:
        UserError: nothing is; the line names the nearest known one.
    """
    registry = KINDS[kind].registry
    if name not in registry:
        raise UserError(
            f"{kind}.name: {unknown(kind, name, registry)}; that of a plug-in needs its file, named by `plugin`"
        )
    found: Callable[..., Any] = registry[name]
    return found


def asks_for(kind: str, component: Component, parameter: str) -> bool:
    """Whether the component has a parameter of that name."""
    return parameter in inspect.signature(registered(kind, component.name)).parameters


def _parameters(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """What a preset may set of a component."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(registered(kind, name)).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name not in KINDS[kind].supplied and parameter.kind not in variadic
    }


def required(kind: str, name: str) -> list[str]:
    """The parameters of a component that a preset has to set."""
    return [key for key, parameter in _parameters(kind, name).items() if parameter.default is inspect.Parameter.empty]


@cache
def _schema(kind: str, name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """What pydantic checks a component's parameters by; made once, for a preset is checked many times."""
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    fields: dict[str, Any] = {
        key: (hints.get(key, Any), ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for key, parameter in _parameters(kind, name).items()
    }
    return create_model(kind, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def checked(kind: str, component: Component) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The registered callable and its parameters with defaults filled in.

    Raises:
        UserError: the component is unknown, or one of its parameters is unknown, missing or of the wrong type.
    """
    function = registered(kind, component.name)
    schema = _schema(kind, component.name, function)
    try:
        return function, schema.model_validate(component.parameters).model_dump()
    except ValidationError as error:
        raise UserError(f"{explain(error, kind, {'': list(schema.model_fields)})} ({kind} {component.name})") from error


def build(kind: str, component: Component, supplied: Mapping[str, Any]) -> Any:
    """Calls what the component names with its parameters, and with those of ``supplied`` that it asks for.

    Raises:
        UserError: see :func:`checked`; or a parameter is out of its range.
    """
    function, parameters = checked(kind, component)
    accepted = inspect.signature(function).parameters
    with of_plugin(kind, component.name):
        try:
            return function(**parameters, **{key: value for key, value in supplied.items() if key in accepted})
        except ValueError as error:
            raise UserError(f"{kind} {component.name}: {error}") from error


def with_defaults(kind: str, component: AnyComponent) -> AnyComponent:
    """The component with every default written out.

    Raises:
        UserError: see :func:`checked`.
    """
    _, parameters = checked(kind, component)
    return component.model_copy(update=parameters)
