"""The models that a page shows, and a visitor's choices for each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffcli.checkpoints.model_file import ready_models
from diffcli.config.build import samplers_for
from diffcli.data.label_names import NONE, Label, no_label_text
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.inference.loading import load
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.utils.devices import ONE_DEVICE, Devices
from diffcli.utils.errors import UserError

Models = dict[str, Model]
"""The models by the name that the page calls them."""
ANY, EACH_IN_TURN = "any", "each in turn"
"""Labels as frequent as in the training images; all, one after another."""
NOT_SAID = "not said"
WORDS = frozenset({ANY, EACH_IN_TURN, NONE, NOT_SAID})
"""Choices that a page offers beside the classes."""
NO_MODEL = "none"


def load_models(names: Sequence[str], devices: Devices = ONE_DEVICE) -> Models:
    """The models of these names, see :func:`diffcli.load`; without names, the ready models.

    Each has drawn an image: what it lacks is told now, and the page's first one comes the faster.

    Raises:
        UserError: there is none, one cannot be read, or it cannot be drawn from.
    """
    choice = list(names) or list(ready_models())
    if not choice:
        raise UserError(
            "no ready models came with this diffcli; name runs, their folders or model files: 'diffcli play last' "
            "shows the newest run"
        )
    models: Models = {}
    for argument in dict.fromkeys(choice):
        model = load(argument, devices=devices)
        model.sample(1, steps=1, quiet=True)
        models[_title(argument, model, models)] = model
    return models


def _title(argument: str, model: Model, others: Models) -> str:
    """The name of a model on a page: as it was asked for, or of a path the preset and what tells it from the others."""
    path = Path(argument)
    short = argument if path.name == argument and not path.suffix else model.preset_name
    numbered_titles = (f"{short} ({path.stem}, {number})" for number in itertools.count(2))
    return next(
        name for name in itertools.chain([short, f"{short} ({path.stem})"], numbered_titles) if name not in others
    )


def is_hot(model: Model) -> bool:
    """Whether a model removes Gaussian noise."""
    return isinstance(model.denoiser.degradation, GaussianNoise)


@dataclass(frozen=True)
class Choices:
    """The choices that a visitor has for a model; the defaults are its preset's."""

    samplers: list[str]
    sampler: str
    T: int
    steps: int
    classes: list[str]
    guided: bool
    """Whether guidance towards a label can be had."""
    guidance: float
    priors: list[str]


def choices_of(model: Model) -> Choices:
    """The choices that a visitor has for a model."""
    sampler, path = model.sampler(SamplerOptions())
    preset_prior = model.preset.prior.name
    return Choices(
        samplers=samplers_for(model.denoiser.degradation),
        sampler=sampler.name,
        T=model.T,
        steps=len(path) - 1,
        classes=model.classes,
        guided=bool(model.classes) and model.works_without_label,
        guidance=sampler.guidance,
        priors=[preset_prior, *(name for name in model.prior_states if name != preset_prior)],
    )


def first_pair(models: Models) -> tuple[str, str]:
    """The two models that are shown beside each other first: a hot and a cold one if there are; ``NO_MODEL`` where
    there is but one."""
    names = list(models)
    first = next((name for name in names if is_hot(models[name])), names[0])
    others = [name for name in names if name != first]
    second = next((name for name in others if is_hot(models[name]) != is_hot(models[first])), None)
    return first, second or (others[0] if others else NO_MODEL)


def label_choices(models: Sequence[Model]) -> list[str]:
    """The labels that samples of these models can be asked for, as a page shows them."""
    if not any(model.classes for model in models):
        return [ANY]
    none = [NONE] if all(model.works_without_label for model in models) else []
    return [ANY, EACH_IN_TURN, *none, *dict.fromkeys(map(shown_class, class_choices(models)))]


def class_choices(models: Sequence[Model]) -> list[str]:
    """The names of the classes that these models were trained with, each once."""
    return list(dict.fromkeys(name for model in models for name in model.trained_classes))


def shown_class(name: str) -> str:
    """A class as a page shows it: by its name, or told from the page's own word of that name."""
    return f"{name} (class)" if name in WORDS else name


def label_of(model: Model, choice: str) -> Label | list[Label] | None:
    """A chosen label as a model's methods take it: None where the model does not know it, and where it is not said."""
    if choice == EACH_IN_TURN:
        return list(model.trained_classes) or None
    if choice == NONE:
        return no_label_text(model.classes) if model.classes else None
    return next((name for name in model.trained_classes if shown_class(name) == choice), None)
