"""Components by name: looks each up in the registry of its kind and checks its parameters.

The signature of what is registered is the schema: its annotations give the types, its defaults fill the resolved
preset. Parameters that the program supplies itself (the image shape, the beta table) are not a preset's to set.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from diffcli.config import Component, explain
from diffcli.data.datasets import DATASETS
from diffcli.diffusion.degradations import DEGRADATIONS
from diffcli.diffusion.noise_levels import NOISE_LEVELS
from diffcli.diffusion.priors import PRIORS
from diffcli.diffusion.samplers import SAMPLERS
from diffcli.diffusion.schedules import SCHEDULES
from diffcli.errors import UserError, unknown
from diffcli.networks import NETWORKS

AnyComponent = TypeVar("AnyComponent", bound=Component)

KINDS: dict[str, tuple[Mapping[str, Callable[..., Any]], tuple[str, ...]]] = {
    "data": (DATASETS, ("data_dir", "download")),
    "schedule": (SCHEDULES, ()),
    "degradation": (DEGRADATIONS, ("betas", "image_shape")),
    "noise": (NOISE_LEVELS, ("T",)),
    "network": (NETWORKS, ("image_shape", "classes")),
    "prior": (PRIORS, ()),
    "sampler": (SAMPLERS, ("denoiser", "degradation", "xT", "timesteps", "draw")),
}
"""For each kind of component in a preset: its registry, and the parameters that the program supplies."""


def registered(kind: str, name: str) -> Callable[..., Any]:
    """What is registered under a name.

    Raises:
        UserError: nothing is; the line names the nearest known one.
    """
    registry, _ = KINDS[kind]
    if name not in registry:
        raise UserError(f"{kind}.name: {unknown(kind, name, registry)}")
    return registry[name]


def asks_for(kind: str, component: Component, parameter: str) -> bool:
    """Whether the component has a parameter of that name."""
    return parameter in inspect.signature(registered(kind, component.name)).parameters


def checked(kind: str, component: Component) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The registered callable and its parameters with defaults filled in.

    Raises:
        UserError: the component is unknown, or one of its parameters is unknown, missing or of the wrong type.
    """
    function = registered(kind, component.name)
    _, supplied = KINDS[kind]
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in supplied
    }
    schema = create_model(kind, __config__=ConfigDict(extra="forbid", strict=True), **fields)
    try:
        return function, schema.model_validate(component.parameters).model_dump()
    except ValidationError as error:
        raise UserError(f"{explain(error, kind, {'': list(fields)})} ({kind} {component.name})") from error


def build(kind: str, component: Component, supplied: Mapping[str, Any]) -> Any:
    """Calls what the component names with its parameters, and with those of ``supplied`` that it asks for.

    Raises:
        UserError: see :func:`checked`; or a parameter is out of its range.
    """
    function, parameters = checked(kind, component)
    accepted = inspect.signature(function).parameters
    try:
        return function(**parameters, **{key: value for key, value in supplied.items() if key in accepted})
    except ValueError as error:
        raise UserError(f"{kind} {component.name}: {error}") from error


def resolved(kind: str, component: AnyComponent) -> AnyComponent:
    """The component with every default written out.

    Raises:
        UserError: see :func:`checked`.
    """
    _, parameters = checked(kind, component)
    return component.model_copy(update=parameters)
