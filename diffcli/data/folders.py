"""The ``folder`` data set: any folder of images, searched recursively."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import ImageColor
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from torch import Tensor

from diffcli.data.image_files import BadImage, read_image, readable_formats
from diffcli.data.label_names import numeric_order
from diffcli.data.sources import NO_LABEL, ImageSet, Inventory, Source, hold_out_test, shaped_by
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

MIN_IMAGES = 10
COPIES = frozenset({"__MACOSX", "@eaDir"})
"""Folders where systems keep copies and thumbnails of what lies beside them, under no hidden name."""


def checked_colour(colour: str) -> str:
    """A colour as presets name it.

    Raises:
        ValueError: it is none.
    """
    try:
        if len(ImageColor.getrgb(colour)) == 3:
            return colour
    except ValueError:
        pass
    raise PydanticCustomError("colour", "a colour is a name or '#rrggbb', for example white, black or '#808080'")


def sides(size: int | list[int]) -> tuple[int, int]:
    """(H, W) of images whose preset says so much of their size: one side of a square, or both."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _check_size(size: Any) -> Any:
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(type(side) is int and 4 <= side <= 1024 for side in sides):
        raise PydanticCustomError(
            "size", "a size is one side in pixels or [height, width], each greater than or equal to 4 and at most 1024"
        )
    return size


Size = Annotated[Any, AfterValidator(_check_size)]
"""int, or a list of two."""
Colour = Annotated[str, AfterValidator(checked_colour)]


def search(root: Path, suffixes: Collection[str] | None = None) -> tuple[list[Path], Inventory, list[OSError]]:
    """One name of each image file below ``root``, sorted; the numbers of the others; and which folders cannot be
    read.

    Args:
        suffixes: of the files, in lower case; None is those of pictures.
    """
    suffixes = readable_formats()[0] if suffixes is None else suffixes
    images: list[Path] = []
    passed_over: Counter[str] = Counter()
    errors: list[OSError] = []
    visits: set[object] = set()
    files = links = hidden = 0
    for folder, folders, names in os.walk(root, onerror=errors.append, followlinks=True):
        real_folder = os.path.realpath(folder)
        if real_folder in visits:  # a link led here
            folders.clear()
            continue
        visits.add(real_folder)
        hidden += sum(map(_is_hidden, folders + names))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(name for name in names if not _is_hidden(name)):
            files += 1
            suffix = os.path.splitext(name)[1].lower()
            if suffix not in suffixes:
                passed_over[printable(suffix)] += 1
                continue
            file = Path(folder, name)
            identity = _identity(file, real_folder)
            if identity in visits:
                links += 1
            else:
                visits.add(identity)
                images.append(file)
    counts = dict(sorted(passed_over.items(), key=lambda item: (-item[1], item[0])))
    inventory = Inventory(printable(root), files=files, passed_over=counts, links=links, hidden=hidden)
    return sorted(images), inventory, errors


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in COPIES


def _identity(file: Path, real_folder: str) -> object:
    """The same for all names of a file, symbolic and hard links."""
    try:
        status = file.stat()
    except OSError:
        return str(file)
    if status.st_nlink > 1:
        return status.st_dev, status.st_ino
    return os.path.realpath(file) if file.is_symlink() else os.path.join(real_folder, file.name)


def printable(path: object) -> str:
    """A path for a line of text: line breaks, and bytes that are no text, as escapes."""
    text = str(path)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


@shaped_by(lambda channels, size, **others: (channels, *sides(size)))
def folder(
    path: Annotated[str, Field(min_length=1)],
    size: Size,
    channels: Literal[1, 3] = 3,
    background: Colour = "white",
    on_bad_image: Literal["refuse", "skip"] = "refuse",
    mirrored: bool = False,
    *,
    hold_out: Literal["by-class", "random"] = "by-class",
) -> Source:
    """Any folder of images, searched recursively: centre-cropped to the shape of ``size``, resized.

    Links are followed, each image is read once; hidden files and folders are not read. EXIF orientation is applied. The
    sub-folders are the classes, as in torchvision's ImageFolder; images beside them have no label.

    Args:
        path: the folder.
        size: side of a square in pixels, or [height, width]; each 4..1024.
        channels: 1 (grey) or 3 (RGB).
        background: a colour's name or '#rrggbb'; it shows where an image is transparent.
        on_bad_image: what to do with a file that cannot be used; what is skipped is named.
        mirrored: training shows each image mirrored left to right in half of the epochs.
        hold_out: how test and validation images are drawn: the same share of each class, or of all images together,
            which may leave a class without training images (versions before 0.4 did that).

    Raises:
        UserError: the folder is missing, holds fewer than ten images, or one of them is bad and not to be skipped.
    """
    root = user_path(path, "data.path:")
    if not os.path.isdir(root):
        raise UserError(f"data.path: '{printable(path)}' is not a folder; name one that holds images")
    files, inventory, errors = search(root)
    bad_files = []

    def refuse_or_skip(file: object, problem: object) -> None:
        line = f"{printable(file)} {problem}"
        if on_bad_image == "refuse":
            raise UserError(
                f"data.path: {line}; remove it, save it again, or leave it out with `data.on_bad_image` skip"
            )
        bad_files.append(line)

    for error in errors:
        refuse_or_skip(error.filename, f"cannot be read: {error.strerror}")
    height, width = sides(size)
    pixels = np.empty((len(files), channels, height, width), np.uint8)
    files_read: list[Path] = []
    for file in files:
        try:
            pixels[len(files_read)] = read_image(file, (height, width), channels, background)
            files_read.append(file)
        except BadImage as problem:
            refuse_or_skip(file, problem)
    count = len(files_read)
    all_equal = count > 1 and all(np.array_equal(image, pixels[0]) for image in pixels[1:count])
    inventory = replace(inventory, images=count, skipped=len(files) - count, all_equal=all_equal)
    if count < MIN_IMAGES:
        raise UserError(
            f"data.path: {inventory.folder} holds {count} images; at least {MIN_IMAGES} are needed ({inventory.counts})"
        )
    names, labels = classes_of(root, files_read)
    by_class = hold_out == "by-class"
    development, test = hold_out_test(ImageSet(torch.from_numpy(pixels[:count]), labels), by_class=by_class)
    return Source(development, test, tuple(bad_files), inventory, names, mirrored, by_class)


def classes_of(root: Path, files: list[Path]) -> tuple[tuple[str, ...], Tensor]:
    """The names of the sub-folders of ``root`` that hold images, numbers in their order and then the others, and the
    index of each file's, int64 (N,)."""
    parts = [file.relative_to(root).parts for file in files]
    names = sorted({path[0] for path in parts if len(path) > 1}, key=numeric_order)
    labels = {name: label for label, name in enumerate(names)}
    of_files = [labels[path[0]] if len(path) > 1 else NO_LABEL for path in parts]
    return tuple(map(printable, names)), torch.tensor(of_files)
