"""The data sets: each function returns whole sets of uint8 images in memory.

A function's own signature is its part of the preset's schema; ``data_dir`` and ``download`` come from the
caller.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from diffcli.data.cifar import cifar10
from diffcli.data.folders import folder
from diffcli.data.idx import DIGITS, emnist, fashion_mnist, kmnist, mnist
from diffcli.data.npy import npy
from diffcli.data.npz import npz
from diffcli.data.sources import NO_LABEL, ImageSet, Inventory, Source, hold_out_test, of_shape, split
from diffcli.utils.errors import DiffcliError

__all__ = ["DATASETS", "NO_LABEL", "ImageSet", "Inventory", "Source", "digits", "split"]


@of_shape(1, 8, 8, classes=DIGITS)
def digits() -> Source:
    """scikit-learn's 1,797 real grey digits, 8x8; embedded, so it needs no network. A fixed fifth is the test split."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(np.round(data.images * (255.0 / 16.0)).astype(np.uint8))[:, None]
    labelled = ImageSet(images, torch.from_numpy(data.target).long())
    return Source(*hold_out_test(labelled), classes=DIGITS)


DATASETS: dict[str, Callable[..., Source]] = {
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "kmnist": kmnist,
    "emnist": emnist,
    "cifar10": cifar10,
    "digits": digits,
    "folder": folder,
    "npz": npz,
    "npy": npy,
}
OF_FILES = ("folder", "npz", "npy")
"""Data sets of a user's own files, which are at ``path``."""


def contents(data_dir: Path) -> dict[str, str]:
    """The number of images of each data set in a folder of data sets, or what is wrong with it; every file is read."""
    summaries = {}
    for name, load in DATASETS.items():
        parameters = inspect.signature(load).parameters
        if "data_dir" in parameters:
            try:
                source = load(data_dir=data_dir, **({"download": False} if "download" in parameters else {}))
                summaries[name] = f"{len(source.development):,} and {len(source.test):,} images"
            except DiffcliError as error:
                summaries[name] = re.split("[:;] ", str(error))[0]  # what is wrong, without what would be right
    return summaries
