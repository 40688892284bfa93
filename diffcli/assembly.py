"""From a preset to objects: looks each component up in its room's registry and checks its parameters.

The signature of what is registered is the schema: its annotations give the types, its defaults fill the resolved
preset. Parameters that the program supplies itself (the image shape, the beta table) are not a preset's to set.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from pydantic import ConfigDict, ValidationError, create_model
from torch import Tensor

from diffcli.config import Component, Preset, Sampler, explain
from diffcli.data.datasets import DATASETS, Source, image_shape
from diffcli.data.pixels import clip
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation
from diffcli.diffusion.denoiser import PREDICTIONS, Denoiser
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.diffusion.samplers import SAMPLERS, Callback, timesteps
from diffcli.diffusion.schedules import SCHEDULES
from diffcli.errors import UserError, unknown
from diffcli.networks import NETWORKS

T = TypeVar("T")

MAX_PARAMETERS = 1_000_000_000
SAMPLER_ARGUMENTS = ("denoiser", "degradation", "xT", "timesteps", "generators", "callback")
ROOMS: dict[str, tuple[Mapping[str, Callable[..., Any]], tuple[str, ...]]] = {
    "data": (DATASETS, ("data_dir", "download")),
    "schedule": (SCHEDULES, ()),
    "degradation": (DEGRADATIONS, ("betas", "image_shape")),
    "network": (NETWORKS, ("image_shape",)),
    "prior": (PRIORS, ()),
    "sampler": (SAMPLERS, SAMPLER_ARGUMENTS),
}
"""For each room of a preset: its registry, and the parameters that the program supplies."""


def _checked(room: str, component: Component) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The registered callable and its parameters with defaults filled in."""
    registry, supplied = ROOMS[room]
    if component.name not in registry:
        raise UserError(f"{room}.name: {unknown(room, component.name, registry)}")
    function = registry[component.name]
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in supplied
    }
    schema = create_model(room, __config__=ConfigDict(extra="forbid", strict=True), **fields)
    try:
        return function, schema.model_validate(component.parameters).model_dump()
    except ValidationError as error:
        raise UserError(f"{explain(error, room, {'': list(fields)})} ({room} {component.name})") from error


def _call(room: str, component: Component, supplied: Mapping[str, Any]) -> Any:
    function, parameters = _checked(room, component)
    accepted = inspect.signature(function).parameters
    try:
        return function(**parameters, **{key: value for key, value in supplied.items() if key in accepted})
    except ValueError as error:
        raise UserError(f"{room} {component.name}: {error}") from error


def _resolved(room: str, component: T) -> T:
    assert isinstance(component, Component)
    _, parameters = _checked(room, component)
    return component.model_copy(update=parameters)


def resolve(preset: Preset) -> Preset:
    """The preset with every default written out and everything checked that needs no data.

    Raises:
        UserError: a component is unknown, or one of its parameters is unknown, of the wrong type or out of range.
    """
    rooms = {room: _resolved(room, getattr(preset, room)) for room in ROOMS}
    resolved = preset.model_copy(update=rooms)
    if resolved.prediction not in PREDICTIONS:
        raise UserError(f"prediction: {unknown('prediction', resolved.prediction, PREDICTIONS)}")
    degradation = build_degradation(resolved, image_shape_of(resolved))
    _check_network(resolved)
    steps_of(resolved.sampler.steps, degradation)
    _check_sampler(resolved.sampler, degradation)
    _check_prior(resolved.prior, degradation)
    if resolved.training.min_snr is not None and not degradation.stochastic:
        raise UserError(f"training.min_snr needs a degradation with noise; a {_name_of(degradation)} has none")
    return resolved


def _check_network(preset: Preset) -> None:
    # On the meta device nothing is allocated: a network that would fill the memory is refused before it does.
    try:
        with torch.device("meta"):
            network = _call("network", preset.network, {"image_shape": image_shape_of(preset)})
    except (RuntimeError, OverflowError, TypeError) as error:
        raise UserError(f"network {preset.network.name} cannot be built: {str(error).splitlines()[0]}") from error
    parameters = sum(weight.numel() for weight in network.parameters())
    if parameters > MAX_PARAMETERS:
        raise UserError(f"network {preset.network.name} has {parameters:,} parameters, more than {MAX_PARAMETERS:,}")


