"""Images that a user names, files and folders, in the shape that a model takes: read as those of a training are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcli.data.folders import checked_colour, printable, search
from diffcli.data.image_files import BadImage, crop_and_resize, decode_image, mask_pixels
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path


@dataclass(frozen=True)
class ShapedImages:
    """Images at hand, in one shape."""

    images: Tensor
    """uint8 (N, C, H, W); of degraded arrays float, with pixels in about [-0.5, 0.5]."""
    files: list[Path]
    sizes: list[tuple[int, int]]
    """(width, height) of each file's image, upright."""


@dataclass(frozen=True)
class Pictures:
    """The images of files, upright and RGB, each of its own size."""

    files: list[Path]
    images: list[Image.Image]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each."""
        return [picture.size for picture in self.images]

    def subset(self, indices: Sequence[int]) -> Pictures:
        """The pictures with these indices."""
        return Pictures([self.files[index] for index in indices], [self.images[index] for index in indices])

    def in_shape(self, image_shape: tuple[int, int, int]) -> ShapedImages:
        """Their centres cropped to the shape (C, H, W) and resized, grey where C is 1."""
        channels, height, width = image_shape
        pixels = np.stack([crop_and_resize(picture, (height, width), channels) for picture in self.images])
        return ShapedImages(torch.from_numpy(pixels), self.files, self.sizes)


def open_pictures(names: Sequence[Path | str], background: str) -> Pictures:
    """The images of files, and of folders with all folders below them, in the order of their names, turned as their
    EXIF data say.

    Args:
        background: a colour's name or '#rrggbb'; it shows where an image is transparent.

    Raises:
        UserError: there is none, one does not exist or cannot be read, a folder holds none, or the colour is none.
    """
    try:
        checked_colour(background)
    except ValueError as error:
        raise UserError(f"`background` {background}: {error}") from error
    files = [file for name in names for file in _files(name)]
    if not files:
        raise UserError("name at least one image or folder of images")
    return Pictures(files, [_decode(file, background) for file in files])


def _files(name: Path | str) -> list[Path]:
    path = user_path(name)
    if not os.path.isdir(path):
        return [path]
    files, inventory, errors = search(path)
    for error in errors:
        raise UserError(f"{printable(error.filename)} cannot be read: {error.strerror}")
    if not files:
        raise UserError(f"{printable(path)} holds no images ({inventory.counts})")
    return files


def _decode(file: Path, background: str) -> Image.Image:
    try:
        return decode_image(file, background)
    except BadImage as problem:
        raise UserError(f"{printable(file)} {problem}") from problem


def read_mask(file: Path | str, inputs: ShapedImages) -> Tensor:
    """The pixels that are to be painted, bool (H, W): where the mask is white, that is lighter than mid-grey.

    The mask is an image of the size of the files' images, cropped and resized as they are, or of the size that a model
    takes. A pixel that white only touches is painted. What is transparent is not.

    Raises:
        UserError: it cannot be read, is of another size, or marks nothing or everything.
    """
    path = user_path(file)
    name = f"`mask` {printable(path)}"
    try:
        mask = decode_image(path, "black")
    except BadImage as problem:
        raise UserError(f"{name} {problem}") from problem
    height, width = inputs.images.shape[2:]
    for image, size in zip(inputs.files, inputs.sizes, strict=True):
        if mask.size not in (size, (width, height)):
            raise UserError(
                f"{name} is {_size(mask.size)} pixels, and {printable(image)} {_size(size)}; a mask has the size of "
                "the image, "
                f"or the model's, {_size((width, height))}"
            )
    pixels = torch.from_numpy(mask_pixels(mask, (height, width)))
    if not bool(pixels.any()):
        raise UserError(f"{name} marks nothing of the part that the model sees: what is to be painted is white")
    if bool(pixels.all()):
        raise UserError(f"{name} marks all of the part that the model sees: what is known is black")
    return pixels


def _size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
