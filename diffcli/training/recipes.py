"""Chooses the preset that a folder of pictures is trained with, and changes of it: one table, and one function."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from pydantic import ValidationError

from diffcli.config.presets import preset_values, with_overrides
from diffcli.config.registry import with_defaults
from diffcli.config.schema import Component, Preset, Training
from diffcli.data.folders import printable, sides
from diffcli.data.sources import TEST_SHARE
from diffcli.data.survey import Survey, survey_of
from diffcli.training.options import TrainOptions
from diffcli.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A preset, and the pictures that it is for."""

    preset: str
    channels: tuple[int, ...]
    largest: int
    """Pixels along a side."""
    multiple: int
    """The network needs sides that this divides."""
    purpose: str
    """The pictures in words."""
    fewest: int = 0
    """Pictures that it is for."""


FEW = 300
"""So many pictures are few: a model may copy them."""
RECIPES = (
    Recipe(
        preset="mnist-fast", channels=(1,), largest=32, multiple=4, fewest=FEW + 1, purpose="many small grey pictures"
    ),
    Recipe(
        preset="colour-fast",
        channels=(1, 3),
        largest=32,
        multiple=4,
        purpose="small pictures that are in colour or few",
    ),
    Recipe(preset="colour-64-fast", channels=(1, 3), largest=64, multiple=8, purpose="pictures of more than 32x32"),
)
"""The first one that fits is taken; pictures larger than any is for have the last."""
SIDES = (64, 32)
"""The sides of squares that pictures of at least that size are read as, unless something else is asked for."""
ROUND = 4
"""The sides of smaller ones are rounded down to a multiple of this."""
SMALLEST = 8
GREY_SHARE = 0.95
"""A folder is grey where this share of its pictures is, at least: colour that is read as grey is lost."""
PER_CLASS = 5
"""Sub-folders are classes where most hold so many pictures: of fewer a model learns each by heart."""
PER_CLUSTER = 200
"""Pictures of a cluster, and the most clusters: those of mnist-fast-unlabelled, which was measured."""
MOST_CLUSTERS = 300
FEW_VAL_SHARE = 0.1
"""The share of few pictures on which checkpoints are validated: the 0.05 of the presets would be a picture or two."""
FEW_STEPS, STEPS_PER_PICTURE = 300, 3
"""Steps of a training on few pictures, at least, and for each picture: how many it takes until a model begins to copy
grows with their number (Bonnaire et al. 2025, "Why diffusion models don't memorize"). Of 40 emoji and of 150 the
validation loss was lowest after 120 and 204 steps."""
FEW_VALIDATIONS = 50


def recipe_for(channels: int, side: int, count: int) -> Recipe:
    """The recipe for ``count`` pictures of so many channels, and pixels along the longer side."""
    for recipe in RECIPES:
        if channels in recipe.channels and side <= recipe.largest and count >= recipe.fewest:
            return recipe
    return RECIPES[-1]


@dataclass(frozen=True)
class OwnPictures:
    """A folder of pictures, and the preset that they are trained with.

    Args:
        name: of the preset.
        values: its values, changed for these pictures; the user's overrides come after.
        recipe: None where the user has chosen the preset.
    """

    survey: Survey
    name: str
    values: Any
    recipe: Recipe | None

    @property
    def run_name(self) -> str:
        """The name of its runs: the folder's, unless the user has chosen the preset, whose name they have then, as
        ever."""
        return self.name if self.recipe is None else self.folder_name

    @property
    def folder_name(self) -> str:
        """The folder's name as that of a run."""
        return self.survey.name.lstrip(".")

    def lines(self, preset: Preset) -> list[str]:
        """Lines on what the folder holds, which preset is taken and why, and how the pictures are read.

        Args:
            preset: with the user's overrides, resolved.
        """
        height, width = sides(preset.data.parameters["size"])
        reason = "as asked for" if self.recipe is None else f"for {self.recipe.purpose}"
        ways = [f"they are read as {width}x{height}", *_reading(self.survey, preset), _labelling(self.survey, preset)]
        return [f"{self.survey.folder}: {_contents(self.survey)}: preset {self.name}, {reason}", ", ".join(ways)]

    def caution(self, preset: Preset, steps: int) -> str | None:
        """A warning that so few pictures may be copied, and what is done against it; None where they are more.

        Args:
            preset: with the user's overrides, resolved.
            steps: of the whole training.
        """
        if self.survey.count > FEW:
            return None
        against = [
            f"the training ends after {steps:,} steps at most",
            "the checkpoint of the lowest validation loss is used",
        ]
        if preset.data.parameters["mirrored"]:
            against.append("pictures are mirrored, too (of text: data.mirrored=false)")
        return (
            f"warning: {self.survey.count:,} pictures are few, and a model may copy them; against that "
            f"{', '.join(against)}. See the nearest of 'diffcli eval': of copies it is far below that of test images"
        )


def own_pictures(options: TrainOptions, preset: tuple[str, Any] | None = None) -> OwnPictures:
    """The preset for a folder of pictures: the one that is asked for, else the recipe that fits.

    Args:
        preset: name and values of the one that is asked for.

    Raises:
        UserError: the folder or the size cannot be used, or the preset cannot be found or read.
    """
    assert options.images is not None
    survey = survey_of(options.images)
    channels = options.overrides.get("data.channels", 1 if _is_grey(survey) else 3)
    recipe = None
    if preset is None:
        recipe = recipe_for(channels, options.size or _side(survey), survey.count)
        _check_size(options.size, recipe)
        name, values = preset_values(recipe.preset)
    else:
        name, values = preset
    if not isinstance(values, Mapping):
        return OwnPictures(survey, name, values, recipe)  # which is refused where the preset is checked
    data = folder_settings(values.get("data"))
    if recipe is not None or options.size is not None or "size" not in data:
        data["size"] = options.size or _side(survey)
    data = {**data, "name": "folder", "path": str(options.images), "channels": channels}
    changes = {
        "description": f"{printable(survey.name)}: {_contents(survey)}, by {name}",
        "data": data,
        **_labels(values, survey),
    }
    if survey.count <= FEW:
        changes |= _against_copying(values, survey.count)
    return OwnPictures(survey, name, with_overrides(dict(values), changes), recipe)


