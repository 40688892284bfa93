"""The data sets: each function returns whole sets of uint8 images in memory.

A function's own signature is its part of the preset's schema; ``data_dir`` and ``download`` come from the
command line.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from pydantic import Field
from torch import Tensor

from diffcli.errors import UserError

NO_LABEL = -1
TEST_SHARE = 0.2
EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
)
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


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
class Source:
    """A data set as it comes: what may be trained on, and the test split that is held out."""

    development: ImageSet
    test: ImageSet
    skipped: tuple[str, ...] = ()
    """Files that could not be used, each with the reason."""


def split(images: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Random split of ``images`` into (1 - share, share), a function of ``seed`` alone."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held_out = round(share * len(images))
    return images[order[held_out:]], images[order[:held_out]]


def _hold_out_test(images: ImageSet) -> Source:
    # One fixed seed: the test images of a set without an official split are the same for every run.
    return Source(*split(images, TEST_SHARE, seed=0))


def _torchvision(name: str, folder: str, data_dir: Path, download: bool) -> Source:
    import torchvision.datasets

    cls = getattr(torchvision.datasets, name)
    try:
        parts = [cls(root=data_dir, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError, ValueError) as error:
        how = "and could not be downloaded" if download else "and nothing is downloaded here"
        raise UserError(
            f"{name} is not in {data_dir} {how}: put its four idx files (train-images-idx3-ubyte, ...) in "
            f"{Path(data_dir) / folder / 'raw'}, or name the folder that holds {folder}/ with --data-dir or DIFFCLI_DATA"
        ) from error
    development, test = (ImageSet(part.data[:, None], part.targets.long()) for part in parts)
    return Source(development, test)


def mnist(*, data_dir: Path, download: bool) -> Source:
    """MNIST: 60,000 and 10,000 grey digits, 28x28 (LeCun et al. 1998)."""
    return _torchvision("MNIST", "MNIST", data_dir, download)


def fashion_mnist(*, data_dir: Path, download: bool) -> Source:
    """Fashion-MNIST: 60,000 and 10,000 grey garments, 28x28 (Xiao et al. 2017)."""
    return _torchvision("FashionMNIST", "FashionMNIST", data_dir, download)


def kmnist(*, data_dir: Path, download: bool) -> Source:
    """Kuzushiji-MNIST: 60,000 and 10,000 grey cursive characters, 28x28 (Clanuwat et al. 2018)."""
    return _torchvision("KMNIST", "KMNIST", data_dir, download)


def digits() -> Source:
    """scikit-learn's 1,797 real grey digits, 8x8; embedded, so it needs no network. A fixed fifth is the test split."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(np.round(data.images * (255.0 / 16.0)).astype(np.uint8))[:, None]
    return _hold_out_test(ImageSet(images, torch.from_numpy(data.target).long()))


class _BadImage(Exception):
    """A file that cannot be used; the text says why."""


def _read_image(path: Path, size: int, mode: str) -> np.ndarray[Any, Any]:
    try:
        # Pillow only warns of an image that would fill the memory, up to twice its limit.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is no harm, such as damaged EXIF data
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.mode not in EIGHT_BIT_MODES:
                    raise _BadImage(f"has pixels of mode {image.mode}, not of 8 bits")
                converted = image.convert(mode)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _BadImage(f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise _BadImage("is not a readable image") from error
    side = min(converted.size)
    left, top = (converted.width - side) // 2, (converted.height - side) // 2
    square = (left, top, left + side, top + side)
    return np.asarray(converted.resize((size, size), Image.Resampling.LANCZOS, box=square))


def folder(
    path: str,
    size: Annotated[int, Field(ge=4, le=1024)],
    channels: Literal[1, 3] = 3,
    on_bad_image: Literal["refuse", "skip"] = "refuse",
) -> Source:
    """Any folder of images, searched recursively: centre-cropped to a square, resized to ``size`` pixels a side.

    Args:
        path: the folder.
        size: side in pixels, 4..1024.
        channels: 1 (grey) or 3 (RGB).
        on_bad_image: what to do with a file that cannot be used; what is skipped is named.

    Raises:
        UserError: the folder is missing, holds fewer than ten images, or one of them is bad and not to be skipped.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path: '{path}' is not a folder; name one that holds images")
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    read, skipped = [], []
    for file in files:
        try:
            read.append(_read_image(file, size, "L" if channels == 1 else "RGB"))
        except _BadImage as problem:
            if on_bad_image == "refuse":
                raise UserError(
                    f"data.path: {file} {problem}; remove it, save it again, or leave it out with --on-bad-image skip"
                ) from problem
            skipped.append(f"{file} {problem}")
    if len(read) < 10:
        raise UserError(f"data.path: {root} holds {len(read)} images; at least 10 are needed")
    pixels = np.stack(read).reshape(len(read), size, size, channels)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return replace(_hold_out_test(ImageSet(images, torch.full((len(read),), NO_LABEL))), skipped=tuple(skipped))


SHAPES = {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "kmnist": (1, 28, 28), "digits": (1, 8, 8)}
"""(C, H, W) of the sets whose images come in one size."""


def image_shape(name: str, parameters: Mapping[str, Any]) -> tuple[int, int, int]:
    """(C, H, W) of a data set's images, known without loading them."""
    return SHAPES.get(name) or (parameters["channels"], parameters["size"], parameters["size"])


DATASETS: dict[str, Callable[..., Source]] = {
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "kmnist": kmnist,
    "digits": digits,
    "folder": folder,
}
