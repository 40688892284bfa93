"""Small pictures, and folders of them, made for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from conftest import TINY
from PIL import Image

from diffcli.data.datasets import ImageSet


def pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A spot, and the same with waves over it, float64 (H, W)."""
    y, x = np.mgrid[:height, :width].astype(float)
    spot = np.exp(-((y - height / 2) ** 2 + (x - width / 2) ** 2) / (height * width / 12))
    return spot, np.clip(spot + 0.3 * np.sin(1.7 * x + 0.9 * y) * np.cos(0.6 * x * y), 0, 1)


def make_folders(place: Path, sizes: dict[str, int]) -> None:
    """A folder of 8x8 PNG files for each class; no two images are equal. The class ``""`` lies beside the folders."""
    number = 0
    for name, size in sizes.items():
        (place / name).mkdir(parents=True, exist_ok=True)
        for _ in range(size):
            Image.frombytes("L", (8, 8), bytes([number % 256, number // 256]) + bytes(62)).save(
                place / name / f"{number:04}.png"
            )
            number += 1


def images_with(labels: list[int]) -> ImageSet:
    """Images that differ, with these labels."""
    pixels = torch.arange(len(labels) * 2, dtype=torch.uint8).view(-1, 1, 1, 2)
    return ImageSet(pixels, torch.tensor(labels))


def make_images(place: Path, numbers: range = range(12)) -> Path:
    """A folder of grey 6x6 PNG files, each of the level of its number."""
    place.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("L", (6, 6), number).save(place / f"{number}.png")
    return place


def make_classes(root: Path, names: tuple[str, ...] = ("cats", "dogs"), beside: int = 0) -> Path:
    """Twelve grey images in each sub-folder, the level 10 times the label; ``beside`` are in the folder itself."""
    for label, name in enumerate(names):
        (root / name / "more").mkdir(parents=True)
        for i in range(12):
            place = root / name / "more" if i % 2 else root / name
            Image.new("L", (6, 9), 10 * label).save(place / f"{i}.png")
    for i in range(beside):
        Image.new("L", (6, 9), 200).save(root / f"{i}.png")
    return root


FOLDER_RECIPE = TINY.replace("{name: digits}", "{name: folder, path: images, size: [8, 12], channels: 1}")
