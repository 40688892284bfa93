"""Images as arrays of numbers: the order of their axes, and the range of their values, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from diffcli.data.pixels import to_uint8, to_unit
from diffcli.utils.errors import UserError

Array = np.ndarray[Any, Any]
Layout = Literal["HW", "HWC", "CHW"]
"""The axes of one image: rows, columns and channels."""
Channels = Annotated[int, Field(ge=1, le=8)]
Limit = Annotated[float, Field(allow_inf_nan=False)]
"""An end of the range of values."""
MOST_CHANNELS = 8
SIDES = range(4, 1025)
AT_ONCE = 1000
"""Images whose values are converted together, so that their floats need not all be in memory."""
FEW_LEVELS = 8
"""Values whose standard deviation is fewer levels than this lose what a note should say."""


class OutOfRange(ValueError):
    """Values lie outside of the range."""


def remedy_of(error: ValueError) -> str:
    """The end of a message on images of a training that cannot be taken."""
    return (
        "; name that range with `data.low` and `data.high`, or set data.out_of_range=clip"
        if isinstance(error, OutOfRange)
        else ""
    )


@dataclass(frozen=True)
class ArrayFormat:
    """The format of images as arrays, (N, H, W), (N, H, W, C) or (N, C, H, W).

    Args:
        low: the value that is black; with ``high`` None, pixels are bytes, 0..255.
        high: the value that is white.
    """

    layout: Layout = "HWC"
    low: float | None = None
    high: float | None = None

    @property
    def level(self) -> float:
        """The distance of two neighbouring values of the 256 that are kept."""
        low, high = self.limits
        return (high - low) / 255

    @property
    def limits(self) -> tuple[float, float]:
        """The values that are black and white."""
        return (0.0, 255.0) if self.low is None or self.high is None else (self.low, self.high)

    def of(self, images: Tensor) -> Array:
        """Images, uint8 or float in about [-0.5, 0.5], (N, C, H, W), as arrays: uint8 where pixels are bytes, else
        float32 in low..high."""
        is_bytes = images.dtype == torch.uint8
        if self.low is None:
            values = images if is_bytes else to_uint8(images)
        else:
            low, high = self.limits
            unit = images.double() / 255 if is_bytes else to_unit(images.double())
            values = (low + (high - low) * unit).float()
        return self.in_layout(values)

    def floats(self, images: Tensor) -> Array:
        """Images, float (N, C, H, W), which may exceed the range of pixels, as arrays, neither rounded nor clamped,
        float32; where pixels are bytes, as they are."""
        if self.low is None:
            return self.in_layout(images)
        low, high = self.limits
        return self.in_layout((low + (high - low) * (images.double() + 0.5)).float())

    def degraded_images(self, arrays: Array) -> Tensor:
        """The inverse of :meth:`floats`: arrays of degraded images, of any values, as float32 (N, C, H, W) with
        pixels in about [-0.5, 0.5]; of bytes uint8, as they are.

        Raises:
            ValueError: values are not finite, or are bytes where the format has a range.
        """
        images = np.array(self.channels_first(arrays), order="C")
        if images.dtype == np.uint8:
            if self.low is not None:
                raise ValueError("is uint8, and numbers in the range of the model's images are needed")
            return torch.from_numpy(images)
        if not np.isfinite(images).all():
            raise ValueError("holds values that are not finite")
        low, high = self.limits
        values = torch.from_numpy(images.astype(np.float64))
        return (values if self.low is None else (values - low) / (high - low) - 0.5).float()

    def deviations(self, deviation: Tensor) -> Array:
        """Differences of images, float (N, C, H, W), where pixels have the range 1, as those of their arrays."""
        return self.in_layout(deviation if self.low is None else (deviation * (255 * self.level)).float())

    def in_layout(self, values: Tensor) -> Array:
        """Values (..., C, H, W) in this order of axes, as they are."""
        array: Array = values.cpu().numpy()
        channels = array.ndim - 3  # further axes may stand before those of the images
        if self.layout != "CHW":
            array = array[..., 0, :, :] if self.layout == "HW" else np.moveaxis(array, channels, -1)
        return np.ascontiguousarray(array)

    def channels_first(self, arrays: Array) -> Array:
        """Arrays of images in this order of axes, (N, C, H, W)."""
        if self.layout == "HW":
            return arrays[:, None]
        return arrays.transpose(0, 3, 1, 2) if self.layout == "HWC" else arrays

    def pixels(self, arrays: Array, *, clip: bool = False) -> tuple[Tensor, int]:
        """Arrays of images as pixels, uint8 (N, C, H, W), rounded to 256 levels; and how many values were clipped.

        Args:
            clip: what lies outside of the range becomes its nearest end.

        Raises:
            ValueError: values are not finite, or lie outside of the range.
        """
        images = self.channels_first(arrays)
        if self.low is None:
            if images.dtype != np.uint8:
                raise ValueError(f"is {images.dtype}, and bytes are needed, uint8 in 0..255")
            return torch.from_numpy(np.array(images, order="C")), 0
        low, high = self.limits
        outside = _outside(images, low, high)
        if outside and not clip:
            share = outside / images.size
            raise OutOfRange(
                f"{outside:,} of {images.size:,} values ({share:.2g} of them) lie outside of {low:g} to "
                f"{high:g}: they are from {images.min():g} to {images.max():g}"
            )
        pixels = np.empty(images.shape, np.uint8)
        for first in range(0, len(images), AT_ONCE):
            unit = (images[first : first + AT_ONCE].astype(np.float64) - low) / (high - low)
            pixels[first : first + AT_ONCE] = np.rint(255 * unit.clip(0, 1))
        return torch.from_numpy(pixels), outside


BYTES = ArrayFormat()
"""The format of pictures as arrays: bytes, (N, H, W, C)."""


def _outside(images: Array, low: float, high: float) -> int:
    """The number of values outside of low..high.

    Raises:
        ValueError: some are not finite.
    """
    outside = not_finite = 0
    for first in range(0, len(images), AT_ONCE):
        part = images[first : first + AT_ONCE]
        if part.dtype.kind == "f":
            not_finite += int((~np.isfinite(part)).sum())
        # Python's numbers take the type of the values, so that a limit is compared as it was rounded there.
        outside += int(((part < low) | (part > high)).sum())
    if not_finite:
        raise ValueError(f"{not_finite:,} of {images.size:,} values are not finite (NaN or infinite); replace them")
    return outside


class Geometry(NamedTuple):
    """The axes and the sizes of one image."""

    layout: Layout
    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        axes = {"HW": "rows, columns", "HWC": "rows, columns, channels", "CHW": "channels, rows, columns"}
        return f"{self.height}x{self.width}, {channels} (axes: {axes[self.layout]})"


def geometry_of(shape: Sequence[int], layout: Layout | None) -> Geometry:
    """The geometry of an image whose array has this shape, 1 to 8 channels and sides of 4 to 1,024 pixels.

    Args:
        layout: None where there is only one that the shape can have.

    Raises:
        ValueError: there is none, or several.
    """
    size = "x".join(map(str, shape))
    readings = _readings(shape)
    if layout is not None:
        readings = [one for one in readings if one.layout == layout]
    if not readings:
        kinds = f"data.layout={layout}" if layout else "(H, W), (H, W, C) or (C, H, W)"
        raise ValueError(
            f"images of shape {size or 'nothing'} are not {kinds} with 1 to {MOST_CHANNELS} channels and sides of "
            f"{SIDES[0]} to {SIDES[-1]:,} pixels"
        )
    if len(readings) > 1:
        raise ValueError(f"images of shape {size} have their channels first or last: say which, data.layout=CHW or HWC")
    return readings[0]


def _readings(shape: Sequence[int]) -> list[Geometry]:
    if len(shape) == 2:
        geometries = [Geometry("HW", 1, *shape)]
    elif len(shape) == 3:
        first, middle, last = shape
        geometries = [Geometry("HWC", last, first, middle), Geometry("CHW", first, middle, last)]
    else:
        return []
    return [
        one for one in geometries if 1 <= one.channels <= MOST_CHANNELS and one.height in SIDES and one.width in SIDES
    ]


def format_of(parameters: Mapping[str, Any]) -> ArrayFormat:
    """The format that the parameters of a data set of arrays describe, once they are completed."""
    return ArrayFormat(parameters["layout"], parameters["low"], parameters["high"])


def shape_of(
    *, channels: int | None = None, size: int | list[int] | None = None, **others: Any
) -> tuple[int, int, int]:
    """(C, H, W) of images whose preset says so much of their size.

    Raises:
        ValueError: it says none, which the files do.
    """
    if channels is None or size is None:
        raise ValueError("the size of its images is in its files, which were not read")
    height, width = (size, size) if isinstance(size, int) else size
    return channels, height, width


def complete_parameters(parameters: Mapping[str, Any], geometry: Geometry) -> dict[str, Any]:
    """The parameters of a data set with the geometry of its images written out.

    Raises:
        ValueError: they name another one.
    """
    size, channels = parameters["size"], parameters["channels"]
    preset_values = ([size, size] if isinstance(size, int) else size), channels
    file_values = [geometry.height, geometry.width], geometry.channels
    for key, preset_value, file_value in zip(("size", "channels"), preset_values, file_values, strict=True):
        if preset_value not in (None, file_value):
            raise ValueError(
                f"the images are {geometry}, and `data.{key}` says {parameters[key]}: arrays are taken as they are, "
                f"so leave data.{key} out"
            )
    return {"layout": geometry.layout, "size": file_values[0], "channels": file_values[1]}


def misfit(size: int | list[int] | None, channels: int | None, geometry: Geometry) -> str | None:
    """The end of a sentence on images of another geometry than a preset says; None where they fit, or it says none."""
    if size is None or channels is None or shape_of(channels=channels, size=size) == geometry[1:]:
        return None
    sides_asked = "x".join(map(str, shape_of(channels=channels, size=size)[1:]))
    return f"{geometry}, and those asked for {sides_asked} with {channels} channels"


def clipped_note(form: ArrayFormat, clip_count: int, count: int, source: str = "") -> str | None:
    """A sentence on values that were clipped, of so many; None where there are none.

    Args:
        source: where they are, with a preposition.
    """
    low, high = form.limits
    return (
        f"note: {clip_count:,} of {count:,} values{source} are clipped to {low:g} to {high:g}" if clip_count else None
    )


def check_limits(dtypes: Sequence[np.dtype[Any]], low: float | None, high: float | None) -> None:
    """Checks that the range of values is told, or that they are bytes.

    Raises:
        UserError: one of ``low`` and ``high`` is missing, or they are not in that order.
        LookupError: both are missing, and the values are no bytes.
    """
    if low is None and high is None:
        if any(dtype != np.uint8 for dtype in dtypes):
            raise LookupError
        return
    if low is None or high is None:
        missing_key, other_key = ("low", "high") if low is None else ("high", "low")
        raise UserError(
            f"data.{missing_key} is missing beside data.{other_key}: which value is black, and which is white?"
        )
    if not low < high:
        raise UserError(f"data.low {low:g} is black and data.high {high:g} is white: the former must be smaller")


def range_hint(values: Array) -> str:
    """A sentence that asks for the range of an array's values, with their ends and the keys to write."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return "holds no finite value"
    least, most = float(finite.min()), float(finite.max())
    guesses = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0)]
    low, high = next(((a, b) for a, b in guesses if a <= least and most <= b), (least, most))
    return (
        f"is of {values.dtype}, with values from {least:g} to {most:g}: say which are black and white, for example "
        f"data.low={low:g} and data.high={high:g}"
    )


def precision_note(form: ArrayFormat, pixels: Tensor) -> str | None:
    """A sentence on what 256 levels keep of values that were no bytes."""
    if form.low is None:
        return None
    deviation = float(pixels.float().std())
    low, high = form.limits
    line = f"values from {low:g} to {high:g} are kept in 256 levels, {form.level:.3g} apart"
    if deviation < FEW_LEVELS:
        line += (
            f"; their standard deviation is {deviation:.2g} of these, so much of them is lost: a narrower range with "
            "data.out_of_range: clip keeps more"
        )
    return line
