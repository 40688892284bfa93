"""``diffcli export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import app
from diffcli.cli.options import (
    AutoguidanceOption,
    CheckpointOption,
    GuidanceOption,
    Quiet,
    SamplerOption,
    StepsOption,
    chosen,
)


@app.command(epilog="Examples: `diffcli export quickstart --out digits.safetensors` · `diffcli export quickstart --steps 20 "
             "--sampler ddim --out digits.onnx`")  # fmt: skip
def export(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|MODEL]", help="Run folder, preset name (its newest run), last, or a ready model."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help=".safetensors for diffcli elsewhere; .onnx or .pt2, graphs for other programs.")
    ] = Path("model.safetensors"),
    checkpoint: CheckpointOption = None,
    half: Annotated[bool, typer.Option("--half", help="Of a .safetensors: weights in float16, half the size.")] = False,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    autoguidance: AutoguidanceOption = None,
    prior: Annotated[
        str | None, typer.Option(help="Start of a blur model's graphs.", show_default="the preset's")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a trained model into files that need no run folder, for diffcli or for other programs."""
    from diffcli.experiments.export import export as write

    files = write(
        chosen(run, checkpoint),
        out,
        half=half,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        autoguidance=autoguidance,
        prior=prior,
        quiet=quiet,
    )
    for file in files:
        print(file)
