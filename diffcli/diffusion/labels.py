"""Labels, int64 (B,): which ones a training step hides, and which ones samples get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcli.diffusion.randomness import Stream, generator_for

NO_LABEL = -1
GOLDEN_RATIO = (1 + 5**0.5) / 2


def hidden_labels(count: int, share: float, generator: torch.Generator) -> Tensor:
    """A mask of the images, of ``count``, that lose their label in a training step, bool (count,) on the generator's
    device: a random ``share``, so that the network learns to do without, too (Ho & Salimans 2022, Algorithm 1)."""
    return torch.rand(count, generator=generator, device=generator.device) < share


@dataclass(frozen=True)
class SampleLabels:
    """Assigns labels to samples: the given ones in turn, else drawn in the proportions of the classes.

    The label of image i is a function of (seed, i).

    Args:
        labels: repeated over the images in turn; empty where labels are drawn.
        shares: how frequent each label is, (classes,): what they are drawn from. Any first n labels have these shares
            to within a few images (a Kronecker sequence with the golden ratio; Niederreiter 1992, chapter 3), where
            independent draws would vary by the square root, which adds to every distance from real images.
    """

    labels: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    def of(self, seed: int, indices: Sequence[int]) -> Tensor:
        """The labels of the images with these indices, int64 (B,)."""
        if self.labels:
            return torch.tensor([self.labels[index % len(self.labels)] for index in indices])
        bounds = torch.tensor(self.shares, dtype=torch.float64).cumsum(0)
        start = torch.rand((), generator=generator_for(seed, Stream.LABEL, 0), dtype=torch.float64)
        positions = (start + GOLDEN_RATIO * torch.tensor(indices, dtype=torch.float64)) % 1
        return torch.bucketize(positions * bounds[-1], bounds[:-1], right=True)


def shares_of(labels: Tensor, classes: int) -> tuple[float, ...]:
    """The share of each class in labels, int64 (N,), among those that have one; equal shares where none has."""
    counts = torch.bincount(labels[labels >= 0], minlength=classes).double()
    return tuple((counts / counts.sum() if counts.sum() else torch.full((classes,), 1 / classes)).tolist())
