"""Checks which models lead from an image back to its noise, and with which options."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from diffcli.config.presets import sampler_named
from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.inference.options import SamplerOptions
from diffcli.utils.errors import UserError

DETERMINISTIC = {"name": "ddim", "eta": 0.0}
"""The sampler that can be run backwards."""
OfSampler = TypeVar("OfSampler", bound=SamplerOptions)


def deterministic_options(options: OfSampler, degradation: Degradation) -> OfSampler:
    """The options with the sampler that can be run backwards, unguided.

    Args:
        degradation: the model's.

    Raises:
        UserError: the degradation is no Gaussian noise, or the options ask for another sampler or for guidance.
    """
    if not isinstance(degradation, GaussianNoise):
        raise UserError(
            f"only models of gaussian-noise lead from an image back to noise, and this one undoes a "
            f"{degradation.name}: its x_T is what is left of an image; take mnist-fast or another model of noise"
        )
    if options.sampler is not None:
        sampler_asked = sampler_named(options.sampler)
        if sampler_asked.name != "ddim" or getattr(sampler_asked, "eta", None):
            raise UserError(
                "`sampler`: only ddim without new noise is run backwards, which is taken here; leave it out"
            )
    for name in ("guidance", "autoguidance"):
        if getattr(options, name) not in (None, 1):
            raise UserError(
                f"`{name}` {getattr(options, name):g}: what a guided step did is not undone by its own noise; leave "
                "it out"
            )
    sampler = DETERMINISTIC if options.sampler in (None, "ddim") else options.sampler
    return replace(options, sampler=sampler, guidance=1.0, autoguidance=1.0)
