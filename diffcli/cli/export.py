"""``diffcli export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import TAKE, app, examples
from diffcli.cli.completion import model_names
from diffcli.cli.options import (
    SAMPLING,
    AutoguidanceOption,
    CheckpointOption,
    DataOption,
    GuidanceOption,
    Progress,
    Quiet,
    SamplerOption,
    StepsOption,
    chosen,
    path_option,
    silent,
)


@app.command(
    rich_help_panel=TAKE,
    epilog=examples(
        "diffcli export quickstart --out digits.safetensors",
        "diffcli export quickstart --steps 20 --sampler ddim --out digits.onnx",
    ),
)
def export(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|MODEL]",
            help="Run folder, preset name (its newest run), last, or a ready model.",
            autocompletion=model_names,
        ),
    ] = None,
    out: Annotated[
        Path, path_option(help=".safetensors for diffcli elsewhere; .onnx or .pt2, graphs for other programs.")
    ] = Path("model.safetensors"),
    checkpoint: CheckpointOption = None,
    half: Annotated[bool, typer.Option("--half", help="Of a .safetensors: weights in float16, half the size.")] = False,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    autoguidance: AutoguidanceOption = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Start of a blur model's graphs.", show_default="the preset's", rich_help_panel=SAMPLING),
    ] = None,
    data: DataOption = None,
    quiet: Quiet = False,
    progress: Progress = False,
) -> None:
    """Write a trained model into files that need no run folder, for diffcli or for other programs."""
    from diffcli.inference.export import export as write

    files = write(
        chosen(run, checkpoint),
        out,
        half=half,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        autoguidance=autoguidance,
        prior=prior,
        data=data,
        quiet=silent(quiet, progress),
    )
    for file in files:
        print(file)
