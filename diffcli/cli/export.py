"""``diffcli export``."""

from __future__ import annotations

from diffcli.cli.app import EXPORT, command
from diffcli.inference.options import ExportOptions


@command(
    EXPORT,
    "diffcli export quickstart --out digits.safetensors",
    "diffcli export quickstart --steps 20 --sampler ddim --out digits.onnx",
    "diffcli export quickstart --sampler ddim --format diffusers --out pipeline",
)
def export(options: ExportOptions) -> None:
    """Write a trained model into files that need no run folder, for diffcli or for other programs."""
    from diffcli.inference.export import export_with

    for file in export_with(options):
        print(file)
