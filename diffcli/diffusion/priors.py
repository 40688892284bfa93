"""Priors: the distribution of x_T, from which unconditional sampling starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from diffcli.diffusion.randomness import randn_images


class Prior(Protocol):
    """Draws x_T, float32 (B, *shape), image i from ``generators[i]``."""

    def __call__(
        self,
        generators: Sequence[torch.Generator],
        shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
    ) -> Tensor: ...


def standard_normal() -> Prior:
    """N(0, I): the limit of Gaussian noise as alpha_T goes to 0 (report Algorithm 2, line 3)."""
    return randn_images


PRIORS: dict[str, Callable[..., Prior]] = {"standard-normal": standard_normal}
