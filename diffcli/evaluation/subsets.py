"""Images drawn at random from a set, to measure on fewer than there are: the first ones need not be typical."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.diffusion.randomness import Stream, generator_for


def random_subset(count: int, n: int, seed: int) -> Tensor:
    """Indices of ``n`` of ``count`` images in random order, int64 (n,); all of them in their own order where there are
    no more.

    A function of the numbers alone. Of the same seed, a smaller subset is the beginning of a larger one. MNIST's first
    1,000 test images have a mean ink of 0.1223, all of them 0.1325.
    """
    if n >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=generator_for(seed, Stream.SUBSET))[:n]
