"""The LightningDataModule: whole splits in memory, batches gathered by index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from diffcli.data.datasets import ImageSet
from diffcli.diffusion.randomness import to_device
from diffcli.utils.errors import UserError


class Batch(NamedTuple):
    """One process's part of a batch: of every ``world_size`` images the one at the process's rank."""

    images: Tensor
    """uint8 (B, C, H, W)."""
    labels: Tensor
    """int64 (B,), -1 where there is none."""
    indices: Tensor
    """The indices of the images in their split, int64 (B,)."""
    size: int
    """Images in the whole batch, over all processes."""


def batch_sizes(count: int, batch_size: int, world_size: int) -> list[int]:
    """Sizes of the batches of ``count`` images.

    The last may be smaller; where it would not have an image for every process, the one before takes it in.

    Raises:
        UserError: not even one batch has an image for every process.
    """
    if min(count, batch_size) < world_size:
        raise UserError(f"{world_size} processes cannot share batches of {min(count, batch_size)}; raise `batch_size`")
    whole, rest = divmod(count, batch_size)
    sizes = [batch_size] * whole
    if rest >= world_size:
        return [*sizes, rest]
    return [*sizes[:-1], batch_size + rest]


def resident(split: ImageSet, device: torch.device) -> ImageSet:
    """``split`` on ``device``, where batches are then gathered, if it takes at most a quarter of its free memory."""
    if device.type != "cuda" or split.images.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
        return split
    return ImageSet(split.images.to(device), split.labels.to(device))


class Epoch(NamedTuple):
    """The order in which an epoch shows the images of a split, and the place where it begins."""

    order: Tensor
    """The images in their order, int64 (N,)."""
    first: int = 0
    """The batch to begin with."""
    mirrored: Tensor | None = None
    """A mask of those, in that order, that are shown mirrored, bool (N,)."""


class Batches:
    """One epoch of batches at a time; nothing is done per image in Python.

    Args:
        split: all the images.
        batch_size: images in a batch, over all processes.
        epoch: called when one starts.
        rank: which of ``world_size`` processes this is; each takes its own images of every batch.
    """

    def __init__(
        self,
        split: ImageSet,
        batch_size: int,
        epoch: Callable[[], Epoch],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.split = split
        self.sizes = batch_sizes(len(split), batch_size, world_size)
        self.epoch = epoch
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that epoch() is called when the first batch is asked for: by then a resumed
        # trainer has restored its step counter.
        epoch, device = self.epoch(), self.split.images.device
        batches = to_device(epoch.order, device).split(self.sizes)
        mirror_masks = (
            [None] * len(batches) if epoch.mirrored is None else to_device(epoch.mirrored, device).split(self.sizes)
        )
        for whole, mirrored in zip(batches[epoch.first :], mirror_masks[epoch.first :], strict=True):
            index = whole[self.rank :: self.world_size]
            images, labels = self.split.images[index], self.split.labels[index]
            if mirrored is not None:
                mask = mirrored[self.rank :: self.world_size].view(-1, 1, 1, 1)
                images = torch.where(mask, images.flip(-1), images)
            yield Batch(images, labels, index, len(whole))


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of ``count`` images in an epoch: a permutation that is a function of (seed, epoch)."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


def epoch_mirrored(count: int, seed: int, epoch: int) -> Tensor:
    """A mask of the images, of ``count``, that are mirrored left to right in an epoch, half of them: a function of
    (seed, epoch)."""
    return torch.from_numpy(np.random.default_rng([seed, epoch, 1]).random(count) < 0.5)


class ImageDataModule(LightningDataModule):
    """Train and validation batches; the training order is a function of (seed, global step), so a resumed run goes on
    with the images that the interrupted one would have seen next.

    Args:
        splits: the training and the validation images.
        mirrored: whether each training image is mirrored left to right in half of the epochs.
    """

    def __init__(
        self,
        splits: tuple[ImageSet, ImageSet],
        batch_size: int,
        seed: int,
        limit_batches: int | None = None,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.train, self.val = splits
        self.mirrored = mirrored
        self.batch_size = batch_size
        self.seed = seed
        self.limit_batches = limit_batches

    @property
    def epoch_batch_sizes(self) -> list[int]:
        """Images in each batch of a training epoch, over all processes."""
        world_size = self.trainer.world_size if self.trainer else 1
        return batch_sizes(len(self.train), self.batch_size, world_size)[: self.limit_batches]

    @property
    def batches_per_epoch(self) -> int:
        """Training steps per epoch."""
        return len(self.epoch_batch_sizes)

    @property
    def images_per_epoch(self) -> int:
        """Training images per epoch."""
        return sum(self.epoch_batch_sizes)

    def train_dataloader(self) -> Batches:
        return self._batches(self.train, self._epoch)

    def val_dataloader(self) -> Batches:
        return self._batches(self.val, lambda: Epoch(torch.arange(len(self.val))))

    def _batches(self, split: ImageSet, epoch: Callable[[], Epoch]) -> Batches:
        assert self.trainer is not None
        split = resident(split, self.trainer.strategy.root_device)
        return Batches(split, self.batch_size, epoch, self.trainer.global_rank, self.trainer.world_size)

    def _epoch(self) -> Epoch:
        assert self.trainer is not None
        epoch, batch = divmod(self.trainer.global_step, self.batches_per_epoch)
        count = len(self.train)
        mirrored = epoch_mirrored(count, self.seed, epoch) if self.mirrored else None
        return Epoch(epoch_order(count, self.seed, epoch), batch, mirrored)
