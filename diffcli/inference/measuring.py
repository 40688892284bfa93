"""Measurements as a user names them: a degradation of a preset, of a model or of one's own, and images degraded by
it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from diffcli.checkpoints.diffusers_folder import is_pipeline
from diffcli.checkpoints.model_file import is_model_file, read_metadata, read_stored, ready_models
from diffcli.checkpoints.runs import run_named, run_preset
from diffcli.config.build import build_degradation, degradation_of
from diffcli.config.notation import parse_argument
from diffcli.config.plugins import load_configured
from diffcli.config.presets import load_preset, preset_files
from diffcli.config.registry import with_defaults
from diffcli.config.schema import Component, Preset, explain, validate_stored
from diffcli.data.pixels import rounding, to_model
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation
from diffcli.diffusion.measurements import Measurement, measurement_at
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import user_path
from diffcli.utils.options import check_number

ROUNDING = rounding(8)
"""Standard deviation of what 8 bits round away, 0.0011: that of a number uniform in a step."""
SCHEDULE_AND_NOISE = ("schedule", "noise")
"""The components that a degradation may need beside its own parameters."""

Shape = tuple[int, int, int]


def degradation_named(degradation: str | Path | Mapping[str, Any] | Degradation, image_shape: Shape) -> Degradation:
    """A degradation of (C, H, W) images, whatever images it was made for.

    Args:
        degradation: a preset, a run, a ready model, or a file of one of these, whose degradation is taken; the name of
            a kind of degradation; its name with parameters, ``{name: heat, schedule: {...}, noise: {...}}``, as YAML
            or as a mapping; or one that is built.

    Raises:
        UserError: there is none of that name, it does not fit the images, or a parameter is not as it must be.
    """
    if isinstance(degradation, Degradation):
        return _of_image_shape(degradation, image_shape)
    load_configured()
    if isinstance(degradation, Mapping):
        return _of_components(dict(degradation), image_shape)
    text = str(degradation).strip()
    if text[:1] == "{":
        value = parse_argument(text, "`degradation`")
        return _of_components(value, image_shape)
    preset = preset_named(text)
    if preset is not None:
        return build_degradation(preset, image_shape)
    if text in DEGRADATIONS:
        return _of_components({"name": text}, image_shape)
    names = {*preset_files(), *ready_models(), *DEGRADATIONS}
    raise UserError(f"`degradation`: {unknown_name('preset, run, model or kind', text, names)}")


def _of_image_shape(degradation: Degradation, image_shape: Shape) -> Degradation:
    if tuple(degradation.image_shape) == image_shape:
        return degradation
    if degradation.snr(torch.ones(1, dtype=torch.int64, device=degradation.device)) is None:
        sizes = ["x".join(map(str, shape)) for shape in (degradation.image_shape, image_shape)]
        raise UserError(
            f"`degradation`: this {degradation.name} is of images {sizes[0]}, and the model's are {sizes[1]}"
        )
    other = deepcopy(degradation)  # a number for all pixels, whatever their count
    other.image_shape = image_shape
    return other


def _of_components(values: dict[str, Any], image_shape: Shape) -> Degradation:
    """The degradation of a name and parameters, its schedule and its noise among them."""
    components = {}
    for kind, value in {
        "degradation": {key: value for key, value in values.items() if key not in SCHEDULE_AND_NOISE},
        **{kind: values[kind] for kind in SCHEDULE_AND_NOISE if values.get(kind) is not None},
    }.items():
        try:
            component = Component.model_validate({"name": value} if isinstance(value, str) else value)
        except ValidationError as error:
            raise UserError(f"`degradation`: {explain(error, kind)}") from error
        components[kind] = component
    try:
        components = {kind: with_defaults(kind, component) for kind, component in components.items()}
        return degradation_of(
            image_shape,
            components["degradation"],
            schedule=components.get("schedule"),
            noise=components.get("noise"),
        )
    except UserError as error:
        example = "; for example {name: heat, schedule: {name: constant, T: 1, beta: 9.0}}, a blur of 3 pixels"
        hint = example if str(error).startswith("schedule is missing") else ""
        raise UserError(f"`degradation`: {error}{hint}") from error


def preset_named(name: str) -> Preset | None:
    """The resolved preset that a name stands for: of a run, of a ready model, of a file, or itself; None where there is
    none."""
    path = user_path(name)
    if path.suffix == ".ckpt" or is_model_file(path):
        stored_model = read_stored(path)
        return validate_stored(stored_model.preset, stored_model.title)
    if path.suffix not in (".yaml", ".yml"):
        ready = ready_models()
        run = run_named(name, ready.get(name))
        if run is not None:
            return run_preset(run)
        if name not in ready and is_pipeline(path):
            stored_model = read_stored(path)
            return validate_stored(stored_model.preset, stored_model.title)
        if name in ready:
            return validate_stored(read_metadata(ready[name])["preset"], f"model file {ready[name]}")
    if path.suffix in (".yaml", ".yml") or os.sep in name or name in preset_files():
        return load_preset(name)[1]
    return None


def draw_measurements(degradation: Degradation, images: Tensor, t: int, sigma: float | None, seed: int) -> Tensor:
    """A_t x_0 + sigma eps of uint8 images, float (N, C, H, W); their noise is that of the seed.

    Args:
        sigma: None is what the degradation adds at t.
    """
    x0 = to_model(images)
    generators = image_generators(seed, Stream.RECONSTRUCTION, range(len(x0)))
    noise = randn_images(generators, tuple(x0.shape[1:]))
    signal = degradation.degrade(x0, torch.full((len(x0),), t), torch.zeros_like(x0))
    return signal + (float(degradation.sigmas[t]) if sigma is None else sigma) * noise


def measurement_of(
    y: Tensor, degradation: Degradation, t: int | None, sigma: float | None, device: torch.device
) -> Measurement:
    """The measurement of clean images that degraded ones are.

    Args:
        y: (N, C, H, W), uint8, or float with pixels in about [-0.5, 0.5].
        t: in 0..T; None is T, where that is the only step.
        sigma: see :class:`~diffcli.inference.measurement_options.MeasurementOptions`.

    Raises:
        UserError: y is of another shape or type, there is no such t, sigma is not as it must be, or the degradation
            cannot be inverted.
    """
    t = step_of(degradation, t)
    if y.dtype == torch.uint8:
        if sigma == 0:
            raise UserError(f"`sigma` 0 is no noise, and 8 bits round by {ROUNDING:.2g}; leave it out, or say how much")
        sigma_t = float(degradation.sigmas[t])
        sigma = math.hypot(sigma_t, ROUNDING) if sigma is None else sigma
        y = to_model(y)
    try:
        return measurement_at(degradation.to(device), t, y.to(device), sigma=sigma)
    except ValueError as error:
        raise UserError(f"`degradation`: {error}") from error


def step_of(degradation: Degradation, t: int | None) -> int:
    """``t``, in 0..T; None is T, where that is the only step.

    Raises:
        UserError: it is out of range, or has to be said.
    """
    T, name = degradation.T, degradation.name
    if t is None:
        if T != 1:
            raise UserError(f"say with `t` how far the images are degraded, in 1..{T} (T of {name})")
        return 1
    check_number("t", t, "int")
    if not 0 <= t <= T:
        raise UserError(f"`t` must be in 0..{T} (T of {name}), got {t}")
    return t
