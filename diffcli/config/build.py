"""Makes the objects that a preset names, and checks that its components fit each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_type_hints

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from diffcli.config.plugins import load_configured
from diffcli.config.registry import (
    KINDS,
    asks_for,
    build,
    component_named,
    of_plugin,
    origin_of,
    place_of,
    required,
    with_defaults,
)
from diffcli.config.schema import Component, Preset, Sampler
from diffcli.data.datasets import ImageSet, Source, split
from diffcli.data.sources import check_source, class_names, default_data_dir, image_shape, renumber_labels
from diffcli.diffusion.degradations import Degradation, check_basics
from diffcli.diffusion.degradations.base import check_tables
from diffcli.diffusion.denoiser import INPUTS, PREDICTIONS, Denoiser, misfits
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.diffusion.samplers import SAMPLERS, Draw, Step, spaced_timesteps
from diffcli.diffusion.times import TIME_DISTRIBUTIONS
from diffcli.networks import NETWORKS
from diffcli.utils.errors import DiffcliError, UserError, unknown_name
from diffcli.utils.files import user_path

MAX_PARAMETERS = 1_000_000_000

SamplerFunction = Callable[[X0Function, Degradation, Tensor, Sequence[int], Draw], Iterator[Step]]
"""(denoiser, degradation, xT, timesteps, draw) -> its steps: a sampler with its parameters."""


@dataclass(frozen=True, eq=False)
class ResolvedPreset:
    """A preset with every default written out and everything checked that needs no data; :func:`resolve` makes one.

    Args:
        image_shape: (C, H, W).
        degradation: of such images, with its schedule's table and the preset's noise.
    """

    preset: Preset
    image_shape: tuple[int, int, int]
    degradation: Degradation


def resolve(preset: Preset, *, network: bool = True) -> ResolvedPreset:
    """The preset with every default, checked, and the degradation that it names.

    Args:
        network: also checks the network, which takes most of the time; one that is built right away is checked then.

    Raises:
        UserError: a component is unknown or does not fit the others, or a parameter is unknown, of the wrong type or
            out of range.
    """
    load_configured()
    components = {
        kind: with_defaults(kind, component) for kind in KINDS if (component := getattr(preset, kind)) is not None
    }
    preset = preset.model_copy(update=components)
    if (of_files := getattr(component_named("data", preset.data.name), "completed", None)) is not None:
        parameters = of_files(preset.data.parameters)
        preset = preset.model_copy(update={"data": preset.data.model_copy(update=dict(parameters))})
    if (names := class_names(component_named("data", preset.data.name), preset.data.parameters)) is not None:
        preset = with_classes(preset, names)
    if preset.prediction not in PREDICTIONS:
        raise UserError(f"prediction: {unknown_name('prediction', preset.prediction, PREDICTIONS)}")
    if preset.input not in INPUTS:
        raise UserError(f"input: {unknown_name('input', preset.input, INPUTS)}")
    training = preset.training
    if training.t_distribution not in TIME_DISTRIBUTIONS:
        problem = unknown_name("distribution", training.t_distribution, TIME_DISTRIBUTIONS)
        raise UserError(f"training.t_distribution: {problem}")
    degradation = build_degradation(preset)
    if preset.measurement_noise is not None:
        _check_measurement_noise(preset)
    if network:
        _check_network(preset, degradation)
    for key, reason in misfits(preset.prediction, preset.input, degradation).items():
        raise UserError(f"{key}: {reason}")
    resolve_sampler(preset.sampler, preset, degradation)
    resolve_prior(preset.prior, degradation)
    weights = [key for key in ("loss", "min_snr") if getattr(training, key) is not None]
    if training.loss is not None and training.loss not in PREDICTIONS:
        raise UserError(f"training.loss: {unknown_name('prediction', training.loss, PREDICTIONS)}")
    if len(weights) > 1:
        raise UserError("training.loss and training.min_snr are two weights of the loss; leave one out")
    if weights and degradation.snr(torch.ones(1, dtype=torch.int64)) is None:
        raise UserError(
            f"training.{weights[0]} needs a degradation with one ratio of signal to noise at each t; "
            f"{degradation.name} has none"
        )
    return ResolvedPreset(preset, degradation.image_shape, degradation)


def resolve_sampler(sampler: Sampler, preset: Preset, degradation: Degradation) -> Sampler:
    """A sampler with every default, checked against a preset and its degradation.

    Raises:
        UserError: it does not fit, or a parameter is unknown, of the wrong type or out of range.
    """
    sampler = with_defaults("sampler", sampler)
    path_of(sampler, degradation)
    choices = samplers_for(degradation)
    if sampler.name not in choices:
        raise UserError(f"sampler: {sampler.name} does not undo a {degradation.name}; use {' or '.join(choices)}")
    if sampler.name == "cold" and sampler.parameters.get("eta") and not degradation.stochastic:
        raise UserError(
            f"sampler: eta draws noise anew, and a {degradation.name} has none; add noise, or leave eta out"
        )
    if sampler.guidance != 1 and preset.labels is None:
        raise UserError("sampler.guidance needs a model with labels; add 'labels: {}' to the preset")
    if sampler.autoguidance != 1 and preset.training.guide_at is None:
        raise UserError("sampler.autoguidance needs an early average; set training.guide_at, for example to 0.1")
    low, high = sampler.guided_t
    if low >= high:
        raise UserError(f"sampler.guided_t is an interval of t/T, its lower end first, got [{low}, {high}]")
    return sampler


def priors_for(degradation: Degradation) -> list[str]:
    """The names of the priors that fit a degradation: a description of what is left of the signal always does, N(0, I)
    where next to nothing is left."""
    noise_alone = degradation.ends_in_noise()
    return [name for name, kind in PRIORS.items() if kind.of_signal or noise_alone]


def resolve_prior(prior: Component, degradation: Degradation) -> Component:
    """A prior with every default, checked against a degradation.

    Raises:
        UserError: sampling cannot start from it, or a parameter is unknown, of the wrong type or out of range.
    """
    prior = with_defaults("prior", prior)
    if not (PRIORS[prior.name].of_signal or degradation.ends_in_noise()):
        choices = priors_for(degradation)
        more = ", or a schedule with more noise" if degradation.stochastic else ""
        raise UserError(f"prior: {prior.name} is not where a {degradation.name} ends; use {' or '.join(choices)}{more}")
    return prior


def with_classes(preset: Preset, names: Sequence[str], any_order: bool = False) -> Preset:
    """The preset with the names of its data set's classes, where it asks for these.

    Args:
        any_order: a preset that names them says in which order they are numbered.

    Raises:
        UserError: the data set has no classes, or others than the preset names.
    """
    if preset.labels is None:
        return preset
    if preset.labels.clusters:
        if preset.labels.classes is not None:
            raise UserError("labels.classes: clusters are labels of their own; leave classes or clusters out")
        return preset
    if not names:
        raise UserError(
            f"labels: data {preset.data.name} has no classes: those of a folder are its sub-folders, those of an .npz "
            "file an array of labels; give the images some, take labels.clusters, or leave labels out"
        )
    preset_classes = preset.labels.classes
    if any_order and preset_classes is not None and sorted(preset_classes) == sorted(names):
        return preset
    if preset_classes not in (None, list(names)):
        raise UserError(
            f"labels.classes: the classes of data {preset.data.name} are {', '.join(names):.200}; leave the key out"
        )
    return preset.model_copy(update={"labels": preset.labels.model_copy(update={"classes": list(names)})})


def _check_network(preset: Preset, degradation: Degradation) -> None:
    """Checks that a preset's network can be built, and is not too large.

    Raises:
        UserError: it is not so, or it takes no labels and the preset has some.
    """
    # On the meta device nothing is allocated: a network that would fill the memory is refused before it does.
    try:
        with torch.device("meta"):
            network = _network(preset, degradation)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise UserError(f"network {preset.network.name} cannot be built: {str(error).splitlines()[0]}") from error
    parameters = sum(weight.numel() for weight in network.parameters())
    if parameters > MAX_PARAMETERS:
        raise UserError(f"network {preset.network.name} has {parameters:,} parameters, more than {MAX_PARAMETERS:,}")


def _check_measurement_noise(preset: Preset) -> None:
    """Checks that a preset's denoiser, which asks for it, can be told of measurement noise.

    Raises:
        UserError: it cannot.
    """
    if preset.prediction != "x0":
        raise UserError(f"measurement_noise needs prediction x0, which needs no more of x_t; got {preset.prediction}")
    if not asks_for("network", preset.network, "noise_levels"):
        choices = [name for name in NETWORKS if asks_for("network", Component(name=name), "noise_levels")]
        raise UserError(f"measurement_noise: network {preset.network.name} is not told any; use {' or '.join(choices)}")


def samplers_for(degradation: Degradation) -> list[str]:
    """The names of the samplers that serve a degradation: those whose signature admits it."""
    kinds = {name: get_type_hints(function).get("degradation", Degradation) for name, function in SAMPLERS.items()}
    return [name for name, kind in kinds.items() if isinstance(degradation, kind)]


def path_of(
    sampler: Sampler, degradation: Degradation, steps: int | None = None, start: int | None = None
) -> list[int]:
    """The descending time steps of a sampler, from ``start`` (None is T) to 0; ``steps`` overrides its own number.

    Raises:
        UserError: more steps than that, or a spacing that the degradation does not have.
    """
    if sampler.spacing != "even" and degradation.snr(torch.ones(1, dtype=torch.int64)) is None:
        raise UserError(
            f"sampler.spacing {sampler.spacing} needs a degradation with one ratio of signal to noise at each t; "
            f"{degradation.name} has none: use even"
        )
    try:
        return spaced_timesteps(degradation, sampler.steps if steps is None else steps, sampler.spacing, start)
    except ValueError as error:
        raise UserError(str(error)) from error


def load_source(preset: Preset, data_dir: Path | str | None, download: bool = True) -> Source:
    """A resolved preset's data set, whole and in memory; its labels are numbered as the preset names its classes.

    Args:
        data_dir: folder of the data sets; None is :func:`~diffcli.data.sources.default_data_dir`.

    Raises:
        UserError: it is not there and cannot be had, or has classes that the preset does not name.
    """
    return number_labels(preset, read_source(preset, data_dir, download))


def read_source(preset: Preset, data_dir: Path | str | None, download: bool = True) -> Source:
    """The data set of a preset, see :func:`load_source`, with the data set's own numbers for labels.

    Raises:
        UserError: it is not there and cannot be had.
    """
    folder = default_data_dir() if data_dir is None else user_path(data_dir)
    source: Source = build("data", preset.data, {"data_dir": folder, "download": download})
    name, parameters = preset.data.name, preset.data.parameters
    if origin_of("data", name):
        load = component_named("data", name)
        with of_plugin("data", name, load):
            try:
                check_source(source, image_shape(load, parameters), class_names(load, parameters))
            except ValueError as error:
                raise UserError(f"data {name}: {error}{place_of(error, load)}") from error
    return source


def number_labels(preset: Preset, source: Source) -> Source:
    """A data set with its labels numbered as the preset names its classes, where it does.

    Raises:
        UserError: it has classes that the preset does not name.
    """
    names = None if preset.labels is None or preset.labels.clusters else preset.labels.classes
    if names is None and preset.data.parameters.get("hold_out") == "random":
        names = sorted(source.classes)  # as versions before 0.4 did, in whose checksums of images labels are
    return source if names is None else renumber_labels(source, names)


def splits(preset: Preset, source: Source) -> tuple[ImageSet, ImageSet]:
    """The training and the validation images of a data set, split as a preset says."""
    training = preset.training
    return split(source.development, training.val_share, training.seed, by_class=source.by_class)


def training_split(preset: Preset, source: Source) -> ImageSet:
    """The images of a data set that a preset's model is trained on."""
    return splits(preset, source)[0]