def _check_sampler(sampler: Component, degradation: Degradation) -> None:
    walks = {name: get_type_hints(function)["degradation"] for name, function in SAMPLERS.items()}
    fitting = [name for name, kind in walks.items() if isinstance(degradation, kind)]
    if sampler.name not in fitting:
        raise UserError(
            f"sampler: {sampler.name} does not walk back from a {_name_of(degradation)}; use {' or '.join(fitting)}"
        )


def _check_prior(prior: Component, degradation: Degradation) -> None:
    # Noise ends in a known distribution, a blur in one that has to be fitted.
    fitting = [name for name, kind in PRIORS.items() if kind.fitted != degradation.stochastic]
    if prior.name not in fitting:
        raise UserError(f"prior: {prior.name} is not where a {_name_of(degradation)} ends; use {' or '.join(fitting)}")


def _name_of(degradation: Degradation) -> str:
    return next(name for name, kind in DEGRADATIONS.items() if type(degradation) is kind)


def steps_of(steps: int | None, degradation: Degradation) -> list[int]:
    """The sampler's time steps.

    Raises:
        UserError: more steps than T.
    """
    try:
        return timesteps(degradation.T, steps)
    except ValueError as error:
        raise UserError(str(error)) from error


def load_source(preset: Preset, data_dir: Path, download: bool = True) -> Source:
    """The preset's data set, whole and in memory.

    Raises:
        UserError: it is not there and cannot be had.
    """
    source: Source = _call("data", preset.data, {"data_dir": data_dir, "download": download})
    return source


def image_shape_of(preset: Preset) -> tuple[int, int, int]:
    """(C, H, W) of a resolved preset's images."""
    return image_shape(preset.data.name, preset.data.parameters)


def build_degradation(preset: Preset, image_shape: tuple[int, int, int]) -> Degradation:
    """The degradation of (C, H, W) images with its schedule's table.

    Raises:
        UserError: the schedule is out of the degradation's range, or the images are too small for it.
    """
    betas: Tensor = _call("schedule", preset.schedule, {})
    degradation: Degradation = _call("degradation", preset.degradation, {"betas": betas, "image_shape": image_shape})
    return degradation


def build_denoiser(preset: Preset, image_shape: tuple[int, int, int]) -> Denoiser:
    """The untrained denoiser for images of (C, H, W).

    Raises:
        UserError: the network cannot take that shape, or the prediction does not fit the degradation.
    """
    network = _call("network", preset.network, {"image_shape": image_shape})
    try:
        return Denoiser(network, build_degradation(preset, image_shape), preset.prediction)
    except ValueError as error:
        raise UserError(f"prediction: {error}") from error


def build_prior(component: Component) -> Prior:
    """Where unconditional sampling starts; to be fitted where it asks for that."""
    prior: Prior = _call("prior", component, {})
    return prior


def candidate_priors(preset: Preset) -> dict[str, Prior]:
    """Every prior that fits the preset's degradation, unfitted, by name; the preset's own with its parameters."""
    fitted = build_prior(preset.prior).fitted
    components = {name: Component(name=name) for name in PRIORS} | {preset.prior.name: preset.prior}
    priors = {name: build_prior(component) for name, component in components.items()}
    return {name: prior for name, prior in priors.items() if prior.fitted == fitted}


def run_sampler(
    component: Sampler,
    denoiser: Denoiser,
    xT: Tensor,
    steps: Sequence[int],
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
) -> Tensor:
    """x_T -> x_0 with the sampler that ``component`` names, (B, C, H, W)."""
    function, parameters = _checked("sampler", component)

    def clipped(xt: Tensor, t: Tensor) -> Tensor:
        return clip(denoiser(xt, t))

    estimate = clipped if component.clip else denoiser
    images: Tensor = function(estimate, denoiser.degradation, xT, steps, generators, callback, **parameters)
    return images
