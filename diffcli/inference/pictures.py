"""Grids, single files, arrays and animations of samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import torch
from numpy.lib import format as npy_format
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional as F

from diffcli.data.array_format import Array
from diffcli.inference.options import Zoom, check_zoom
from diffcli.utils.options import AUTO

TILE, LEAST_TILE = 64, 32
"""Pixels along a tile's width that a grid is enlarged to, and where it would be too wide, at least."""
WIDEST = 2048
"""Pixels along a grid's width, which fit a screen."""
MAX_FRAMES = 60
CAPTION_HEIGHT = 16
GAP = 2
"""Pixels around each tile of a grid."""
WIDE_GAP = 6
"""The same where a tile has a line in it, between channels that stand side by side."""
GAP_GREY = 64
COLUMNS = 16
"""The most columns of labelled rows."""
MARGIN = 6
"""Pixels on either side of a row's name."""
LONGEST_NAME = 32
"""Characters of a row's name."""
REST = 1.5
"""Seconds that an animation rests on its last frame."""
SHOWN_NOISE = 6.0
"""The range of noise between black and white of a picture, in its standard deviations."""
RESTORATION = "restoration, not generation"
"""The label of whatever starts from blurred training images."""


def channels_across(channels: int) -> int:
    """The number of pictures that stand side by side for an image of so many channels: one of a grey or colour image,
    else each channel as a grey one."""
    return 1 if channels in (1, 3) else channels


def to_pictures(images: Tensor) -> Tensor:
    """Images, uint8 (..., C, H, W), as pictures, (..., 1 or 3, H, W'): channels that are no colours side by side, with
    a line between them."""
    *_, channels, height, _ = images.shape
    if channels_across(channels) == 1:
        return images
    line = images.new_full((*images.shape[:-3], height, 1), GAP_GREY)
    parts = [part for channel in images.unbind(-3) for part in (channel, line)]
    return torch.cat(parts[:-1], dim=-1).unsqueeze(-3)


def to_image(pixels: Tensor) -> Image.Image:
    """uint8 (C, H, W) -> a Pillow image; see :func:`to_pictures`."""
    array = to_pictures(pixels).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def grid(images: Tensor, columns: int | None = None, *, zoom: Zoom = AUTO) -> Image.Image:
    """uint8 (N, C, H, W) -> one picture, near square unless ``columns`` is given.

    Args:
        zoom: each pixel is a square of so many, 1..16; ``auto``: see :func:`tile_scale`.

    Raises:
        UserError: ``zoom`` is neither.
    """
    check_zoom("zoom", zoom)
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    return to_image(_tiled(_enlarged(images, columns, zoom), columns, _gap(images)))


def tile_scale(width: int, columns: int) -> int:
    """The whole factor by which tiles of so many pixels are enlarged in a grid of so many columns: they are 64 pixels
    wide or more while the grid is at most 2,048, else 32 or more."""
    limit = WIDEST // (columns * width)
    return max(min(math.ceil(TILE / width), limit), math.ceil(LEAST_TILE / width), 1)


def _enlarged(images: Tensor, columns: int, zoom: Zoom) -> Tensor:
    """The tiles of images (N, C, H, W), drawable."""
    _, channels, _, width = images.shape
    scale = tile_scale(width, columns * channels_across(channels)) if zoom == AUTO else int(zoom)
    return to_pictures(images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3))


def _gap(images: Tensor) -> int:
    """Pixels around each tile of images (..., C, H, W): more where channels stand side by side in it."""
    return GAP if channels_across(images.shape[-3]) == 1 else WIDE_GAP


