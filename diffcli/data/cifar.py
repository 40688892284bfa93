"""CIFAR-10 in its binary version; the one for Python is a pickle, and to read that is to run what it holds."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import torch

from diffcli.data.sources import ImageSet, Source, of_shape
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER, ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
MAX_BYTES = 10_000 * RECORD
"""The size of a file as it comes, at most: an archive that holds more is none of CIFAR-10."""


@of_shape(3, 32, 32, classes=OBJECTS)
def cifar10(*, mirrored: bool = True, data_dir: Path) -> Source:
    """CIFAR-10: 50,000 and 10,000 small colour photographs, 32x32 (Krizhevsky 2009), in their binary version.

    Args:
        mirrored: training shows each image mirrored left to right in half of the epochs.

    Raises:
        UserError: a file is missing or damaged; it is not downloaded.
    """
    place = user_path(data_dir)
    folder, archive = place / FOLDER, place / ARCHIVE
    try:
        if folder.is_dir():
            files = {name: _of_file(folder / name) for name in (*TRAIN, TEST)}
        elif archive.is_file():
            with tarfile.open(archive, "r:gz") as content:  # only read: nothing is unpacked onto the disk
                files = {name: _of_archive(content, name, archive) for name in (*TRAIN, TEST)}
        else:
            raise UserError(
                f'CIFAR-10 is not in {place}: put {ARCHIVE} ("CIFAR-10 binary version") from '
                f"www.cs.toronto.edu/~kriz/cifar.html there, or its folder {FOLDER}, or name its folder with "
                "`data_dir` or "
                "DIFFCLI_DATA"
            )
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{archive} is damaged; put CIFAR-10's {ARCHIVE} in its place") from error
    except OSError as error:
        raise UserError(f"{error.filename or archive} cannot be read: {error.strerror}") from error
    parts = [_images(name, content, place) for name, content in files.items()]
    *train, test = parts
    development = ImageSet(torch.cat([part.images for part in train]), torch.cat([part.labels for part in train]))
    return Source(development, test, classes=OBJECTS, mirrored=mirrored)


def _of_file(file: Path) -> bytes:
    if not file.is_file():
        raise UserError(f"CIFAR-10 is not whole in {file.parent}: {file.name} is missing; put it there")
    with file.open("rb") as stream:
        return _start(stream)


def _of_archive(archive: tarfile.TarFile, name: str, file: Path) -> bytes:
    try:
        stream = archive.extractfile(f"{FOLDER}/{name}")
    except KeyError:
        stream = None
    if stream is None:
        raise UserError(f"{file} holds no {FOLDER}/{name}; put CIFAR-10's {ARCHIVE} (the binary version) in its place")
    return _start(stream)


def _start(stream: IO[bytes]) -> bytes:
    return stream.read(MAX_BYTES + 1)


def _images(name: str, content: bytes, place: Path) -> ImageSet:
    """Records of a label and three planes of 32 rows, red, green and blue."""
    if not content or len(content) % RECORD or len(content) > MAX_BYTES:
        raise UserError(f"{place}: {name} does not hold 1 to 10,000 records of {RECORD:,} bytes, as CIFAR-10's does")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(OBJECTS):
        raise UserError(f"{place}: {name} holds the label {records[:, 0].max()}, not 0 to {len(OBJECTS) - 1} alone")
    images = torch.from_numpy(records[:, 1:].reshape(-1, *SHAPE).copy())
    return ImageSet(images, torch.from_numpy(records[:, 0].astype(np.int64)))