def _check_size(size: int | None, recipe: Recipe) -> None:
    """Checks that a recipe can read pictures at the size that is asked for.

    Raises:
        UserError: it cannot.
    """
    step = recipe.multiple
    if size is not None and (size % step or size < SMALLEST):
        low = max(size - size % step, SMALLEST)
        raise UserError(
            f"`size` {size}: preset {recipe.preset} reads squares whose sides {step} divides, of {SMALLEST} pixels or "
            f"more; take {low} or {low + step}"
        )


def folder_settings(data: Any) -> dict[str, Any]:
    """The settings of a preset's data that hold for a folder in their place: of another folder all but where it is, of
    other data sets whether they are mirrored."""
    if not isinstance(data, Mapping):
        return {}
    if data.get("name") == "folder":
        return {key: value for key, value in data.items() if key not in ("name", "path", "channels")}
    return {key: value for key, value in data_with_defaults(data).items() if key == "mirrored"}


def data_with_defaults(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A data set's name and parameters with its defaults; as they are where it is not usable."""
    try:
        return with_defaults("data", Component(**data)).model_dump()
    except (UserError, ValidationError, TypeError):
        return data


def _is_grey(survey: Survey) -> bool:
    return survey.coloured_share <= 1 - GREY_SHARE


def _side(survey: Survey) -> int:
    """The side of the squares that pictures are read as: small ones are not enlarged."""
    choices = [side for side in SIDES if survey.side >= side]
    return choices[0] if choices else max(survey.side - survey.side % ROUND, SMALLEST)


def _has_classes(survey: Survey) -> bool:
    return len(survey.classes) > 1 and median(survey.classes.values()) >= PER_CLASS


def _labels(values: Mapping[str, Any], survey: Survey) -> dict[str, Any]:
    """Changes of a preset that knows labels, for pictures without classes: clusters, else no labels and no guidance
    by them."""
    labels = values.get("labels")
    if labels is None or _has_classes(survey) or (isinstance(labels, Mapping) and labels.get("clusters")):
        return {}
    clusters = min(survey.count // PER_CLUSTER, MOST_CLUSTERS)
    if clusters > 1:
        return {"labels.clusters": clusters}
    sampler = values.get("sampler")
    guided = isinstance(sampler, Mapping) and "guidance" in sampler
    return {"labels": None, **({"sampler.guidance": 1.0} if guided else {})}


def _against_copying(values: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Changes of a preset for few pictures: mirrored, more of them held out to choose the best checkpoint, a number of
    steps that is enough to learn from, and fifty validations at most."""
    training = values.get("training")
    settings = training if isinstance(training, Mapping) else {}
    training_count = count * (1 - TEST_SHARE) * (1 - FEW_VAL_SHARE)
    steps = max(FEW_STEPS, STEPS_PER_PICTURE * count)
    epochs = math.ceil(steps / math.ceil(training_count / settings.get("batch_size", Training().batch_size)))
    changes: dict[str, Any] = {"training.epochs": epochs, "training.val_every": math.ceil(epochs / FEW_VALIDATIONS)}
    changes["training.val_share"] = max(settings.get("val_share", Training().val_share), FEW_VAL_SHARE)
    return {**changes, "training.sample_epochs": [epochs], "data.mirrored": True}


def _contents(survey: Survey) -> str:
    """The contents of a folder in words: 1,520 colour pictures of 64x64 in 8 sub-folders."""
    sizes = {f"{width}x{height}" for width, height in survey.sizes}
    lengths = [length for size in survey.sizes for length in size]
    size = f"of {sizes.pop()}" if len(sizes) == 1 else f"with sides of {min(lengths):,} to {max(lengths):,} pixels"
    folders = f" in {len(survey.classes):,} sub-folders" if len(survey.classes) > 1 else ""
    return f"{survey.count:,} {'grey' if _is_grey(survey) else 'colour'} pictures {size}{folders}"


def _reading(survey: Survey, preset: Preset) -> list[str]:
    """The changes of the pictures when they are read, in words."""
    data, words = preset.data.parameters, []
    height, width = sides(data["size"])
    if any(w * height != h * width for w, h in survey.sizes):
        words.append("cropped")
    if any(w < width or h < height for w, h in survey.sizes):
        words.append("smaller ones enlarged")
    if data["channels"] == 1 and survey.coloured:
        words.append("colour as grey")
    if survey.transparent:
        words.append(f"transparent ones on {data['background']}")
    return words


def _labelling(survey: Survey, preset: Preset) -> str:
    """The labels of the pictures in words."""
    if preset.labels is None:
        few = len(survey.classes) > 1 and not _has_classes(survey)
        return "without labels" + (f": most sub-folders hold fewer than {PER_CLASS} pictures" if few else "")
    if preset.labels.clusters:
        return f"by {preset.labels.clusters:,} clusters of pictures that are alike (labels.clusters)"
    return f"by class, which are the {len(preset.labels.names):,} sub-folders"
