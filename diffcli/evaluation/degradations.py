"""Degradations of presets: the report's three conditions, measured on their data, and what an image becomes over t."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcli.config.build import load_source, resolve
from diffcli.config.presets import find_preset, load_preset
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.evaluation.conditions import Conditions, conditions
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.figures import COLUMNS, strip, strips_figure
from diffcli.utils.errors import UserError
from diffcli.utils.files import check_output, written_whole
from diffcli.utils.labels import unique_labels

STRIP_SUFFIXES = (".png", ".svg", ".pdf")


def degradation_report(
    presets: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    n: int = 1000,
    disturbance: float = 1 / 255,
    seed: int = 0,
    data_dir: Path | str | None = None,
) -> dict[str, Conditions]:
    """How well the degradations of presets satisfy the report's three conditions (3.3), by preset.

    Measured on ``n`` test images, drawn at random by the seed, all where there are fewer.

    Args:
        disturbance: standard deviation of the normal noise added to each pixel of z_T before its image is looked for; pixels
            span 1, so 1 / 255 is one grey level.

    Raises:
        UserError: a preset is not usable or given twice, a number is out of its range, or the data are not there.
    """
    if n < 2:
        raise UserError(f"`n` must be at least 2, got {n}")
    if not 0 <= disturbance <= 1:
        raise UserError(f"`disturbance` must be in 0..1, got {disturbance}")
    return {
        label: conditions(degradation, x0, disturbance, generator_for(seed, Stream.TEST))
        for label, degradation, x0 in _degradations(presets, overrides, n, data_dir, seed)
    }


def degradation_strips(
    presets: Sequence[str],
    out: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    data_dir: Path | str | None = None,
) -> Path:
    """Draws the first test image of each preset's data at nine t from 0 to T, a row for each preset; returns the file.

    Raises:
        UserError: a preset is not usable or given twice, the data are not there, or the file cannot be written.
    """
    out = check_output(out, STRIP_SUFFIXES, "out")
    rows: dict[str, tuple[Tensor, list[int]]] = {}
    for label, degradation, x0 in _degradations(presets, overrides, 2, data_dir, None):
        noise = torch.randn(COLUMNS, *x0.shape[1:], generator=generator_for(seed, Stream.TEST))
        rows[label] = strip(degradation, x0[0], noise)
    with written_whole(out) as part:
        strips_figure(rows).savefig(part)
    return out


def _degradations(
    presets: Sequence[str], overrides: Mapping[str, Any] | None, n: int, data_dir: Path | str | None, seed: int | None
) -> Iterator[tuple[str, Degradation, Tensor]]:
    """(label, degradation, ``n`` test images, float (n, C, H, W)) of each preset: random ones by the seed, the first ones where it
    is None."""
    files = [find_preset(chosen).resolve() for chosen in presets]
    if len(set(files)) < len(files):
        raise UserError("a preset is named twice; name each once")
    loaded = [load_preset(chosen, overrides or {}) for chosen in presets]
    for label, (_, preset) in zip(unique_labels([name for name, _ in loaded], files), loaded, strict=True):
        resolved = resolve(preset)
        images = load_source(resolved.preset, data_dir).test.images
        images = images[:n] if seed is None else images[random_subset(len(images), n, seed)]
        if len(images) < 2:
            raise UserError(f"preset {label}: its data hold {len(images)} test image; at least 2 are compared")
        yield label, resolved.degradation, to_model(images)
