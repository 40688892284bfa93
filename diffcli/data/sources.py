"""Data sets in memory: images with their labels, a held-out test split, and the files that they were read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffcli.data.array_format import BYTES, ArrayFormat
from diffcli.utils.errors import UserError
from diffcli.utils.files import path_in_environment

NO_LABEL = -1
TEST_SHARE = 0.2
NAMED_SUFFIXES = 8
"""A line names at most this many: numbered files have each its own."""


@dataclass(frozen=True)
class ImageSet:
    """Images, uint8 (N, C, H, W), and their labels, int64 (N,), ``NO_LABEL`` where there is none."""

    images: Tensor
    labels: Tensor

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        labels = f"labels {int(self.labels.min())}..{int(self.labels.max())}" if len(self.labels) else "no labels"
        return f"ImageSet({len(self):,} images of {size}, {labels})"

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
    """The numbers of files and images that were read of a folder, and what became of the others; as text, one line."""

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
            suffix_counts = dict(list(self.passed_over.items())[:NAMED_SUFFIXES])
            counts = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in suffix_counts.items()]
            if others := sum(self.passed_over.values()) - sum(suffix_counts.values()):
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
    """The files of a folder of images, read or passed over, by number; None for the built-in sets."""
    classes: tuple[str, ...] = ()
    """Names of the labels, label 0 first; none where there are no labels."""
    mirrored: bool = False
    """Whether training shows each image mirrored left to right in half of the epochs."""
    by_class: bool = False
    """Whether validation images are held out by class, as the test images were."""
    notes: tuple[str, ...] = ()
    """Lines on the images that a training should say."""


Load = TypeVar("Load", bound=Callable[..., Source])
Shape = tuple[int, int, int]
Names = Sequence[str] | Callable[..., Sequence[str]]


def of_shape(channels: int, height: int, width: int, classes: Names | None = None) -> Callable[[Load], Load]:
    """A decorator that says of a data set what shape its images have, (C, H, W), and which classes.

    Args:
        classes: their names, label 0 first, or a function of the data set's parameters; None where they are known only
            once it is loaded.
    """
    return shaped_by(lambda **parameters: (channels, height, width), classes)


def shaped_by(shape: Callable[..., Shape], classes: Names | None = None) -> Callable[[Load], Load]:
    """A decorator like :func:`of_shape` of a data set whose parameters decide the shape."""

    def mark(load: Load) -> Load:
        vars(load).update(image_shape=shape, classes=classes)
        return load

    return mark


def of_arrays(
    complete: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    array_format: Callable[[Mapping[str, Any]], ArrayFormat],
) -> Callable[[Load], Load]:
    """A decorator of a data set of arrays, whose parameters are completed from its files.

    Args:
        complete: the parameters with what the files say, as they are where they say it all already.
        array_format: the order of axes and the range of values of completed parameters.
    """

    def mark(load: Load) -> Load:
        vars(load).update(completed=complete, array_format=array_format)
        return load

    return mark


def array_format(load: Callable[..., Source], parameters: Mapping[str, Any]) -> ArrayFormat:
    """The format of a data set's images as arrays; those of pictures are bytes, (N, H, W, C)."""
    format_of: Callable[[Mapping[str, Any]], ArrayFormat] | None = getattr(load, "array_format", None)
    return BYTES if format_of is None else format_of(parameters)


def image_shape(load: Callable[..., Source], parameters: Mapping[str, Any]) -> Shape:
    """(C, H, W) of a data set's images, known without loading them.

    Raises:
        ValueError: it does not say.
    """
    shape: Callable[..., Shape] | None = getattr(load, "image_shape", None)
    if shape is None:
        raise ValueError(
            "it does not say the shape of its images; put @diffcli.of_shape(channels, height, width) above it"
        )
    return shape(**parameters)


def class_names(load: Callable[..., Source], parameters: Mapping[str, Any]) -> Sequence[str] | None:
    """The names of a data set's classes, label 0 first; None where they are known only once it is loaded."""
    classes: Names | None = getattr(load, "classes", None)
    return classes(**parameters) if callable(classes) else classes


