"""Checksums of what scores depend on: files of weights, sets of images."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

CHUNK = 1 << 20


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def of_pixels(images: Tensor) -> str:
    """SHA-256 of the shape and the pixels of uint8 images (N, C, H, W) in their order, hexadecimal."""
    return hashlib.sha256(repr(tuple(images.shape)).encode() + images.contiguous().numpy().tobytes()).hexdigest()


def of_images(images: Tensor, labels: Tensor) -> str:
    """SHA-256 of the shape and the pixels of uint8 images (N, C, H, W) and of their labels, int64 (N,), hexadecimal."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    for part in (images, labels):
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()
