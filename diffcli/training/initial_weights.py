"""A training that begins from the weights of another model, as far as they fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.checkpoints.model_file import StoredModel, fingerprint, read_stored
from diffcli.checkpoints.runs import Run
from diffcli.config.schema import Preset, validate_stored
from diffcli.inference.loading import find_checkpoint
from diffcli.networks.diffusers_unet import DiffusersUNet
from diffcli.networks.embeddings import LabelEmbedding
from diffcli.utils.errors import UserError

NAMES_SHOWN = 5
"""So many of the weights that do not fit a line names."""
MEANINGS = ("prediction", "input", "degradation")
"""Keys of a preset on which it depends what a network is given, and what its answers mean."""


@dataclass(frozen=True)
class InitialModel:
    """A model to begin from.

    Args:
        run: that it belongs to, if any.
        checksum: of its weights.
    """

    stored_model: StoredModel
    run: Run | None
    checksum: str

    @property
    def preset(self) -> Preset:
        """The preset that it was trained with."""
        return validate_stored(self.stored_model.preset, self.stored_model.title)


@dataclass(frozen=True)
class Beginning:
    """The weights that a training took of another model.

    Args:
        facts: for ``run.json``.
        notes: what its user should know, in lines.
    """

    facts: dict[str, Any]
    notes: tuple[str, ...]


def initial_model(name: Run | Path | str) -> InitialModel:
    """The model that a name stands for, see :func:`diffcli.load`.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    run, file = find_checkpoint(name)
    checksum = fingerprint(file)  # before the weights, which a training may replace in between
    return InitialModel(read_stored(file), run, checksum)


def recorded_model(run: Run) -> InitialModel | None:
    """The model that a run began from, by its ``run.json``; None where it began anew.

    Raises:
        UserError: it is not there any more, or another one by now.
    """
    facts = run.info().get("init")
    if not isinstance(facts, dict):
        return None
    file = Path(str(facts.get("file")))
    if fingerprint(file) != facts.get("sha256"):
        raise UserError(
            f"{run.folder} cannot go on: the model that it began from is not what it was, or not there: {file}; put "
            "it back, or train a new run"
        )
    return InitialModel(read_stored(file), None, str(facts["sha256"]))


@torch.no_grad()
def begin_from(initial: InitialModel, denoiser: nn.Module, preset: Preset) -> Beginning:
    """Copies into a denoiser what fits it of a model, by name and shape; rows of labels by the labels' names.

    Args:
        preset: that the denoiser was built of.

    Raises:
        UserError: nothing fits, or what does is of another kind of network, where it means something else.
    """
    stored_model, weights = initial.stored_model, denoiser.state_dict()
    tables = _label_tables(denoiser)
    before = initial.preset
    if before.network.name != preset.network.name:
        raise UserError(
            f"`init` {stored_model.file}: the weights of network {before.network.name} do not fit network "
            f"{preset.network.name}; without `preset` the model's own preset is taken"
        )
    count, new_weights = 0, []
    for key, weight in weights.items():
        other = stored_model.weights.get(key)
        if other is not None and key in tables and other.shape[1:] == weight.shape[1:]:
            new_labels = _copy_rows(weight, other, _names(preset), _names(before))
            count += 1
            new_weights += [f"{key} of {', '.join(new_labels):.200}"] if new_labels else []
        elif other is not None and other.shape == weight.shape:
            weight.copy_(other)
            count += 1
        else:
            other_shape = "none" if other is None else f"{tuple(other.shape)}"
            new_weights.append(f"{key}, {other_shape} there and {tuple(weight.shape)} here")
    if not count:
        first = new_weights[0] if new_weights else "there are none"
        raise UserError(
            f"`init` {stored_model.file}: none of its weights fit: {first}; without `preset` the model's own "
            "preset is taken"
        )
    rest = [key for key in stored_model.weights if key not in weights]
    facts = {
        "file": str(stored_model.file.absolute()),
        "sha256": initial.checksum,
        "preset": stored_model.preset_name,
        "weights": count,
        "anew": new_weights,
        "left": rest,
    }
    return Beginning(facts, tuple(_notes(facts, stored_model, before, preset)))


def _names(preset: Preset) -> list[str]:
    """The names of a preset's labels; clusters, which mean other images each time, have none."""
    labels = preset.labels
    return [] if labels is None or labels.clusters else labels.names


def _label_tables(denoiser: nn.Module) -> set[str]:
    """The names of the weights that hold a row for each label, that of none first."""
    tables = set()
    for name, module in denoiser.named_modules():
        if isinstance(module, LabelEmbedding):
            tables.add(f"{name}.table.weight")
        elif isinstance(module, DiffusersUNet):
            tables.add(f"{name}.unet.class_embedding.weight")
    return tables


def _copy_rows(table: Tensor, other: Tensor, names: list[str], others: list[str]) -> list[str]:
    """Copies the row of no label and those of the labels that both have; returns the names of the rest."""
    table[0].copy_(other[0])
    for row, name in enumerate(names, start=1):
        if name in others:
            table[row].copy_(other[1 + others.index(name)])
    rest = [name for name in names if name not in others]
    return rest if names else [f"{len(table) - 1} clusters"]


def _notes(facts: dict[str, Any], stored_model: StoredModel, before: Preset, preset: Preset) -> list[str]:
    new_weights, rest, count = facts["anew"], facts["left"], facts["weights"]
    lines = [f"note: begins from {stored_model.title}: {count:,} weights fit"]
    for words, keys in (("begin anew", new_weights), ("are left out", rest)):
        if keys:
            more = f"; and {len(keys) - NAMES_SHOWN:,} more" if len(keys) > NAMES_SHOWN else ""
            lines.append(f"note: {len(keys):,} weights {words}: {'; '.join(keys[:NAMES_SHOWN])}{more}")
    for key in MEANINGS:
        values = [getattr(one, key) for one in (before, preset)]
        old_name, new_name = (value if isinstance(value, str) else value.name for value in values)
        if old_name != new_name:
            lines.append(
                f"note: its {key} was {old_name}, and is {new_name} here: what it learnt means something else at first"
            )
    return lines
