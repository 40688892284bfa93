"""The options by which several commands name the images that they read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcli.utils.options import DATA, Options, option


def data_option() -> Any:
    """A folder of images in place of those of the training."""
    return option(
        None,
        help="Folder of images in place of the one that the model was trained on.",
        default_text="where the training read them",
        panel=DATA,
    )


@dataclass(frozen=True, kw_only=True)
class DataDirOptions(Options):
    """The folder of the data sets.

    Args:
        data_dir: folder of the data sets; None is ``DIFFCLI_DATA``, else ``data``.
    """

    data_dir: Path | str | None = option(
        None,
        help="Folder of the data sets (MNIST/raw/... below it).",
        default_text="DIFFCLI_DATA, else data",
        panel=DATA,
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions(DataDirOptions):
    """The images of a trained model."""

    data: Path | str | None = data_option()