def _tiled(images: Tensor, columns: int, gap: int) -> Tensor:
    """(N, C, H, W) -> one image (C, H', W'): rows of ``columns`` tiles with gaps around them; a single one stays as it
    is."""
    if len(images) == 1:
        return images[0]
    rows = -(-len(images) // columns)
    tiles = F.pad(images, (gap, 0, gap, 0), value=GAP_GREY)  # each has the gaps above it and to its left
    empty = tiles.new_full((rows * columns - len(tiles), *tiles.shape[1:]), GAP_GREY)
    cells = torch.cat([tiles, empty]).unflatten(0, (rows, columns))
    whole = cells.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
    return F.pad(whole, (0, gap, 0, gap), value=GAP_GREY)


def deviation_picture(deviation: Tensor) -> Tensor:
    """A standard deviation as uint8: black is 0, white the largest that pixels can have, half their range."""
    return (deviation.clamp(0, 0.5) * 510).round().to(torch.uint8)


def labelled_rows(rows: Sequence[tuple[str, Tensor]], *, zoom: Zoom = AUTO) -> Image.Image:
    """Rows of uint8 images (N, C, H, W), each with its name to its left; what exceeds 16 columns goes on below."""
    images = torch.stack([images for _, images in rows])
    names = [_latin_name(name) for name, _ in rows]
    count = images.shape[1]
    columns = min(count, COLUMNS)
    blank = torch.full_like(images[:, :1], GAP_GREY).expand(-1, -count % columns, *images.shape[2:])
    blocks = torch.cat([images, blank], dim=1).split(columns, dim=1)
    gap = _gap(images)
    pictures = [to_image(_tiled(_enlarged(block.flatten(0, 1), columns, zoom), columns, gap)) for block in blocks]
    first = pictures[0]
    margin = math.ceil(max(ImageDraw.Draw(first).textlength(name) for name in names)) + 2 * MARGIN
    size = (margin + first.width, len(pictures) * first.height)
    whole = Image.new("RGB", size, (GAP_GREY, GAP_GREY, GAP_GREY)).convert(first.mode)
    for number, picture in enumerate(pictures):
        top = number * first.height
        whole.paste(picture, (margin, top))
        for row, name in enumerate(names):
            middle = top + round((row + 0.5) / len(rows) * first.height)
            ImageDraw.Draw(whole).text((margin - MARGIN, middle), name, fill="white", anchor="rm")
    return whole


def _latin_name(name: str) -> str:
    """A name as Pillow's own font can draw it, without its middle where it is long."""
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"
    return short.encode("latin-1", "replace").decode("latin-1")


def in_rows(images: Tensor, labels: Sequence[int]) -> tuple[Tensor, int | None]:
    """Images (N, C, H, W) whose labels are ``labels`` in turn, ordered for a grid with a row for each; and its columns.

    Without several labels they stay as they are, in as many columns as :func:`grid` likes.
    """
    if len(set(labels)) < 2:
        return images, None
    rows = [images[start :: len(labels)] for start in range(min(len(labels), len(images)))]
    columns = len(rows[0])
    blank = torch.full_like(images[:1], GAP_GREY)
    full_rows = [torch.cat([row, blank.expand(columns - len(row), *images.shape[1:])]) for row in rows]
    return torch.cat(full_rows), columns


def _captioned(picture: Image.Image, label: str | None) -> Image.Image:
    if label is None:
        return picture
    taller = Image.new(picture.mode, (picture.width, picture.height + CAPTION_HEIGHT))
    taller.paste(picture, (0, CAPTION_HEIGHT))
    ImageDraw.Draw(taller).text((3, 2), label, fill="white")
    return taller


def _png_info(label: str | None) -> PngInfo:
    info = PngInfo()
    if label:
        info.add_text("Comment", label)
    return info


def save_grid(
    images: Tensor,
    file: Path,
    label: str | None = None,
    columns: int | None = None,
    *,
    zoom: Zoom = AUTO,
    names: Sequence[str] = (),
) -> None:
    """uint8 (N, C, H, W) -> a PNG grid; a label stands above it and in the file's comment.

    Args:
        names: of the rows, beside which they stand, of ``columns`` images each.
    """
    if names:
        rows = images.split(columns or len(images))
        picture = labelled_rows(list(zip(names, rows, strict=True)), zoom=zoom)
    else:
        picture = grid(images, columns, zoom=zoom)
    _captioned(picture, label).save(file, format="PNG", pnginfo=_png_info(label))


def save_files(batches: Iterable[Tensor], folder: Path, label: str | None = None) -> int:
    """Writes one PNG per image, ``00000.png`` and on, at the images' own size; returns how many."""
    count = 0
    for batch in batches:
        for image in batch:
            to_image(image).save(folder / f"{count:05d}.png", pnginfo=_png_info(label))
            count += 1
    return count


def save_arrays(
    batches: Iterable[Array],
    count: int,
    file: Path,
    label: str | None = None,
    *,
    labels: Sequence[int] | None = None,
) -> None:
    """Batches of arrays (B, ...), ``count`` images in all -> a compressed .npz, written as they come.

    It holds the array ``images``, the images' ``labels``, int64 (N,), and ``label`` if any.
    """
    # numpy.savez wants the whole array; the format itself is a zip of .npy files, each a header and the bytes.
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as stream:
            shape: tuple[int, ...] | None = None
            for batch in batches:
                if shape is None:
                    shape = (count, *batch.shape[1:])
                    descr = npy_format.dtype_to_descr(batch.dtype)
                    header = {"descr": descr, "fortran_order": False, "shape": shape}
                    npy_format.write_array_header_1_0(stream, header)
                stream.write(batch.tobytes())
        if labels is not None:
            with archive.open("labels.npy", "w") as stream:
                npy_format.write_array(stream, np.array(labels, np.int64))
        if label:
            with archive.open("label.npy", "w") as stream:
                npy_format.write_array(stream, np.array(label))


def frame_times(count: int, seconds: float, rest: float) -> list[int]:
    """The time for which each of ``count`` frames is shown, in milliseconds: evenly, in the hundredths of a second that
    a GIF counts in, ``seconds`` in all and the last one ``rest`` seconds longer."""
    ends = [round(100 * seconds * frame / count) for frame in range(count + 1)]
    times = [10 * (end - start) for start, end in pairwise(ends)]
    times[-1] += 10 * round(100 * rest)
    return times


def save_animation(
    frames: Sequence[Tensor],
    file: Path,
    label: str | None = None,
    seconds: float = 4.0,
    *,
    zoom: Zoom = AUTO,
    rest: float = REST,
) -> None:
    """Frames of uint8 (N, C, H, W) -> an endless GIF of grids, ``seconds`` long, that rests on its last frame for
    ``rest`` more."""
    pictures = [_captioned(grid(frame, zoom=zoom), label) for frame in frames]
    durations = frame_times(len(pictures), seconds, rest)
    first, *others = pictures
    first.save(file, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


def frame_steps(steps: Sequence[int]) -> set[int]:
    """The steps of a sampler that an animation shows: at most 60, the last one always."""
    stride = max(1, math.ceil((len(steps) - 1) / MAX_FRAMES))
    return set(steps[::stride]) | {steps[-1]}