def build_degradation(preset: Preset, shape: tuple[int, int, int] | None = None, *, tiled: bool = False) -> Degradation:
    """The degradation of a resolved preset's images, with its schedule's table and the preset's noise.

    Args:
        shape: (C, H, W) of other images than the preset's; None is that of its data.
        tiled: whether the preset's images are tiles of those: percentages of a side are then of a tile's.

    Raises:
        UserError: see :func:`degradation_of`; or the images are of unknown shape.
    """
    data_shape = None
    if shape is None or tiled:
        try:
            data_shape = image_shape(component_named("data", preset.data.name), preset.data.parameters)
        except ValueError as error:
            raise UserError(f"data {preset.data.name}: {error}") from error
    images_shape = shape or data_shape
    assert images_shape is not None
    return degradation_of(
        images_shape, preset.degradation, schedule=preset.schedule, noise=preset.noise, tile=data_shape
    )


def degradation_of(
    shape: tuple[int, int, int],
    component: Component,
    *,
    schedule: Component | None = None,
    noise: Component | None = None,
    tile: tuple[int, int, int] | None = None,
) -> Degradation:
    """The degradation of (C, H, W) images that a component names.

    Args:
        schedule: of its betas, for one that asks for them.
        noise: what is added to one that draws none of its own.
        tile: (C, H, W) of the images that its schedule is of, whose tiles these are made of; None is ``shape``.

    Raises:
        UserError: a schedule is missing, not asked for, or out of the degradation's range; noise is added to a
            degradation that has its own; or the images are too small for it.
    """
    name = component.name
    context: dict[str, object] = {"image_shape": shape}
    if asks_for("degradation", component, "betas"):
        if schedule is None:
            raise UserError(f"schedule is missing: degradation {name} needs one")
        context["betas"] = _betas(schedule, tile or shape)
    elif schedule is not None:
        raise UserError(f"schedule: degradation {name} takes none; leave it out")
    degradation: Degradation = build("degradation", component, context)
    degradation.name, degradation.image_shape = name, shape
    with of_plugin("degradation", name):
        try:
            check_basics(degradation)
        except ValueError as error:
            raise UserError(f"degradation {name}: {error}{place_of(error, type(degradation).signal)}") from error
    if noise is not None:
        if degradation.stochastic:
            raise UserError(f"noise: degradation {name} has its own; leave it out")
        degradation.sigmas = build("noise", noise, {"T": degradation.T})
        function = component_named("noise", noise.name)
        with of_plugin("noise", noise.name, function):
            try:
                check_tables(degradation)
            except ValueError as error:
                raise UserError(f"noise {noise.name}: {error}{place_of(error, function)}") from error
    return degradation


