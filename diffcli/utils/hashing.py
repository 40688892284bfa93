"""SHA-256 checksums of bytes, JSON, files and tensors, hexadecimal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 20


def of_text(text: str) -> str:
    """Checksum of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def of_json(values: Any) -> str:
    """Checksum of plain values as JSON, whatever the order of their keys."""
    return of_text(json.dumps(values, sort_keys=True))


def of_file(path: Path) -> str:
    """Checksum of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def of_images(images: Tensor, labels: Tensor | None = None) -> str:
    """Checksum of the shape and the pixels of uint8 images (N, C, H, W) in their order, and of their labels, int64
    (N,), if any."""
    return _of_parts(repr(tuple(images.shape)), images, *([] if labels is None else [labels]))


def of_tensor(tensor: Tensor) -> str:
    """Checksum of a tensor's type, shape and numbers, on the CPU."""
    return _of_parts(f"{tensor.dtype} {tuple(tensor.shape)}", tensor)


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Checksum of tensors with their names, types and shapes, whatever their order."""
    parts: list[str | Tensor] = []
    for name, tensor in sorted(tensors.items()):
        parts += [f"{name} {tensor.dtype} {list(tensor.shape)}\n", tensor]
    return _of_parts(*parts)


def _of_parts(*parts: str | Tensor) -> str:
    """Checksum of texts and of the bytes of tensors, one after the other."""
    import torch

    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(part.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
