"""Trainings for a given processor time, each in a process of its own with one thread, and what is kept of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from diffcli.utils.files import written_whole


def read_cells(store: Path) -> dict[str, Any]:
    """The cells that were measured, by key; none where there is no such file."""
    return json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {}


def keep(store: Path, cells: Mapping[str, Any], *, by_key: bool = False) -> None:
    """Adds cells to those that are there.

    Args:
        by_key: writes all of them by key.
    """
    content = read_cells(store) | dict(cells)
    with written_whole(store) as file:
        file.write_text(json.dumps(dict(sorted(content.items())) if by_key else content, indent=1) + "\n")


def measure(module: str, cells: Mapping[str, Sequence[str]], store: Path) -> None:
    """Calls a module for each cell that is not in the store yet, with the words that its key leads to."""
    for key, words in cells.items():
        if key not in read_cells(store):
            command = [sys.executable, "-m", module, *words, "--store", str(store)]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def count_processor_time() -> None:
    """Lets this process compute with one thread, and ``training.max_time`` count its processor time."""
    from diffcli.training import pace

    torch.set_num_threads(1)
    # The product's max_time is one of the clock on the wall.
    pace.time = types.SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]