def check_source(source: object, shape: Shape, classes: Sequence[str] | None) -> None:
    """Checks what a data set returned.

    Args:
        shape: (C, H, W) that it says its images have.
        classes: that it says its labels are; None where it does not say.

    Raises:
        ValueError: it is no :class:`Source`, holds no images, or images or labels are of another type or shape or out
            of range.
    """
    if not isinstance(source, Source):
        raise ValueError(f"it must return a diffcli.Source, not {type(source).__name__}")
    if classes is not None and list(source.classes) != list(classes):
        raise ValueError(f"its Source has the classes {_few(source.classes)}, and it says {_few(classes)}")
    if len(set(source.classes)) != len(source.classes):
        raise ValueError(f"two of its classes {_few(source.classes)} have one name")
    for name, part in (("development", source.development), ("test", source.test)):
        images, labels = part.images, part.labels
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != tuple(shape):
            has = f"{_type(images)} {tuple(images.shape)}"
            raise ValueError(
                f"its {name} images must be uint8 (N, {', '.join(map(str, shape))}), 0 black and 255 white, not {has}"
            )
        if not len(images):
            raise ValueError(f"it has no {name} images")
        if labels.dtype != torch.int64 or tuple(labels.shape) != (len(images),):
            raise ValueError(
                f"its {name} labels must be int64 ({len(images)},), not {_type(labels)} {tuple(labels.shape)}"
            )
        if source.classes and not NO_LABEL <= int(labels.min()) <= int(labels.max()) < len(source.classes):
            labels_range = f"{int(labels.min())}..{int(labels.max())}"
            raise ValueError(
                f"its {name} labels are {labels_range}; with {len(source.classes)} classes they are "
                f"0..{len(source.classes) - 1}, "
                f"and {NO_LABEL} for none"
            )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _few(names: Sequence[str]) -> str:
    return f"[{', '.join(map(str, names)):.100}]"


def default_data_dir() -> Path:
    """The folder of the data sets: ``DIFFCLI_DATA``, else ``data`` here."""
    return path_in_environment("DIFFCLI_DATA") or Path("data")


def split(images: ImageSet, share: float, seed: int, *, by_class: bool = False) -> tuple[ImageSet, ImageSet]:
    """Random split of ``images`` into (1 - share, share), a function of ``seed`` alone.

    Args:
        by_class: the same share of each class, and of the images without one, as nearly as whole images allow; the last
            image of a class is held out only where every class is down to one.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    held_out = round(share * len(images))
    if by_class and len(images):
        labels = images.labels[order]
        counts = _shared_out(held_out, torch.bincount(labels - NO_LABEL), generator)
        rank = torch.empty_like(order)  # of each image among those of its class, in the random order
        for label in labels.unique().tolist():
            rank[labels == label] = torch.arange(int((labels == label).sum()))
        is_validation = rank < counts[labels - NO_LABEL]
        order = torch.cat([order[is_validation], order[~is_validation]])
    return images[order[held_out:]], images[order[:held_out]]


def _shared_out(total: int, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """The number of images of each class to hold out, int64 (K,), ``total`` in all: in proportion to the sizes of the
    classes, int64 (K,), by the largest remainders, and leaving one of each where that is possible."""
    fair = total * sizes.double() / sizes.sum()
    most = (sizes - 1).clamp(min=0)
    counts = fair.long().minimum(most)
    draws = torch.rand(len(sizes), generator=generator)  # decide between equal remainders
    for _ in range(total - int(counts.sum())):
        free = counts < (most if bool((counts < most).any()) else sizes)
        remainder = (fair - counts).masked_fill(~free, -torch.inf)
        equal = remainder >= remainder.max() - 1e-9
        counts[draws.masked_fill(~equal, -1).argmax()] += 1
    return counts


def hold_out_test(images: ImageSet, *, by_class: bool = False) -> tuple[ImageSet, ImageSet]:
    """Development and test images of a set that has no test split of its own: the same for every run."""
    return split(images, TEST_SHARE, seed=0, by_class=by_class)


def renumber_labels(source: Source, classes: Sequence[str]) -> Source:
    """A data set with its labels numbered in another order of the names of its classes.

    Args:
        classes: may hold more names than the data set has.

    Raises:
        UserError: the data set has a class that is none of these.
    """
    if tuple(source.classes) == tuple(classes):
        return source
    if unknown_classes := [name for name in source.classes if name not in classes]:
        raise UserError(
            f"data: the classes of the images are {', '.join(source.classes):.200}, and those of the model "
            f"{', '.join(classes):.200}: leave out the images of class {unknown_classes[0]}"
        )
    numbers = torch.tensor([*map(classes.index, source.classes), NO_LABEL])  # the last one for -1
    parts = [ImageSet(part.images, numbers[part.labels]) for part in (source.development, source.test)]
    return replace(source, development=parts[0], test=parts[1], classes=tuple(classes))
