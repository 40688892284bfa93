"""The components of plug-ins, each run once on two images, so that a mistake shows before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from diffcli.config.build import bind_sampler, path_of
from diffcli.config.registry import build, of_plugin, origin_of, place_of
from diffcli.config.schema import Preset
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.samplers import Step
from diffcli.networks.basics import check_basics
from diffcli.utils.errors import UserError

STEPS = 3
"""So many steps a sampler takes at most."""


def check_plugins(preset: Preset, denoiser: Denoiser, image_shape: tuple[int, int, int]) -> None:
    """Runs a preset's network, prior and sampler once on two images, where they are a plug-in's; a prior that needs a
    fit is skipped.

    Raises:
        UserError: one fails, or gives something else than it has to; the line names the file and the line in it.
    """
    if origin_of("network", preset.network.name):
        with _failures_in("network", preset.network.name, type(denoiser.network).forward):
            check_basics(denoiser.network, image_shape, preset.classes)
    if origin_of("prior", preset.prior.name):
        prior = build("prior", preset.prior)
        if not prior.needs_fit:
            with _failures_in("prior", preset.prior.name, type(prior).forward):
                images = prior([torch.Generator().manual_seed(seed) for seed in range(2)], image_shape, "cpu", None)
                _check_images(images, image_shape, "forward must return")
    if origin_of("sampler", preset.sampler.name):
        _check_sampler(preset, denoiser.degradation, image_shape)


def _check_sampler(preset: Preset, degradation: Degradation, image_shape: tuple[int, int, int]) -> None:
    x0 = torch.zeros(2, *image_shape)
    with _failures_in("sampler", preset.sampler.name):
        sampler = bind_sampler(preset.sampler)
        times = path_of(preset.sampler, degradation, min(STEPS, degradation.T))
        step = None
        for step in sampler(lambda xt, t: x0, degradation, x0, times, lambda: torch.randn(x0.shape)):
            if not isinstance(step, Step):
                raise ValueError(f"it must yield diffcli.Step(s, xs, x0_hat), not {type(step).__name__}")
            _check_images(step.xs, image_shape, "the xs of its steps must be")
        if step is None or step.s != 0:
            raise ValueError(f"its last step must reach s = 0; it ends {f'at {step.s}' if step else 'without a step'}")


def _check_images(images: Tensor, image_shape: tuple[int, int, int], subject: str) -> None:
    if not isinstance(images, Tensor) or tuple(images.shape) != (2, *image_shape) or not bool(images.isfinite().all()):
        shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"{subject} finite images {(2, *image_shape)}, got {shape}")


@contextmanager
def _failures_in(kind: str, name: str, function: Callable[..., Any] | None = None) -> Iterator[None]:
    with of_plugin(kind, name, function), torch.random.fork_rng(devices=[]):
        try:
            yield
        except ValueError as error:
            raise UserError(f"{kind} {name}: {error}{place_of(error, function)}") from error
