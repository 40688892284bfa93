"""Degradations: what is done to a clean image x0 at step t, in closed form; one file for each kind."""

from __future__ import annotations

from collections.abc import Callable

from diffcli.diffusion.degradations.base import Degradation, check_basics
from diffcli.diffusion.degradations.blur import GaussianBlur, Padding
from diffcli.diffusion.degradations.fade import Fade
from diffcli.diffusion.degradations.heat import Heat
from diffcli.diffusion.degradations.mask import Mask
from diffcli.diffusion.degradations.noise import GaussianNoise
from diffcli.diffusion.degradations.pixelate import Pixelate
from diffcli.diffusion.degradations.separable import Separable

__all__ = [
    "DEGRADATIONS",
    "Degradation",
    "Fade",
    "GaussianBlur",
    "GaussianNoise",
    "Heat",
    "Mask",
    "Padding",
    "Pixelate",
    "Separable",
    "check_basics",
]

DEGRADATIONS: dict[str, Callable[..., Degradation]] = {
    "gaussian-noise": GaussianNoise,
    "gaussian-blur": GaussianBlur,
    "heat": Heat,
    "pixelate": Pixelate,
    "mask": Mask,
    "fade": Fade,
}
