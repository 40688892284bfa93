"""A visitor's choices of what was done to an image: the model's own degradation, or another of which the model is the
prior."""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict

from diffcli.checkpoints.model_file import ready_models
from diffcli.config.presets import preset_files
from diffcli.config.registry import component_named
from diffcli.data.sources import image_shape as shape_of
from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.inference.blur_width import exact_blur, width_note
from diffcli.inference.measuring import degradation_named, preset_named, step_of
from diffcli.inference.model import Model
from diffcli.inference.options import default_t
from diffcli.inference.posterior import method_for
from diffcli.utils.errors import UserError

MODELS_OWN = "the model's own"
BLUR, DOWN_SAMPLING, NOISE = "Gaussian blur", "down-sampling", "noise"
INVERSION = "nothing: DDIM backwards"
"""Not degraded at all: the noise that the picture is drawn from."""
WORDS = {"gaussian-blur": "blur", "heat": "blur", "pixelate": "pixelation", "fade": "fading"}
"""Kinds of degradations as a page calls them; others by their names."""
ANY_DEGRADATION = "What was done to it; another than its own is a measurement, and the model the prior"
OWN_ALONE = "Its own alone: a model that draws no noise cannot weigh what was measured against what it draws"

Shape = tuple[int, int, int]


class Strength(TypedDict):
    """The slider that says how far a degradation goes."""

    label: str
    info: str
    minimum: float
    maximum: float
    step: float
    value: float
    visible: bool


class ChosenDegradation(NamedTuple):
    """A degradation as strong as a visitor chose it."""

    degradation: Degradation
    t: int
    words: str
    """The step or the strength in words."""
    obstacle: str
    """The thing that hides a part of the image."""


def is_prior(model: Model) -> bool:
    """Whether a model can be the prior for measurements."""
    try:
        method_for(model.denoiser.degradation, None)
    except UserError:
        return False
    return True


def degradation_choices(model: Model) -> dict[str, Any]:
    """The degradations that a visitor can choose for a model, its own first, and why there are no others."""
    if not is_prior(model):
        return {"choices": [MODELS_OWN], "info": OWN_ALONE}
    backwards = [INVERSION] if isinstance(model.denoiser.degradation, GaussianNoise) else []
    choices = [MODELS_OWN, BLUR, DOWN_SAMPLING, NOISE, *fitting_presets(model.image_shape), *backwards]
    return {"choices": choices, "info": ANY_DEGRADATION}


def fitting_presets(image_shape: Shape) -> dict[str, str]:
    """Ready models and presets of (C, H, W) images by what a page calls their degradations, each of these once.

    Those of Gaussian noise are left out: noise is a choice of its own.
    """
    choices: dict[str, str] = {}
    degradations: list[Any] = []
    for name in dict.fromkeys([*ready_models(), *sorted(preset_files())]):
        try:
            preset = preset_named(name)
            if (
                preset is None
                or shape_of(component_named("data", preset.data.name), preset.data.parameters) != image_shape
            ):
                continue
        except (UserError, ValueError):  # a file of the visitor's folder; 'diffcli presets' says what is wrong with it
            continue
        kind, degradation = preset.degradation.name, (preset.degradation, preset.schedule)
        if kind != "gaussian-noise" and degradation not in degradations:
            degradations.append(degradation)
            choices[f"{WORDS.get(kind, kind)}, as {name}"] = name
    return choices


def strength_of(model: Model, choice: str) -> Strength:
    """The slider for a chosen degradation; hidden where the noise alone says how far it goes.

    Raises:
        UserError: it is none of the model's choices.
    """
    side = min(model.image_shape[1:])
    if choice == BLUR:
        return _strength("Blur", "Its width in pixels of the model's images", (0.3, side / 4, 0.1), side / 14)
    if choice == DOWN_SAMPLING:
        return _strength("Block", "Pixels along a side that become one", (2, 4, 2), 4)
    T = (
        model.T
        if choice in (MODELS_OWN, INVERSION)
        else degradation_named(_name_of(model, choice), model.image_shape).T
    )
    strength = _strength("t", "How far it is degraded", (1, T, 1), default_t(T))
    return {**strength, "visible": choice not in (NOISE, INVERSION)}


def _strength(label: str, info: str, span: tuple[float, float, float], value: float) -> Strength:
    minimum, maximum, step = span
    return {
        "label": label,
        "info": info,
        "minimum": minimum,
        "maximum": maximum,
        "step": step,
        "value": value,
        "visible": True,
    }


def degradation_at(model: Model, choice: str, strength: float) -> ChosenDegradation:
    """A chosen degradation, as strong as the slider says.

    Raises:
        UserError: it is none of the model's choices, or never is of that strength.
    """
    shape = model.image_shape
    if choice == BLUR:
        blur = exact_blur(strength, shape)
        return ChosenDegradation(blur, 1, width_note(blur, 1, [1.0]) or "", "blur")
    if choice == DOWN_SAMPLING:
        block = int(strength)
        pixels = degradation_named({"name": "pixelate", "block": block, "T": 1}, shape)
        return ChosenDegradation(pixels, 1, f"down-sampling by {block}", "down-sampling")
    degradation = degradation_named(_name_of(model, choice), shape)
    if choice == NOISE:
        return ChosenDegradation(degradation, 0, "noise", "noise")
    t = step_of(degradation, int(strength))
    cause = WORDS.get(degradation.name, degradation.name)
    words = width_note(degradation, t, [1.0]) or f"{cause}, t = {t} of {degradation.T}"
    return ChosenDegradation(degradation, t, words, cause)


def _name_of(model: Model, choice: str) -> str:
    """A chosen degradation's name; noise alone goes with any at t = 0, where nothing is lost."""
    names = {NOISE: "fade", **fitting_presets(model.image_shape)}
    if choice not in names:
        raise UserError(f"{choice} is not among the degradations of this model")
    return names[choice]
