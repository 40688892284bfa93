"""Degradations of presets: the report's three conditions, measured on their data, and what an image becomes over t."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from diffcli.config.build import load_source
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.evaluation.conditions import Conditions, conditions
from diffcli.evaluation.options import DegradationOptions
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.figures import COLUMNS, strip, strips_figure
from diffcli.utils.errors import UserError
from diffcli.utils.files import written_whole


def degradation_report(options: DegradationOptions) -> dict[str, Conditions]:
    """Measures how well the degradations of presets satisfy the report's three conditions (3.3), by preset; draws the
    picture, if asked for.

    Raises:
        UserError: a preset is not usable or given twice, the data are not there, or the picture cannot be written.
    """
    if options.out is not None:
        _draw_strips(options, options.out)
    return {
        label: conditions(degradation, x0, options.disturbance, generator_for(options.seed, Stream.TEST))
        for label, degradation, x0 in _degradations(options, options.n, options.seed)
    }


def _draw_strips(options: DegradationOptions, out: Path) -> None:
    rows: dict[str, tuple[Tensor, list[int]]] = {}
    for label, degradation, x0 in _degradations(options, 2, None):
        noise = torch.randn(COLUMNS, *x0.shape[1:], generator=generator_for(options.seed, Stream.TEST))
        rows[label] = strip(degradation, x0[0], noise)
    with written_whole(out) as part:
        strips_figure(rows).savefig(part)


def _degradations(options: DegradationOptions, n: int, seed: int | None) -> Iterator[tuple[str, Degradation, Tensor]]:
    """(label, degradation, ``n`` test images, float (n, C, H, W)) of each preset: random ones by the seed, the first
    ones where it is None."""
    for label, resolved_preset in options.resolved_presets.items():
        images = load_source(resolved_preset.preset, options.data_dir).test.images
        images = images[:n] if seed is None else images[random_subset(len(images), n, seed)]
        if len(images) < 2:
            raise UserError(f"preset {label}: its data hold {len(images)} test image; at least 2 are compared")
        yield label, resolved_preset.degradation, to_model(images)
