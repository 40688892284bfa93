"""Ready models: model files that come with diffcli, by name."""

from __future__ import annotations

from pathlib import Path

from diffcli.checkpoints.model_file import SUFFIX

FOLDER = Path(__file__).parent / "weights"
"""``make models`` writes them."""


def ready_models() -> dict[str, Path]:
    """The file of each ready model."""
    return {file.stem: file for file in sorted(FOLDER.glob(f"*{SUFFIX}"))}
