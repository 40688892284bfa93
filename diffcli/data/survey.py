"""A look at a folder of pictures before a training: how many, how large, grey or in colour, in which sub-folders."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from diffcli.data.folders import MIN_IMAGES, printable, search
from diffcli.data.image_files import BadImage, picture_facts
from diffcli.data.label_names import numeric_order
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path

LOOKED_AT = 100
"""The most pictures that are opened, spread evenly over their names: to decode them all is the training's affair."""


@dataclass(frozen=True)
class Survey:
    """The contents of a folder of pictures."""

    folder: str
    """The folder as it is written."""
    name: str
    """The name of the folder, without those above it."""
    count: int
    """Image files."""
    sizes: tuple[tuple[int, int], ...]
    """(width, height) of those that were looked at."""
    coloured: int
    """The number of those looked at that are in colour."""
    transparent: int
    """The number of those looked at that are transparent somewhere."""
    classes: Mapping[str, int]
    """The number of image files in each sub-folder, numbers in their order and then other names."""

    @property
    def side(self) -> int:
        """The shorter side that half of the pictures have at least."""
        return median_low(min(size) for size in self.sizes)

    @property
    def coloured_share(self) -> float:
        """The share of the pictures that are in colour."""
        return self.coloured / len(self.sizes)


def survey_of(folder: Path | str) -> Survey:
    """A look at a folder of pictures; what cannot be read is left to the training to tell.

    Raises:
        UserError: it is no folder, holds fewer than ten pictures, or none of those looked at can be read.
    """
    root = user_path(folder, "`images`")
    if not os.path.isdir(root):
        problem_kind = "a file" if os.path.lexists(root) else "not there"
        hint = _for_arrays("npz", root) if root.suffix.lower() == ".npz" else ""
        raise UserError(f"`images` {printable(root)} is {problem_kind}; name a folder of pictures{hint}")
    files, inventory, _ = search(root)
    if len(files) < MIN_IMAGES:
        count_text = f"{len(files)} picture{'' if len(files) == 1 else 's'} of {inventory.counts.partition(' of ')[2]}"
        hint = _for_arrays("npy", root) if ".npy" in inventory.passed_over else ""
        raise UserError(f"`images` {inventory.folder} holds {count_text}; at least {MIN_IMAGES} are needed{hint}")
    glances, problem = [], ""
    for file in files[:: math.ceil(len(files) / LOOKED_AT)]:
        try:
            glances.append(picture_facts(file))
        except BadImage as error:
            problem = f"{printable(file)} {error}"
    if not glances:
        raise UserError(f"`images`: no picture of {inventory.folder} can be read; {problem}")
    counts = Counter(parts[0] for file in files if len(parts := file.relative_to(root).parts) > 1)
    return Survey(
        folder=inventory.folder,
        name=root.resolve().name or "images",
        count=len(files),
        sizes=tuple(one.size for one in glances),
        coloured=sum(one.coloured for one in glances),
        transparent=sum(one.transparent for one in glances),
        classes={name: counts[name] for name in sorted(counts, key=numeric_order)},
    )


def _for_arrays(name: str, path: Path) -> str:
    """The end of a line on a folder of pictures that holds arrays."""
    return f"; arrays are the data of a preset, {{name: {name}, path: {printable(path)}}}, with `preset`"
