"""The README and the pages of the book, and the fenced blocks in them."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"```(\w+)(?: file=(\S+))?\n(.*?)```", flags=re.DOTALL)
QUICK = {
    "train": "--epochs 1 --limit-batches 2 --accelerator cpu",
    "sample": "--steps 2",
    "eval": "--n-test 5 --n-fid 5 --steps 2",
}


def snippets(page: Path) -> list[tuple[str, str, str]]:
    """(language, file, text) of each fenced block that names its language."""
    return FENCE.findall(page.read_text())
