"""Reads an image file as pixels of 8 bits: its format, transparency, orientation and depth."""

from __future__ import annotations

import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP",
)  # fmt: skip
"""The formats of Pillow that are told by their first bytes and decoded without another program."""
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
SIXTEEN_BIT_FORMATS = frozenset({"PNG", "PPM"})
"""Formats whose mode I holds 0..65535; in a TIFF it may hold anything."""

BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
"""TIFF 6.0."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what Pillow has to say of damaged files, BadImage says


FACTS_SIDE = 64
"""Pixels along a side that colour is told from."""
CHROMA, CHROMA_SHARE = 24, 0.005
"""A picture is in colour where the channels of that share of its pixels are further apart: the noise of a JPEG in grey
is less."""


class BadImage(Exception):
    """A file that cannot be used; the text says why."""


@cache
def readable_formats() -> tuple[frozenset[str], tuple[str, ...]]:
    """The suffixes, in lower case, and the formats that the installed Pillow reads."""
    suffixes = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)
    return suffixes, tuple(kind for kind in FORMATS if kind in Image.OPEN)


@contextmanager
def _named_failures() -> Iterator[None]:
    """Turns whatever a damaged or unfit file makes Pillow raise into a :class:`BadImage`."""
    try:
        # Pillow only warns of an image that would fill the memory, up to twice its limit.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is no harm, such as damaged EXIF data
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (BadImage, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except Exception as error:  # a damaged file makes a decoder fail in any way
        if isinstance(error, OSError) and error.errno:
            raise BadImage(f"cannot be read: {os.strerror(error.errno)}") from error
        raise BadImage("is not a readable image") from error


def decode_image(path: Path, background: str) -> Image.Image:
    """The first frame of a file, upright, of 8 bits and without transparency: mode RGB.

    Args:
        path: of a file in one of ``FORMATS``, whatever its suffix.
        background: the colour, as Pillow names colours, that shows where the image is transparent.

    Raises:
        BadImage: it cannot be read or has too many pixels, or pixels of unknown range.
    """
    with _named_failures():
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadImage("is not a regular file")
        return _first_frame(path, background)


def decoded_content(content: bytes, background: str) -> Image.Image:
    """The first frame of a file's content, see :func:`decode_image`.

    Raises:
        BadImage: see there.
    """
    with _named_failures():
        return _first_frame(io.BytesIO(content), background)


def _first_frame(source: Path | io.BytesIO, background: str) -> Image.Image:
    with Image.open(source, formats=readable_formats()[1]) as image:
        image.load()
        return flatten(_eight_bits(_orient(image), image), background)


class PictureFacts(NamedTuple):
    """The size of a picture, and whether it has colour and transparent pixels."""

    size: tuple[int, int]
    """(width, height) in the file."""
    coloured: bool
    transparent: bool
    """Whether any pixel is."""


def picture_facts(path: Path) -> PictureFacts:
    """A quick look at an image file: of a large JPEG an eighth of each side is decoded.

    Raises:
        BadImage: see :func:`decode_image`.
    """
    with _named_failures(), Image.open(path, formats=readable_formats()[1]) as image:
        size = image.size
        image.draft("RGB", (FACTS_SIDE, FACTS_SIDE))
        image.load()
        pixels = _eight_bits(image, image)
        opaque = not pixels.has_transparency_data or np.asarray(pixels.convert("RGBA").getchannel("A")).min() == 255
        thumbnail = flatten(pixels, "white")
        thumbnail.thumbnail((FACTS_SIDE, FACTS_SIDE))
        levels = np.asarray(thumbnail).astype(int)
        coloured = bool((np.ptp(levels, axis=2) > CHROMA).mean() > CHROMA_SHARE)
        return PictureFacts(size, coloured, not opaque)


def crop_and_resize(image: Image.Image, sides: tuple[int, int], channels: int) -> np.ndarray[Any, Any]:
    """The centre of an RGB image, cropped to the shape of ``sides`` and resized: uint8 (channels, H, W).

    Args:
        sides: (H, W) in pixels.
        channels: 1 (grey) or 3 (RGB).
    """
    with _named_failures():
        pixels = _cropped(image.convert("L" if channels == 1 else "RGB"), sides, Image.Resampling.LANCZOS)
        return pixels.reshape(*sides, channels).transpose(2, 0, 1)


def mask_pixels(mask: Image.Image, sides: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The pixels that any part of an RGB image lighter than mid-grey touches, cropped and resized as by
    :func:`crop_and_resize`: bool (H, W)."""
    light = np.where(np.asarray(mask.convert("L")) >= 128, np.float32(1), np.float32(0))
    return _cropped(Image.fromarray(light), sides, Image.Resampling.BOX) > 0


def read_image(path: Path, sides: tuple[int, int], channels: int, background: str) -> np.ndarray[Any, Any]:
    """An image file's pixels as a model has them, uint8 (channels, H, W).

    They are :func:`decode_image`, then cropped and resized by :func:`crop_and_resize`.

    Raises:
        BadImage: see :func:`decode_image`.
    """
    return crop_and_resize(decode_image(path, background), sides, channels)


def _orient(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of damaged EXIF data; the pixels are there
        return image


def _eight_bits(image: Image.Image, file: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES or (image.mode == "I" and file.format in SIXTEEN_BIT_FORMATS):
        levels = np.asarray(image)
        tags = getattr(file, "tag_v2", {})  # of a TIFF, which may hold fewer bits, and white as 0
        share = levels / (2.0 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1)
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            share = 1 - share
        grey = Image.fromarray(np.rint(255 * share).astype(np.uint8))
        if "transparency" in image.info:  # one level stands for transparent pixels
            grey.putalpha(Image.fromarray(np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8)))
        return grey
    if image.mode in ("I", "F"):
        raise BadImage(f"has pixels of unknown range (Pillow's mode {image.mode}); save it with 8 or 16 bits")
    return image


def flatten(image: Image.Image, background: str) -> Image.Image:
    """``image``, of any mode of 8 bits, over a background of one colour: mode RGB."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    over = image.convert("LA" if image.mode == "La" else image.mode).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, background), over).convert("RGB")


def _cropped(image: Image.Image, sides: tuple[int, int], resampling: Image.Resampling) -> np.ndarray[Any, Any]:
    height, width = sides
    scale = min(image.height / height, image.width / width)
    # Whole pixels, as many as the shape of the result allows, but at least one.
    rows, columns = max(round(scale * height), 1), max(round(scale * width), 1)
    left, top = (image.width - columns) // 2, (image.height - rows) // 2
    box = (left, top, left + columns, top + rows)
    return np.asarray(image.resize((width, height), resampling, box=box))
