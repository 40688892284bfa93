"""``diffcli export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import app
from diffcli.cli.options import CheckpointOption, chosen


@app.command(epilog="Examples: `diffcli export quickstart --out digits.safetensors` · `diffcli export "
             "--checkpoint runs/quickstart/first/checkpoints/last.ckpt --out last.safetensors`")  # fmt: skip
def export(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|MODEL]", help="Run folder, preset name (its newest run), or last."),
    ] = None,
    out: Annotated[Path, typer.Option(help=".safetensors: all that sampling needs, for diffcli.")] = Path(
        "model.safetensors"
    ),
    checkpoint: CheckpointOption = None,
    half: Annotated[bool, typer.Option("--half", help="Weights in float16: half the size.")] = False,
) -> None:
    """Write a trained model into a file that needs no run folder."""
    from diffcli.experiments.export import export as write

    for path in write(chosen(run, checkpoint), out, half):
        print(path)
