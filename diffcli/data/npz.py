"""The ``npz`` data set: arrays of images and of labels in one file of NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from diffcli.data.array_files import Head, check_numbers, listing, npz_array, npz_heads
from diffcli.data.array_format import (
    ArrayFormat,
    Channels,
    Geometry,
    Layout,
    Limit,
    check_limits,
    clipped_note,
    complete_parameters,
    format_of,
    geometry_of,
    misfit,
    precision_note,
    range_hint,
    remedy_of,
    shape_of,
)
from diffcli.data.folders import MIN_IMAGES, Size, printable
from diffcli.data.sources import NO_LABEL, ImageSet, Source, hold_out_test, of_arrays, shaped_by
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

MOST_CLASSES = 10_000
MAX_LABEL = 2**31 - 1
Name = Annotated[str, Field(min_length=1)]


class Names(NamedTuple):
    """The names of a file's arrays, those that are looked for, or those that are there."""

    images: str
    labels: str | None
    val_images: str | None
    val_labels: str | None
    test_images: str | None
    test_labels: str | None


PARTS = ("images", "val_images", "test_images")
CONVENTIONS = (
    Names("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
    Names("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
    Names("X_train", "y_train", "X_val", "y_val", "X_test", "y_test"),
    Names("images", "labels", "val_images", "val_labels", "test_images", "test_labels"),
    Names("x", "y", "x_val", "y_val", "x_test", "y_test"),
    Names("X", "y", "X_val", "y_val", "X_test", "y_test"),
    Names("arr_0", "arr_1", None, None, None, None),
)
"""Names that arrays are looked for under where a preset names none: those of MedMNIST, of Keras, of what ``sample``
writes, and of ``numpy.savez`` without names."""


class Content(NamedTuple):
    """The images of a file: how they are called, and their shape."""

    names: Names
    heads: Mapping[str, Head]
    """The headers of all arrays of the file."""
    geometry: Geometry


def _complete_parameters(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters with the name and the geometry of the file's images, where they leave some out; by that name the
    others are looked for."""
    if None not in (parameters[key] for key in ("images", "layout", "size", "channels")):
        return parameters
    path = user_path(parameters["path"], "data.path:")
    content = _content(path, parameters)
    try:
        return {**parameters, "images": content.names.images, **complete_parameters(parameters, content.geometry)}
    except ValueError as error:
        raise UserError(f"data.path: {printable(path)}: {error}") from error


@of_arrays(_complete_parameters, format_of)
@shaped_by(shape_of)
def npz(
    path: Name,
    images: Name | None = None,
    labels: Name | None = None,
    *,
    val_images: Name | None = None,
    val_labels: Name | None = None,
    test_images: Name | None = None,
    test_labels: Name | None = None,
    layout: Layout | None = None,
    size: Size | None = None,
    channels: Channels | None = None,
    low: Limit | None = None,
    high: Limit | None = None,
    out_of_range: Literal["refuse", "clip"] = "refuse",
    mirrored: bool = False,
    hold_out: Literal["by-class", "random"] = "by-class",
) -> Source:
    """Arrays of images, (N, H, W), (N, H, W, C) or (N, C, H, W), with one to eight channels, in a .npz file.

    Names are looked for as MedMNIST's and Keras' files have them, and shapes are read from the file; a resolved preset
    has both.

    Args:
        path: the file.
        images: the name of the array of images.
        labels: of their labels, whole numbers (N,) or (N, 1); -1 is no label.
        val_images: of more images, which become development images, too.
        test_images: of the test images; None holds out a fifth of the others.
        layout: the order of an image's axes, where its shape does not say it.
        size: [height, width], of the file; arrays are neither cropped nor resized.
        low: the value that is black; bytes have 0, and other numbers need one.
        high: the value that is white; bytes have 255.
        out_of_range: what becomes of values outside: refused, or taken as the nearest end.
        mirrored: training shows each image mirrored left to right in half of the epochs.
        hold_out: how test and validation images are drawn, see the data set ``folder``.

    Raises:
        UserError: the file is missing, damaged or holds no such arrays; or their values are out of range.
    """
    parameters = {
        "images": images,
        "labels": labels,
        "val_images": val_images,
        "val_labels": val_labels,
        "test_images": test_images,
        "test_labels": test_labels,
        "layout": layout,
        "low": low,
        "high": high,
    }
    file = user_path(path, "data.path:")
    content = _content(file, parameters)
    geometry, names = content.geometry, content.names
    if (problem := misfit(size, channels, geometry)) is not None:
        raise UserError(f"data.path: the images of {printable(file)} are {problem}")
    reading = _Reading(file, content, ArrayFormat(geometry.layout, low, high), out_of_range == "clip", parameters)
    development = reading.part(names.images, names.labels, "labels")
    if names.val_images:
        more = reading.part(names.val_images, names.val_labels, "val_labels")
        development = ImageSet(*(torch.cat(pair) for pair in zip(_fields(development), _fields(more), strict=True)))
    test = reading.part(names.test_images, names.test_labels, "test_labels") if names.test_images else None
    if len(development) < MIN_IMAGES:
        raise UserError(
            f"data.path: {printable(file)} holds {len(development)} images in {names.images}; at least {MIN_IMAGES} "
            "are needed"
        )
    if test is not None and not len(test):
        raise UserError(f"data.path: {names.test_images} of {printable(file)} holds no images")
    development, test, classes = _number_labels(development, test, file)
    by_class = hold_out == "by-class"
    if test is None:
        development, test = hold_out_test(development, by_class=by_class)
    notes = [*reading.notes, precision_note(reading.form, development.images)]
    return Source(
        development,
        test,
        classes=classes,
        mirrored=mirrored,
        by_class=by_class,
        notes=(_summary(file, content), *filter(None, notes)),
    )


def _fields(images: ImageSet) -> tuple[Tensor, Tensor]:
    return images.images, images.labels


def _content(file: Path, parameters: Mapping[str, Any]) -> Content:
    """The names and the geometry of what is read of a file, all checked by its headers.

    Raises:
        UserError: arrays are missing or ambiguous, hold no numbers, or are of other shapes.
    """
    heads = npz_heads(file)
    names = _names(file, heads, parameters)
    of_images = [name for part in PARTS if (name := getattr(names, part)) is not None]
    if len(set(of_images)) < len(of_images):
        raise UserError(f"data: {', '.join(of_images)}: images of training and of tests must be different arrays")
    for name in of_images:
        check_numbers(heads[name], f"{name} of {printable(file)}")
    geometries = []
    for name in of_images:
        try:
            geometries.append(geometry_of(heads[name].shape[1:], parameters["layout"]))
        except ValueError as error:
            raise UserError(f"data.path: {name} of {printable(file)} is {heads[name]}: {error}") from error
    if len(set(geometries)) > 1:
        sizes = [f"{name} {heads[name]}" for name in of_images]
        raise UserError(f"data.path: the images of {printable(file)} are of several shapes: {', '.join(sizes)}")
    low, high = parameters["low"], parameters["high"]
    try:
        check_limits([heads[name].dtype for name in of_images], low, high)
    except LookupError:
        array_name = next(name for name in of_images if heads[name].dtype != np.uint8)
        hint = range_hint(npz_array(file, array_name))
        raise UserError(f"data.path: {array_name} of {printable(file)} {hint}") from None
    return Content(names, heads, geometries[0])


def _names(file: Path, heads: Mapping[str, Head], parameters: Mapping[str, Any]) -> Names:
    """The names of the arrays that are read: those of the preset, and beside them those of the convention."""
    preset_names = {key: parameters[key] for key in Names._fields}
    for key, name in preset_names.items():
        if name is not None and name not in heads:
            raise UserError(f"data.{key}: {printable(file)} has no array {name!r}; it holds {listing(heads)}")
    for key in ("val", "test"):
        if preset_names[f"{key}_labels"] is not None and preset_names[f"{key}_images"] is None:
            raise UserError(f"data.{key}_labels are of images: name these, too, with `data.{key}_images`")
    images = preset_names["images"] or images_name(file, heads)
    convention = next((one for one in CONVENTIONS if one.images == images), None)
    convention_names = {} if convention is None else convention._asdict()
    expected = {key: name if name is not None else convention_names.get(key) for key, name in preset_names.items()}
    names = {key: name if name in heads else None for key, name in expected.items()}
    return Names(**(names | {"images": images}))


def images_name(file: Path, heads: Mapping[str, Head]) -> str:
    """The name of the array of images in a file, where nobody has told it.

    Raises:
        UserError: it may be none, or several.
    """
    usual = [one.images for one in CONVENTIONS if one.images in heads]
    like_images = [name for name, head in heads.items() if len(head.shape) in (3, 4)]
    candidates = usual or like_images
    if len(candidates) == 1:
        return candidates[0]
    raise UserError(
        f"data.images: which array of {printable(file)} are the images? It holds {listing(heads)}; name one with "
        "`data.images`, and labels with `data.labels`"
    )


class _Reading:
    """Arrays of a file as images with their labels; what is to be known of them becomes notes."""

    def __init__(
        self, file: Path, content: Content, form: ArrayFormat, clip: bool, preset_names: Mapping[str, Any]
    ) -> None:
        self.file, self.content, self.form, self.clip, self.preset_names = file, content, form, clip, preset_names
        self.notes: list[str] = []

    def part(self, images: str, labels: str | None, key: str) -> ImageSet:
        """Images and their labels, by the names of the arrays; ``key`` is the labels' in a preset.

        Raises:
            UserError: values are out of range, or labels do not fit.
        """
        try:
            pixels, clip_count = self.form.pixels(npz_array(self.file, images), clip=self.clip)
        except ValueError as error:
            raise UserError(f"data.path: {images} of {printable(self.file)}: {error}{remedy_of(error)}") from error
        if (note := clipped_note(self.form, clip_count, pixels.numel(), f" of {images}")) is not None:
            self.notes.append(note)
        return ImageSet(pixels, self._labels(labels, len(pixels), key, images))

    def _labels(self, name: str | None, count: int, key: str, images: str) -> Tensor:
        none = torch.full((count,), NO_LABEL)
        if name is None:
            return none
        problem = _misfit(self.content.heads[name], count, images)
        if problem is None:
            labels = npz_array(self.file, name).reshape(count)
            ends = (int(labels.min()), int(labels.max())) if count else ()
            outside = [label for label in ends if not NO_LABEL <= label <= MAX_LABEL]
            if not outside:
                return torch.from_numpy(labels.astype(np.int64))
            problem = f"holds {outside[0]}: labels are 0 to {MAX_LABEL:,}, -1 for none"
        if self.preset_names[key] is None and problem.startswith("is no"):
            self.notes.append(f"note: {name} {problem}: it is left out, and its images have no labels")
            return none
        raise UserError(f"data.{key}: {name} of {printable(self.file)} {problem}")


def _misfit(head: Head, count: int, images: str) -> str | None:
    """A sentence on an array that cannot be the labels of so many images; None where it can."""
    if head.dtype.hasobject or head.dtype.kind not in "biu":
        return f"is no whole number for each image but {head}; labels.astype('int64') makes some of 3.0"
    if head.shape[1:] not in ((), (1,)):
        return f"is no label for each image, (N,) or (N, 1), but {head}"
    if head.shape[0] != count:
        return f"holds {head.shape[0]:,} labels, for the {count:,} images of {images}"
    return None


def _number_labels(
    development: ImageSet, test: ImageSet | None, file: Path
) -> tuple[ImageSet, ImageSet | None, tuple[str, ...]]:
    """The images with their labels numbered from 0, and the names of these, which are the numbers in the file."""
    parts = [development] if test is None else [development, test]
    numbers = torch.cat([part.labels for part in parts]).unique()
    numbers = numbers[numbers != NO_LABEL]
    if len(numbers) > MOST_CLASSES:
        raise UserError(
            f"data.labels: {printable(file)} has {len(numbers):,} different labels, more than {MOST_CLASSES:,}: these "
            "are no classes"
        )

    def renumber(part: ImageSet) -> ImageSet:
        labels = torch.searchsorted(numbers, part.labels)
        return ImageSet(part.images, labels.masked_fill(part.labels == NO_LABEL, NO_LABEL))

    return renumber(development), None if test is None else renumber(test), tuple(map(str, numbers.tolist()))


def _summary(file: Path, content: Content) -> str:
    """The arrays that were read, in words."""
    counts = {
        part: f"{content.heads[name].shape[0]:,} {noun} in {name}"
        for part, noun in zip(PARTS, ("images", "more", "test images"), strict=True)
        if (name := getattr(content.names, part)) is not None
    }
    labels = f"labels in {content.names.labels}" if content.names.labels else "no labels"
    note = ", which are development images, too" if content.names.val_images else ""
    parts = [counts["images"], *([counts["val_images"] + note] if note else [])]
    parts += [counts["test_images"]] if content.names.test_images else []
    return f"{printable(file)}: {', '.join([*parts, labels])}; {content.geometry}"
