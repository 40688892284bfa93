"""Arrays that a user names, files and folders, as a model takes them; or else pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from diffcli.data.array_files import Head, check_numbers, npy_array, npz_array, npz_heads
from diffcli.data.array_format import BYTES, Array, ArrayFormat
from diffcli.data.folders import printable, search
from diffcli.data.npy import SUFFIXES
from diffcli.data.npz import images_name
from diffcli.data.user_images import Pictures, ShapedImages, open_pictures
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

ARCHIVE = ".npz"
DEGRADED_ARRAY = "degraded"
"""The name of the array of degraded images in what ``restore`` writes."""


@dataclass(frozen=True)
class Arrays:
    """The images of files of arrays, all in the shape of a model."""

    files: list[Path]
    """The file of each image."""
    images: Tensor
    """uint8 (N, C, H, W); degraded ones float with pixels in about [-0.5, 0.5]."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each."""
        height, width = self.images.shape[2:]
        return [(width, height)] * len(self.images)

    def subset(self, indices: Sequence[int]) -> Arrays:
        """The images with these indices."""
        return Arrays([self.files[index] for index in indices], self.images[list(indices)])

    def in_shape(self, image_shape: tuple[int, int, int]) -> ShapedImages:
        """The arrays as they are; they have no other shape.

        Raises:
            UserError: it is another one.
        """
        if tuple(self.images.shape[1:]) != image_shape:
            raise UserError(f"`tile`: arrays are of the model's size, {self.sizes[0][0]}x{self.sizes[0][1]}")
        return ShapedImages(self.images, self.files, self.sizes)


def open_images(
    names: Sequence[Path | str],
    background: str,
    form: ArrayFormat,
    image_shape: tuple[int, int, int],
    *,
    degraded: bool = False,
) -> Pictures | Arrays:
    """The images of files and folders: pictures, or arrays, .npy and .npz.

    Args:
        background: see :func:`~diffcli.data.user_images.open_pictures`.
        form: of the arrays that a model was trained on, which of a folder takes the arrays.
        image_shape: (C, H, W) of the model.
        degraded: see :func:`open_arrays`.

    Raises:
        UserError: they are both, cannot be read, or do not fit the model.
    """
    of_arrays = [_is_array(name, form) for name in names]
    if any(of_arrays):
        if not all(of_arrays):
            pictures = [name for name, is_array in zip(names, of_arrays, strict=True) if not is_array]
            raise UserError(f"{printable(pictures[0])} is no array, and others are; restore each kind by itself")
        return open_arrays(names, form, image_shape, degraded=degraded)
    if image_shape[0] not in (1, 3) and names:
        raise UserError(
            f"{printable(names[0])}: a picture is grey or has three colours, and this model's images have "
            f"{image_shape[0]} channels; name arrays, .npy or .npz"
        )
    return open_pictures(names, background)


def _is_array(name: Path | str, form: ArrayFormat) -> bool:
    path = user_path(name)
    return path.suffix.lower() in (*SUFFIXES, ARCHIVE) or (form != BYTES and os.path.isdir(path))


def open_arrays(
    names: Sequence[Path | str], form: ArrayFormat, image_shape: tuple[int, int, int], *, degraded: bool = False
) -> Arrays:
    """The images of files, each of one or of many, and of folders of .npy files, in the order of their names.

    Args:
        degraded: whether the numbers are those of degraded images, as ``restore`` writes them into a .npz: in the range
            of the data or beyond, and not rounded; of pictures in about [-0.5, 0.5].

    Raises:
        UserError: one cannot be read, is of another shape than the model's, or has values out of range.
    """
    files, images = [], []
    for file in [file for name in names for file in _files(name)]:
        array = _array(file, degraded)
        try:
            file_format, batch = _of_shape(array, form, image_shape)
            pixels = file_format.degraded_images(batch) if degraded else file_format.pixels(batch)[0]
        except ValueError as error:
            raise UserError(f"{printable(file)} {error}") from error
        files += [file] * len(pixels)
        images.append(pixels)
    if len({part.dtype for part in images}) > 1:
        byte_file = next(file for file, one in zip(files, images, strict=False) if not one.is_floating_point())
        raise UserError(f"{printable(byte_file)} holds bytes, and others numbers; restore each kind by itself")
    return Arrays(files, torch.cat(images))


def _files(name: Path | str) -> list[Path]:
    path = user_path(name)
    if not os.path.isdir(path):
        return [path]
    files, inventory, errors = search(path, SUFFIXES)
    for error in errors:
        raise UserError(f"{printable(error.filename)} cannot be read: {error.strerror}")
    if not files:
        raise UserError(f"{printable(path)} holds no .npy files ({inventory.counts})")
    return files


def _array(file: Path, degraded: bool) -> Array:
    if file.suffix.lower() != ARCHIVE:
        array = npy_array(file)
        check_numbers(Head(array.shape, array.dtype), printable(file))
        return array
    heads = npz_heads(file)
    name = DEGRADED_ARRAY if degraded and DEGRADED_ARRAY in heads else images_name(file, heads)
    check_numbers(heads[name], f"{name} of {printable(file)}")
    return npz_array(file, name)


def _of_shape(array: Array, form: ArrayFormat, image_shape: tuple[int, int, int]) -> tuple[ArrayFormat, Array]:
    """An array of one image or of several as one of several, and their format.

    Raises:
        ValueError: it has another shape.
    """
    channels, height, width = image_shape
    shapes: dict[str, tuple[int, ...]] = {"HWC": (height, width, channels), "CHW": image_shape}
    shapes |= {"HW": (height, width)} if channels == 1 else {}
    for layout in sorted(shapes, key=lambda name: name != form.layout):  # the model's own first
        batch = array[None] if array.shape == shapes[layout] else array
        if batch.shape[1:] == shapes[layout] and len(batch):
            return replace(form, layout=layout), batch  # type: ignore[arg-type]
    kinds = ", ".join(str(shape) for shape in shapes.values())
    raise ValueError(f"is of shape {array.shape}; images of this model are {kinds}, alone or many, (N, ...)")
