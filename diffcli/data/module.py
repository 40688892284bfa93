"""The LightningDataModule: whole splits in memory, batches gathered by index."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from diffcli.data.datasets import ImageSet

Batch = tuple[Tensor, Tensor]
"""(images uint8 (B, C, H, W), their indices in the split int64 (B,))."""


class Batches:
    """One epoch of batches at a time; nothing is done per image in Python.

    Args:
        images: the split.
        batch_size: images in a batch; the last one of an epoch may be smaller.
        indices: called when an epoch starts; the order of its images, int64, from where it is to begin.
    """

    def __init__(self, images: ImageSet, batch_size: int, indices: Callable[[], Tensor]) -> None:
        self.images = images
        self.batch_size = batch_size
        self.indices = indices

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that indices() is called when the first batch is asked for: by then a resumed
        # trainer has restored its step counter.
        for index in self.indices().split(self.batch_size):
            yield self.images.images[index], index


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of ``count`` images in an epoch: a permutation that is a function of (seed, epoch)."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


class ImageDataModule(LightningDataModule):
    """Train and validation batches; the training order is a function of (seed, global step), so a resumed run goes on
    with the images that the interrupted one would have seen next."""

    def __init__(self, train: ImageSet, val: ImageSet, batch_size: int, seed: int) -> None:
        super().__init__()
        self.train, self.val = train, val
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> Batches:
        return Batches(self.train, self.batch_size, self._remaining_indices)

    def val_dataloader(self) -> Batches:
        return Batches(self.val, self.batch_size, lambda: torch.arange(len(self.val)))

    def _remaining_indices(self) -> Tensor:
        assert self.trainer is not None
        epoch, batch = divmod(self.trainer.global_step, int(self.trainer.num_training_batches))
        return epoch_order(len(self.train), self.seed, epoch)[batch * self.batch_size :]