def _betas(schedule: Component, shape: tuple[int, int, int]) -> Tensor:
    betas: Tensor = build("schedule", schedule, {"image_shape": shape})
    function = component_named("schedule", schedule.name)
    with of_plugin("schedule", schedule.name, function):
        if (
            betas.ndim != 1
            or len(betas) < 2
            or betas.dtype != torch.float64
            or not bool(betas.isfinite().all())
            or betas[0] != 0
        ):
            error = ValueError(
                f"it must return betas, finite float64 (T + 1,) with betas[0] = 0, got {betas.dtype} "
                f"{tuple(betas.shape)}"
            )
            raise UserError(f"schedule {schedule.name}: {error}{place_of(error, function)}")
    return betas


def build_denoiser(resolved_preset: ResolvedPreset) -> Denoiser:
    """The untrained denoiser of a preset.

    Raises:
        UserError: the network cannot be built, takes no labels and the preset has some, or is too large.
    """
    preset = resolved_preset.preset
    try:
        with _limited_weights():
            network = _network(preset, resolved_preset.degradation)
    except (RuntimeError, OverflowError, TypeError, _TooManyWeightsError):
        _check_network(preset, resolved_preset.degradation)  # says what is wrong
        raise
    return Denoiser(
        network,
        resolved_preset.degradation,
        preset.prediction,
        preset.classes,
        preset.input,
        measurement_noise=preset.measurement_noise or 0.0,
    )


