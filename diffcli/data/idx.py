"""MNIST and the data sets in its format: four idx files each, as they come or compressed."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor

from diffcli.data.sources import ImageSet, Source, of_shape
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

SIDE = 28
DIGITS = tuple("0123456789")
GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CHARACTERS = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
SPLITS = ("train", "t10k")
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
MERGED = "abdefghnqrt"
"""The small letters of EMNIST that do not look like their capitals."""
EMNIST: dict[str, tuple[str, ...]] = {
    "balanced": (*DIGITS, *ascii_uppercase, *MERGED),
    "bymerge": (*DIGITS, *ascii_uppercase, *MERGED),
    "byclass": (*DIGITS, *ascii_uppercase, *ascii_lowercase),
    "letters": tuple(ascii_lowercase),
    "digits": DIGITS,
    "mnist": DIGITS,
}
"""Its splits, and the classes of each (Cohen et al. 2017)."""
UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


class _DamagedFileError(Exception):
    """The content is not that of an idx file; the text says why."""


def parse_idx(content: bytes, dimensions: int) -> np.ndarray[Any, Any]:
    """The array of an idx file of unsigned bytes: two zero bytes, the type, the number of dimensions, their sizes as
    big-endian 32-bit integers, the values (LeCun et al. 1998, "The MNIST database").

    Raises:
        _Damaged: it is something else, or does not have the length that its header says.
    """
    if not content:
        raise _DamagedFileError("is empty")
    if content.lstrip()[:1] == b"<":
        raise _DamagedFileError("is a web page")
    if content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise _DamagedFileError("is not an idx file of bytes")
    if content[3:4] != bytes([dimensions]):
        kinds = {1: "labels", 3: "images"}
        kind = kinds.get(int.from_bytes(content[3:4], "big"), "something else")
        raise _DamagedFileError(f"holds {kind}, not {kinds[dimensions]}")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise _DamagedFileError("ends within its header")
    sizes = struct.unpack(f">{dimensions}I", content[4:start])
    expected = start + math.prod(sizes)
    if len(content) < expected:
        raise _DamagedFileError(f"ends after {len(content):,} of {expected:,} bytes")
    if len(content) > expected:
        raise _DamagedFileError(f"has {len(content) - expected:,} bytes more than its header says")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


class _Files:
    """The four files of one data set in ``data_dir``/``folder``/raw; ``splits`` begin their names."""

    def __init__(
        self, name: str, folder: str, labels: range, data_dir: Path, download: bool, splits: Sequence[str] = SPLITS
    ) -> None:
        self.name, self.folder, self.labels, self.data_dir = name, folder, labels, data_dir
        self.raw = data_dir / folder / "raw"
        self.download = download
        self.splits = splits

    def path(self, name: str) -> Path | None:
        """The file, or else its compressed copy; None where there is neither."""
        return next((file for file in (self.raw / name, self.raw / f"{name}.gz") if os.path.exists(file)), None)

    def complete(self) -> None:
        """Downloads what is missing, where that is wanted.

        Raises:
            UserError: files are still missing.
        """
        if not self._missing_files():
            return
        reason = "nothing is downloaded here"
        if self.download:
            import torchvision.datasets

            try:
                getattr(torchvision.datasets, self.folder)(root=self.data_dir, train=False, download=True)
            except Exception as error:  # of the network, of what came over it, or of the disk
                reason = f"could not be downloaded ({' '.join(str(error).split()) or type(error).__name__:.200})"
        if missing_files := self._missing_files():
            verb = "is" if len(missing_files) == 1 else "are"
            raise UserError(
                f"{self.name} is not whole in {self.raw}: {', '.join(missing_files)} {verb} missing and {reason}; put "
                f"its idx files there, as they are or as .gz, or name the folder that holds {self.folder}/ with "
                f"`data_dir` or DIFFCLI_DATA"
            )

    def _missing_files(self) -> list[str]:
        names = [f"{split}-{kind}" for split in self.splits for kind in (IMAGES, LABELS)]
        return [name for name in names if self.path(name) is None]

    def read(self, name: str, dimensions: int) -> np.ndarray[Any, Any]:
        """The array of one file.

        Raises:
            UserError: it cannot be read or is not what its name says.
        """
        file = self.path(name)
        assert file is not None
        try:
            content = file.read_bytes()
            # Told by the bytes: browsers unpack a .gz and keep its name.
            return parse_idx(gzip.decompress(content) if content[:2] == GZIP_MAGIC else content, dimensions)
        except _DamagedFileError as problem:
            self.refuse(name, str(problem))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.refuse(name, "is a damaged gzip file")
        except OSError as error:
            self.refuse(name, f"cannot be read: {error.strerror}")

    def split(self, split: str) -> ImageSet:
        """The images and labels of one of the splits, the lowest label as 0."""
        images, labels = self.read(f"{split}-{IMAGES}", 3), self.read(f"{split}-{LABELS}", 1)
        count, *sides = images.shape
        if not count:
            self.refuse(f"{split}-{IMAGES}", "holds no images")
        if sides != [SIDE, SIDE]:
            self.refuse(f"{split}-{IMAGES}", f"holds images of {sides[0]}x{sides[1]} pixels, not {SIDE}x{SIDE}")
        if len(labels) != count:
            images_file = self.path(f"{split}-{IMAGES}")
            self.refuse(f"{split}-{LABELS}", f"holds {len(labels):,} labels, for the {count:,} images of {images_file}")
        if unknown_labels := sorted(set(np.unique(labels).tolist()) - set(self.labels)):
            span = f"{self.labels[0]} to {self.labels[-1]} alone"
            self.refuse(f"{split}-{LABELS}", f"holds the label {unknown_labels[-1]}, not {span}")
        return ImageSet(_tensor(images)[:, None], _tensor(labels).long() - self.labels[0])

    def refuse(self, name: str, problem: str) -> NoReturn:
        """Raises the error of one file: what is wrong, and what would be right."""
        file = self.path(name)
        ways = [f"put {self.name}'s {name} in its place"]
        if file == self.raw / name and os.path.exists(self.raw / f"{name}.gz"):
            ways.append(f"remove it, and {name}.gz beside it is read")
        elif self.download:
            ways.append("remove it to have it downloaded again")
        raise UserError(f"{file} {problem}; {', or '.join(ways)}")


def _tensor(values: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(values.copy())  # a buffer of bytes cannot be written to


def _source_in(name: str, folder: str, classes: tuple[str, ...], data_dir: Path, download: bool) -> Source:
    return _source(_Files(name, folder, range(len(classes)), user_path(data_dir), download), classes)


def _source(files: _Files, classes: tuple[str, ...]) -> Source:
    files.complete()
    development, test = (files.split(split) for split in files.splits)
    if torch.equal(development.images, test.images):
        train, held_out = files.splits
        files.refuse(f"{train}-{IMAGES}", f"and {held_out}-{IMAGES} hold the same images")
    return Source(development, test, classes=classes)


@of_shape(1, 28, 28, classes=DIGITS)
def mnist(*, data_dir: Path, download: bool) -> Source:
    """MNIST: 60,000 and 10,000 grey digits, 28x28 (LeCun et al. 1998).

    Raises:
        UserError: files are missing and cannot be downloaded, or one is damaged.
    """
    return _source_in("MNIST", "MNIST", DIGITS, data_dir, download)


@of_shape(1, 28, 28, classes=GARMENTS)
def fashion_mnist(*, data_dir: Path, download: bool) -> Source:
    """Fashion-MNIST: 60,000 and 10,000 grey garments, 28x28 (Xiao et al. 2017).

    Raises:
        UserError: files are missing and cannot be downloaded, or one is damaged.
    """
    return _source_in("Fashion-MNIST", "FashionMNIST", GARMENTS, data_dir, download)


@of_shape(1, 28, 28, classes=CHARACTERS)
def kmnist(*, data_dir: Path, download: bool) -> Source:
    """Kuzushiji-MNIST: 60,000 and 10,000 grey cursive characters, 28x28 (Clanuwat et al. 2018).

    Raises:
        UserError: files are missing and cannot be downloaded, or one is damaged.
    """
    return _source_in("Kuzushiji-MNIST", "KMNIST", CHARACTERS, data_dir, download)


@of_shape(1, 28, 28, classes=lambda split: EMNIST[split])
def emnist(
    *,
    split: Literal["balanced", "bymerge", "byclass", "letters", "digits", "mnist"] = "balanced",
    data_dir: Path,
) -> Source:
    """EMNIST: grey handwritten letters and digits, 28x28 (Cohen et al. 2017).

    Args:
        split: which of the six sets that it comes as; they differ in their classes.

    Raises:
        UserError: files are missing, which are not downloaded, or one is damaged.
    """
    classes = EMNIST[split]
    first = 1 if split == "letters" else 0
    labels, splits = range(first, first + len(classes)), [f"emnist-{split}-{part}" for part in ("train", "test")]
    files = _Files("EMNIST", "EMNIST", labels, user_path(data_dir), False, splits)
    source = _source(files, classes)
    # Its files hold each image column by column.
    upright = [replace(part, images=part.images.mT.contiguous()) for part in (source.development, source.test)]
    return replace(source, development=upright[0], test=upright[1])
