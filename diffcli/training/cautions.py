"""Warnings: of settings that an override dropped and of too few steps before a training begins, of a loss that
rises in it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from diffcli.config.notation import as_argument
from diffcli.config.presets import preset_of, preset_values
from diffcli.config.schema import Preset
from diffcli.data.datamodule import ImageDataModule
from diffcli.training.outlook import least_steps
from diffcli.training.recipes import data_with_defaults, recipe_for

EPOCHS_BEFORE = 5
RISE = 4.0
"""A loss of so many times the median of the epochs before is no chance: those of a training vary by a few percent."""


def replaced_keys(values: Any, overrides: Mapping[str, Any], preset: Preset) -> tuple[str, ...]:
    """Lines on what a preset's ``values`` set of a part that an override replaced, and no longer holds though the new
    part has it, too.

    Of data sets the defaults are told, too: CIFAR-10 is mirrored in training unless its preset says otherwise, a folder
    is not.

    Args:
        preset: with the overrides, resolved.
    """
    lines = []
    after = preset.model_dump()
    for key, new in overrides.items():
        old, section = _value_at(values, key), _value_at(after, key)
        if not all(isinstance(part, Mapping) for part in (old, new, section)):
            continue
        if key == "data":
            old = data_with_defaults(old)
        changes = {k: v for k, v in old.items() if k not in new and k in section and section[k] != v and v is not None}
        if changes:
            text = ", ".join(f"{k}: {as_argument(v)} (now {as_argument(section[k])})" for k, v in changes.items())
            lines.append(f"note: {key} is replaced as a whole, so these of the preset no longer hold: {text}")
    return tuple(lines)


def _value_at(values: Any, key: str) -> Any:
    for part in key.strip().split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def shortness(preset: Preset, data: ImageDataModule, steps: int) -> str | None:
    """A line for a training of so few steps that its model will not draw anything; else None."""
    least = least_steps(preset)
    if steps >= least:
        return None
    all_steps = preset.training.epochs * data.batches_per_epoch
    more = (
        f"take {math.ceil(least / data.batches_per_epoch):,} epochs or more" if steps >= all_steps else "take more time"
    )
    channels, *lengths = data.train.image_shape
    recipe = recipe_for(channels, max(lengths), len(data.train))
    names = [recipe.preset] if all(length % recipe.multiple == 0 for length in lengths) else []
    names += ["quickstart"] if channels == 1 and all(length % 4 == 0 for length in lengths) else []
    others = [name for name in names if _learns(name, data)]
    advice = f", or the preset {others[0]} with these images" if others else ""
    return (
        f"warning: {steps:,} steps are too few to learn from for the network {preset.network.name} with the prediction "
        f"{preset.prediction}, which take {least:,} at least: samples will be near noise; {more}{advice}"
    )


def _learns(name: str, data: ImageDataModule) -> bool:
    """Whether a preset's training is long enough on these images."""
    preset = preset_of(preset_values(name)[1], {}, name)
    steps = preset.training.epochs * math.ceil(len(data.train) / preset.training.batch_size)
    return steps >= least_steps(preset)


def loss_rise(losses: Sequence[float], epoch: int) -> str | None:
    """A line for an epoch whose mean training loss leapt; else None.

    Args:
        losses: of the epochs up to this one.
        epoch: its number, from 1.
    """
    if not _is_leap(losses) or _is_leap(losses[:-1]):
        return None
    return (
        f"warning: the training loss rose from {losses[-2]:.3g} to {losses[-1]:.3g} in epoch {epoch}; where it "
        "stays higher, begin again with a lower training.lr, or training.clip_norm"
    )


def _is_leap(losses: Sequence[float]) -> bool:
    before = losses[:-1][-EPOCHS_BEFORE:]
    return len(before) == EPOCHS_BEFORE and losses[-1] > RISE * statistics.median(before)
