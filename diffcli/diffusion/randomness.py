"""Random numbers that belong to an image, not to a batch: one generator per image, or two that it lies between.

An image's draws depend on the seed and on its index alone, so neither the batch size nor the images beside it change
them. Generators live on the CPU, so every device sees the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

AHEAD_BYTES = 32 << 20
"""The memory of noise that is drawn at once for the steps to come."""
VECTOR = 16
"""PyTorch's CPU generator turns numbers into normal ones in groups of so many: images of whole groups that are drawn in
one call are those of as many calls, others are not."""

SMALLEST_SINE = 1e-7
"""The sine of an angle below which an arc is a straight line."""


class Stream(IntEnum):
    """The purpose of random numbers; draws of different streams are independent under one seed."""

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
    DISTURBANCE = 10
    SUBSET = 11
    POSTERIOR = 12
    EVIDENCE = 13


def generator_for(seed: int, stream: Stream, *index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that is a function of (seed, stream, index), all non-negative."""
    sequence = np.random.SeedSequence(seed, spawn_key=(int(stream), *index))
    state = int(sequence.generate_state(1, np.uint64)[0])
    return torch.Generator(device=device).manual_seed(state >> 1)  # PyTorch's seeds are signed


def image_generators(seed: int, stream: Stream, indices: Iterable[int]) -> list[torch.Generator]:
    """One generator per image index."""
    return [generator_for(seed, stream, index) for index in indices]


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The point of the great circle's arc from one tensor to another, at a share of it in 0..1 (Shoemake 1985).

    Its length lies between theirs, as that of normal noise does, where a straight line would pass through lower ones
    (Song et al. 2021, appendix D.5). Of one direction, as all numbers of one dimension are, it is that line.
    """
    ends = [end.flatten().double() for end in (first, second)]
    lengths = math.prod(float(end.square().sum().sqrt()) for end in ends)
    cosine = float((ends[0] * ends[1]).sum()) / lengths if lengths else 1.0
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    weights = 1 - share, share
    if math.sin(angle) > SMALLEST_SINE:
        weights = math.sin(weights[0] * angle) / math.sin(angle), math.sin(weights[1] * angle) / math.sin(angle)
    return weights[0] * first + weights[1] * second


@dataclass(frozen=True)
class InterpolatedGenerator:
    """The source of an image's random numbers on the way from those of one generator to those of another.

    Args:
        share: of the way, in 0..1; at its ends the numbers are those of one generator, to the bit.
    """

    first: torch.Generator
    second: torch.Generator
    share: float

    def normals(self, count: int, shape: Sequence[int]) -> Tensor:
        """``count`` draws of standard normal numbers, (count, *shape), each interpolated by itself."""
        draws = (torch.randn(count, *shape, generator=end) for end in (self.first, self.second))
        return torch.stack([slerp(first, second, self.share) for first, second in zip(*draws, strict=True)])

    def draw_index(self, weights: Tensor) -> int:
        """An index drawn in proportion to weights.

        Raises:
            ValueError: the generators draw different ones, between which there is none.
        """
        indices = {int(torch.multinomial(weights, 1, generator=end)) for end in (self.first, self.second)}
        if len(indices) > 1:
            raise ValueError(f"between the choices {indices} there is none")
        return indices.pop()


Source = torch.Generator | InterpolatedGenerator
"""A source of an image's random numbers."""


def normals(source: Source, count: int, shape: Sequence[int]) -> Tensor:
    """``count`` draws of standard normal numbers, float32 (count, *shape)."""
    if isinstance(source, InterpolatedGenerator):
        return source.normals(count, shape)
    return torch.randn(count, *shape, generator=source)


def draw_index(source: Source, weights: Tensor) -> int:
    """An index drawn in proportion to weights, (N,)."""
    if isinstance(source, InterpolatedGenerator):
        return source.draw_index(weights)
    return int(torch.multinomial(weights, 1, generator=source))


def randn_images(generators: Sequence[Source], shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal, float32 (B, *shape): row i is drawn from ``generators[i]``."""
    return Noise(generators, shape, device)()


class Noise:
    """Standard normal noise, float32 (B, *shape) at each call: that of image i is drawn from ``generators[i]``.

    Of each generator the noise of several calls is drawn at once, which takes a few calls of PyTorch instead of one for
    each image and step; the numbers are the same.

    Args:
        calls: how often it will be called, about; what is drawn ahead for calls that do not come is lost.
    """

    def __init__(
        self,
        generators: Sequence[Source],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        calls: int = 1,
    ) -> None:
        self.generators, self.shape, self.device, self.calls = generators, shape, torch.device(device), calls
        self._queue: list[Tensor] = []  # the next one last

    def __call__(self) -> Tensor:
        if not self._queue:
            size, count = math.prod(self.shape), 1
            if size and size % VECTOR == 0:
                count = max(1, min(self.calls, AHEAD_BYTES // (4 * size * max(len(self.generators), 1))))
            parts = [
                torch.randn(count, *self.shape, generator=source)
                if isinstance(source, torch.Generator)
                else source.normals(count, self.shape)
                for source in self.generators
            ]
            self._queue = list(to_device(torch.stack(parts, dim=1), self.device).unbind(dim=0))[::-1]
        self.calls -= 1
        return self._queue.pop()


def to_device(numbers: Tensor, device: torch.device) -> Tensor:
    """Numbers of the CPU on a device, a GPU's from pinned memory, so that neither waits for the other."""
    source = numbers.pin_memory() if device.type == "cuda" else numbers
    return source.to(device, non_blocking=True)
