"""Random numbers that belong to an image, not to a batch: one generator per image.

An image's draws depend on the seed and on its index alone, so neither the batch size nor the images beside it change
them. Generators live on the CPU, so every device sees the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What random numbers are for; draws of different streams are independent under one seed."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2
    SAMPLE = 3
    RECONSTRUCTION = 4
    RESTORATION = 5
    LABEL = 6
    LIKELIHOOD = 7
    DECODER = 8
    INPAINTING = 9


def generator_for(seed: int, stream: Stream, *index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that is a function of (seed, stream, index), all non-negative."""
    sequence = np.random.SeedSequence(seed, spawn_key=(int(stream), *index))
    state = int(sequence.generate_state(1, np.uint64)[0])
    return torch.Generator(device=device).manual_seed(state >> 1)  # PyTorch's seeds are signed


def image_generators(seed: int, stream: Stream, indices: Iterable[int]) -> list[torch.Generator]:
    """One generator per image index."""
    return [generator_for(seed, stream, index) for index in indices]


def randn_images(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal, float32 (B, *shape): row i is drawn from ``generators[i]``."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)
