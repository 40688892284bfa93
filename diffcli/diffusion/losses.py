"""The loss that validation and evaluation report: the same t and noise for an image at every epoch and in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.measurement_noise import sigma_of
from diffcli.diffusion.randomness import Stream, image_generators, randn_images

KEPT_BYTES = 128 << 20
"""The memory of draws that are kept from one validation to the next: those of 40,000 images of 28x28."""


class Draws(NamedTuple):
    """The times and the noise that the loss of a batch depends on besides the images."""

    t: Tensor
    """In 1..T, int64 (B,)."""
    noise: Tensor | None
    """Standard normal, (B, C, H, W); None where none is drawn."""
    sigma: Tensor | None = None
    """Standard deviation of the measurement noise, (B,); None where there is none."""

    def to(self, device: torch.device) -> Draws:
        return Draws(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]

    def of_process(self, rank: int, world_size: int) -> Draws:
        """The rows of one process among several, each of which draws for the whole batch."""
        return Draws(*(None if part is None else part[rank::world_size] for part in self))  # type: ignore[arg-type]


def fixed_draws(
    degradation: Degradation,
    indices: Sequence[int],
    image_shape: Sequence[int],
    seed: int,
    stream: Stream,
    *,
    measurement_noise: float = 0.0,
) -> Draws:
    """t and noise of the images with these indices, on the CPU: those of an image belong to (seed, stream, index).

    Args:
        measurement_noise: the largest standard deviation of it, see :class:`~diffcli.diffusion.denoiser.Denoiser`.
    """
    generators = image_generators(seed, stream, indices)
    t = torch.cat([torch.randint(1, degradation.T + 1, (1,), generator=generator) for generator in generators])
    has_noise = degradation.stochastic or measurement_noise > 0
    noise = randn_images(generators, tuple(image_shape)) if has_noise else None
    if not measurement_noise:
        return Draws(t, noise)
    levels = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    return Draws(t, noise, sigma_of(levels, measurement_noise))


class KeptDraws:
    """The draws of each batch of a validation, made once, as far as they fit into a number of bytes.

    Args:
        limit: bytes of all that is kept; batches beyond it are drawn anew each time.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self._draws: dict[int, Draws] = {}

    def of(self, batch: int, draw: Callable[[], Draws]) -> Draws:
        """The draws of the batch with this number: those kept, else what ``draw`` returns."""
        if batch in self._draws:
            return self._draws[batch]
        draws = draw()
        size = sum(part.nbytes for part in draws if part is not None)
        if size <= self.limit:
            self.limit -= size
            self._draws[batch] = draws
        return draws


def fixed_loss(denoiser: Denoiser, x0: Tensor, draws: Draws, labels: Tensor | None = None) -> Tensor:
    """Loss per image, (B,), at its own t and noise, so that it can be compared over epochs and runs."""
    t, noise, sigma = draws.to(x0.device)
    return denoiser.loss(x0, t, noise, None if labels is None else labels.to(x0.device), sigma)