class _TooManyWeightsError(DiffcliError):
    """A network is larger than allowed."""


@contextmanager
def _limited_weights() -> Iterator[None]:
    """Stops the building of a network in this thread where its weights are too many, before the last of them are
    filled."""
    thread, sizes = threading.get_ident(), dict[int, int]()

    def register(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        if weight is not None and threading.get_ident() == thread:
            sizes[id(weight)] = weight.numel()  # once, where it is shared
            if sum(sizes.values()) > MAX_PARAMETERS:
                raise _TooManyWeightsError

    handle = register_module_parameter_registration_hook(register)
    try:
        yield
    finally:
        handle.remove()


def _network(preset: Preset, degradation: Degradation) -> nn.Module:
    if preset.labels is not None and not asks_for("network", preset.network, "classes"):
        choices = [name for name in NETWORKS if asks_for("network", Component(name=name), "classes")]
        raise UserError(f"labels: network {preset.network.name} takes none; use {' or '.join(choices)}")
    noise_levels = preset.measurement_noise is not None
    context = {
        "image_shape": degradation.image_shape,
        "classes": preset.classes,
        "noise_levels": noise_levels,
        "T": degradation.T,
    }
    network: nn.Module = build("network", preset.network, context)
    return network


def candidate_priors(preset: Preset) -> dict[str, Prior]:
    """The priors that a training fits, not fitted yet, by name: the preset's and, if that needs a fit, every other that
    does."""
    others = [name for name in PRIORS if name != preset.prior.name and not required("prior", name)]
    components = [preset.prior, *(Component(name=name) for name in others)]
    priors: dict[str, Prior] = {component.name: build("prior", component) for component in components}
    needs_fit = priors[preset.prior.name].needs_fit
    return {name: prior for name, prior in priors.items() if prior.needs_fit == needs_fit}


def bind_sampler(component: Sampler) -> SamplerFunction:
    """The sampler that a component names, with its parameters; clipping and guidance are wrapped around its denoiser.

    Raises:
        UserError: it is unknown, or a parameter is unknown or of the wrong type.
    """
    return partial(component_named("sampler", component.name), **with_defaults("sampler", component).parameters)
