"""The data sets: each function returns whole sets of uint8 images in memory.

A function's own signature is its part of the preset's schema; ``data_dir`` and ``download`` come from the
command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from diffcli.data.cifar import OBJECTS, cifar10
from diffcli.data.folders import folder, sides
from diffcli.data.idx import CHARACTERS, DIGITS, EMNIST, GARMENTS, emnist, fashion_mnist, kmnist, mnist
from diffcli.data.sources import NO_LABEL, ImageSet, Inventory, Source, hold_out_test, split

__all__ = ["DATASETS", "NO_LABEL", "SHAPES", "ImageSet", "Inventory", "Source", "digits", "image_shape", "split"]


def digits() -> Source:
    """scikit-learn's 1,797 real grey digits, 8x8; embedded, so it needs no network. A fixed fifth is the test split."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(np.round(data.images * (255.0 / 16.0)).astype(np.uint8))[:, None]
    labelled = ImageSet(images, torch.from_numpy(data.target).long())
    return Source(*hold_out_test(labelled), classes=DIGITS)


SHAPES = {
    "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "kmnist": (1, 28, 28),
    "emnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "digits": (1, 8, 8),
}
"""(C, H, W) of the sets whose images come in one size."""


CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": DIGITS,
    "digits": DIGITS,
    "fashion-mnist": GARMENTS,
    "kmnist": CHARACTERS,
    "cifar10": OBJECTS,
}
"""Names of the labels of the sets that always have the same ones."""


def class_names(name: str, parameters: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of a data set's classes, label 0 first; None where they are known only once it is loaded."""
    return EMNIST[parameters["split"]] if name == "emnist" else CLASSES.get(name)


def image_shape(name: str, parameters: Mapping[str, Any]) -> tuple[int, int, int]:
    """(C, H, W) of a data set's images, known without loading them."""
    return SHAPES.get(name) or (parameters["channels"], *sides(parameters["size"]))


DATASETS: dict[str, Callable[..., Source]] = {
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "kmnist": kmnist,
    "emnist": emnist,
    "cifar10": cifar10,
    "digits": digits,
    "folder": folder,
}
