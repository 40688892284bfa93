"""Tiny data sets in MNIST's own file format."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def write_idx_files(root: Path, train: int = 50, test: int = 20, folder: str = "MNIST") -> Path:
    """A tiny data set in MNIST's own file format; the folder of its files."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    return raw
