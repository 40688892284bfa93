"""``diffcli restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MAKE, app, examples
from diffcli.cli.flags import batch_size_of
from diffcli.cli.options import (
    IMAGES,
    SAMPLING,
    AcceleratorOption,
    AutoguidanceOption,
    BatchOption,
    CheckpointOption,
    CompileOption,
    DevicesOption,
    GuidanceOption,
    NodesOption,
    PrecisionOption,
    Progress,
    Quiet,
    RunOption,
    SamplerOption,
    SeedOption,
    StrategyOption,
    chosen,
    path_option,
    silent,
)


@app.command(
    rich_help_panel=MAKE,
    epilog=examples(
        "diffcli restore photo.jpg",
        "diffcli restore drawings --run quickstart --invert --t 40 --out rows.png",
        "diffcli restore faded.png --degraded --t 30 --out restored",
        "diffcli restore photo.jpg --mask hole.png",
    ),
)
def restore(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE_OR_FOLDER...", help="Images of any size; of a folder all, sub-folders too."),
    ],
    t: Annotated[
        int | None,
        typer.Option(help="Degrade the images to this step, 1..T.", show_default="half of T", rich_help_panel=IMAGES),
    ] = None,
    degraded: Annotated[
        bool, typer.Option("--degraded", help="Take the images as degraded to --t already.", rich_help_panel=IMAGES)
    ] = False,
    mask: Annotated[
        Path | None,
        path_option(
            help="Image, white where they are to be drawn anew; needs a noise model.",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    resampling: Annotated[
        int | None,
        typer.Option(
            help="With --mask: times that each step is taken; more fit better, and take longer.",
            show_default="5",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    out: Annotated[
        Path,
        path_option(help=".png (rows: original, degraded, one step, restored), .npz (an array of each), or a folder."),
    ] = Path("restored.png"),
    background: Annotated[
        str | None,
        typer.Option(
            help="Colour where an image is transparent.",
            show_default="the preset's, else white",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    invert: Annotated[
        bool,
        typer.Option(
            "--invert",
            help="Show the model negatives: of ink on paper, if it knows light on dark.",
            rich_help_panel=IMAGES,
        ),
    ] = False,
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    sampler: SamplerOption = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Sampler steps, 1..t; fewer are faster.",
            show_default="the preset's, in proportion to t",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the images, in turn: a class's name, a number, a range such as 0-9, or none; repeatable.",
            show_default="none",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    guidance: GuidanceOption = None,
    autoguidance: AutoguidanceOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = "128",
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "1",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: PrecisionOption = "32-true",
    compile_: CompileOption = False,
    quiet: Quiet = False,
    progress: Progress = False,
) -> None:
    """Degrade your own images and restore them, or draw a part of them anew; the files written are printed."""
    from diffcli.inference.save_restorations import RestoreOptions
    from diffcli.inference.save_restorations import restore as carry_out
    from diffcli.utils.devices import Devices

    options = RestoreOptions(
        files,
        chosen(run, checkpoint),
        out,
        t,
        degraded,
        mask,
        resampling,
        background,
        invert,
        Devices(accelerator, devices, num_nodes, strategy, precision, compile_),
        sampler=sampler,
        steps=steps,
        label=label,
        guidance=guidance,
        autoguidance=autoguidance,
        seed=seed,
        batch_size=batch_size_of(batch_size),
        quiet=silent(quiet, progress),
    )
    for path in carry_out(options):
        print(path)
