"""What every data set is: images and labels in memory, a held-out test split, and what was read of which files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

NO_LABEL = -1
TEST_SHARE = 0.2
NAMED_SUFFIXES = 8
"""A line names at most this many: numbered files have each its own."""


@dataclass(frozen=True)
class ImageSet:
    """Images, uint8 (N, C, H, W), and their labels, int64 (N,), ``NO_LABEL`` where there is none."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor) -> ImageSet:
        return ImageSet(self.images[index], self.labels[index])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width


@dataclass(frozen=True)
class Inventory:
    """How many images were read of how many files of a folder, and what became of the others; as text, one line."""

    folder: str
    images: int = 0
    files: int = 0
    """All but the hidden ones."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files of other kinds by suffix in lower case, most frequent first; ``""`` is no suffix."""
    skipped: int = 0
    """Images that could not be used."""
    links: int = 0
    """Further names of images that were read already."""
    hidden: int = 0
    """Hidden files, and hidden folders whatever is in them."""
    all_equal: bool = False
    """Whether there is one image only, however often."""

    def __str__(self) -> str:
        return f"{self.folder}: {self.counts}"

    @property
    def counts(self) -> str:
        """The numbers in words, those that are 0 left out."""
        return "; ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        yield f"{self.images:,} images of {self.files:,} files"
        if self.passed_over:
            named = dict(list(self.passed_over.items())[:NAMED_SUFFIXES])
            counts = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in named.items()]
            if others := sum(self.passed_over.values()) - sum(named.values()):
                counts.append(f"{others:,} with other suffixes")
            yield f"passed over: {', '.join(counts)}"
        if self.skipped:
            yield f"{self.skipped:,} unusable, skipped"
        if self.links:
            yield f"{self.links:,} links to images read already"
        if self.hidden:
            yield f"{self.hidden:,} hidden file{'s or folders' if self.hidden > 1 else ' or folder'} not read"
        if self.all_equal:
            yield "all images are equal"


@dataclass(frozen=True)
class Source:
    """A data set as it comes: what may be trained on, and the test split that is held out."""

    development: ImageSet
    test: ImageSet
    skipped: tuple[str, ...] = ()
    """Files that could not be used, each with the reason."""
    inventory: Inventory | None = None
    """What was read of a folder of images; None for the built-in sets."""
    classes: tuple[str, ...] = ()
    """Names of the labels, label 0 first; none where there are no labels."""


def split(images: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Random split of ``images`` into (1 - share, share), a function of ``seed`` alone."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held_out = round(share * len(images))
    return images[order[held_out:]], images[order[:held_out]]


def hold_out_test(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Development and test images of a set that has no test split of its own: the same for every run."""
    return split(images, TEST_SHARE, seed=0)
