"""The one table of what a resume may change of a run's preset, and why not the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from diffcli.config.schema import Preset
from diffcli.utils.errors import UserError

MAY_CHANGE = frozenset(
    {
        "description",
        "training.epochs",
        "training.precision",
        "training.max_time",
        "training.lr",
        "training.weight_decay",
        "training.clip_norm",
        "training.val_every",
        "training.sample_epochs",
        "training.sample_n",
        # Where the images lie; that they are the same ones is checked by their content.
        "data.path",
        "data.on_bad_image",
    }
)
"""The keys whose changes take effect at once; devices, which no preset holds, may change as well."""

REASONS = {
    "data": "the run was trained on other images",
    "schedule": "the network has learnt to undo the degradation of the old one",
    "degradation": "the network has learnt to undo the old one",
    "noise": "the network has learnt to undo the degradation with the old noise",
    "measurement_noise": "the network has learnt to be told of the old one",
    "network": "the weights belong to the old one",
    "input": "the network has learnt to read the old one",
    "prediction": "the network has learnt to predict the old one",
    "prior": "it was fitted before the first step; name one for sampling with `prior`",
    "sampler": "the best checkpoint would go on sampling with the old one; name one for sampling with `sampler`",
    "training.seed": "images of the training split would be validated on",
    "training.val_share": "images of the training split would be validated on",
    "training.batch_size": "an epoch would have another number of steps",
    "labels": "the weights belong to the old ones",
    "distillation": "it has been trained by its teacher, or by none, so far",
    "training.optimizer": "its moments belong to the old one",
    "training.guide_at": "the early average is of the training's beginning",
    "training.ema": "the average has been kept since the first step",
    "training": "the first steps were trained without it",
}
"""The reasons why a key, or everything below it, stays as it is."""


def changes(before: Any, after: Any, key: str = "") -> Iterator[str]:
    """The dotted keys below ``key`` whose values differ between two presets as plain types."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from changes(before.get(name), after.get(name), f"{key}.{name}" if key else name)
    elif before != after:
        yield key


def check_changes(before: Preset, after: Preset) -> None:
    """Checks that a resumed run may go on with another preset, both resolved.

    Raises:
        UserError: a key is changed that a resume cannot change; the line says why.
    """
    for key in changes(before.model_dump(), after.model_dump()):
        if key not in MAY_CHANGE:
            first = key.partition(".")[0]
            raise UserError(
                f"{key} cannot change on a resume: {REASONS.get(key, REASONS[first])}; train a new run for that"
            )
