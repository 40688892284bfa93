"""The ``npy`` data set: a folder of arrays, each an image in a file of NumPy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from diffcli.data.array_files import check_numbers, npy_array, npy_head
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
from diffcli.data.folders import MIN_IMAGES, Size, classes_of, printable, search
from diffcli.data.sources import ImageSet, Inventory, Source, hold_out_test, of_arrays, shaped_by
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

SUFFIXES = frozenset({".npy"})


def _complete_parameters(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters with the geometry of the first file's image, where they leave some of it out."""
    if None not in (parameters[key] for key in ("layout", "size", "channels")):
        return parameters
    files, _ = _files(parameters["path"])
    geometry = _geometry(files[0], parameters["layout"], parameters["low"], parameters["high"])
    try:
        return {**parameters, **complete_parameters(parameters, geometry)}
    except ValueError as error:
        raise UserError(f"data.path: {printable(files[0])}: {error}") from error


@of_arrays(_complete_parameters, format_of)
@shaped_by(shape_of)
def npy(
    path: Annotated[str, Field(min_length=1)],
    layout: Layout | None = None,
    *,
    size: Size | None = None,
    channels: Channels | None = None,
    low: Limit | None = None,
    high: Limit | None = None,
    out_of_range: Literal["refuse", "clip"] = "refuse",
    mirrored: bool = False,
    hold_out: Literal["by-class", "random"] = "by-class",
) -> Source:
    """A folder of .npy files, searched recursively: each an image, (H, W), (H, W, C) or (C, H, W), with one to eight
    channels, all of one shape.

    The sub-folders are the classes, as those of the data set ``folder``; shapes are read from the files.

    Args:
        path: the folder.
        layout: the order of an image's axes, where its shape does not say it.
        size: [height, width], of the files; arrays are neither cropped nor resized.
        low: the value that is black; bytes have 0, and other numbers need one.
        high: the value that is white; bytes have 255.
        out_of_range: what becomes of values outside: refused, or taken as the nearest end.
        mirrored: training shows each image mirrored left to right in half of the epochs.
        hold_out: how test and validation images are drawn, see the data set ``folder``.

    Raises:
        UserError: the folder is missing, holds fewer than ten files, or one of them is damaged, of another shape, or
            has values out of range.
    """
    files, inventory = _files(path)
    geometry = _geometry(files[0], layout, low, high)
    if (problem := misfit(size, channels, geometry)) is not None:
        raise UserError(f"data.path: {printable(files[0])} is {problem}")
    form = ArrayFormat(geometry.layout, low, high)
    images = torch.empty((len(files), *geometry[1:]), dtype=torch.uint8)
    clip_count = 0
    for number, file in enumerate(files):
        other = _geometry(file, layout, low, high)
        if other != geometry:
            raise UserError(
                f"data.path: {printable(file)} is {other}, and {printable(files[0])} {geometry}: all must be of one "
                "shape"
            )
        try:
            pixels, outside = form.pixels(npy_array(file)[None], clip=out_of_range == "clip")
        except ValueError as error:
            raise UserError(f"data.path: {printable(file)}: {error}{remedy_of(error)}") from error
        images[number] = pixels[0]
        clip_count += outside
    all_equal = len(files) > 1 and bool((images == images[:1]).all())
    classes, labels = classes_of(user_path(path), files)
    by_class = hold_out == "by-class"
    development, test = hold_out_test(ImageSet(images, labels), by_class=by_class)
    notes = [f"each is {geometry}", clipped_note(form, clip_count, images.numel()), precision_note(form, images)]
    return Source(
        development,
        test,
        inventory=replace(inventory, images=len(files), all_equal=all_equal),
        classes=classes,
        mirrored=mirrored,
        by_class=by_class,
        notes=tuple(filter(None, notes)),
    )


def _files(path: str) -> tuple[list[Path], Inventory]:
    """The files of a folder and what else is in it.

    Raises:
        UserError: it is none, a part of it cannot be read, or there are fewer than ten.
    """
    root = user_path(path, "data.path:")
    if not os.path.isdir(root):
        hint = "; of a .npz file it is data {name: npz}" if os.path.isfile(root) else ""
        raise UserError(f"data.path: '{printable(path)}' is not a folder; name one that holds .npy files{hint}")
    files, inventory, errors = search(root, SUFFIXES)
    for error in errors:
        raise UserError(f"data.path: {printable(error.filename)} cannot be read: {error.strerror}")
    if len(files) < MIN_IMAGES:
        raise UserError(
            f"data.path: {inventory.folder} holds {len(files)} .npy files; at least {MIN_IMAGES} are needed "
            f"({replace(inventory, images=len(files)).counts})"
        )
    return files, inventory


def _geometry(file: Path, layout: Layout | None, low: float | None, high: float | None) -> Geometry:
    """The geometry of a file's image, checked by its header.

    Raises:
        UserError: it holds no numbers, has another shape, or a range that is not told.
    """
    head = npy_head(file)
    check_numbers(head, printable(file))
    try:
        check_limits([head.dtype], low, high)
        return geometry_of(head.shape, layout)
    except LookupError:
        raise UserError(f"data.path: {printable(file)} {range_hint(npy_array(file))}") from None
    except ValueError as error:
        raise UserError(f"data.path: {printable(file)} is {head}: {error}") from error
