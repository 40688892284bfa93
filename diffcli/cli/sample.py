"""``diffcli sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MAKE, app, examples
from diffcli.cli.flags import batch_size_of
from diffcli.cli.options import (
    SAMPLING,
    AcceleratorOption,
    AutoguidanceOption,
    BatchOption,
    CheckpointOption,
    CompileOption,
    DataDir,
    DataOption,
    DevicesOption,
    GuidanceOption,
    LabelOption,
    NodesOption,
    PrecisionOption,
    Progress,
    Quiet,
    RunOption,
    SamplerOption,
    SeedOption,
    StepsOption,
    StrategyOption,
    chosen,
    path_option,
    silent,
)


@app.command(
    rich_help_panel=MAKE,
    epilog=examples(
        "diffcli sample --n 64 --out grid.png",
        "diffcli sample --run quickstart --label 0-9 --guidance 1.5 --out digits.png",
        "diffcli sample --steps 50 --sampler cold --out images.npz",
        "diffcli sample --n 16 --trajectory trajectory.gif",
    ),
)
def sample(
    n: Annotated[int | None, typer.Option(help="Images.", show_default="64; 8 with --conditional")] = None,
    out: Annotated[
        Path, path_option(help=".png (a grid), .npz (uint8 NHWC under 'images'), or a folder (a PNG each).")
    ] = Path("samples.png"),
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="Start of a blur model: uniform, gaussian, mixture, blurred-data.",
            show_default="the preset's",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    label: LabelOption = None,
    guidance: GuidanceOption = None,
    autoguidance: AutoguidanceOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = "128",
    conditional: Annotated[
        bool,
        typer.Option(
            "--conditional", help="Reconstruct test images (report Figures 2 and 9).", rich_help_panel=SAMPLING
        ),
    ] = False,
    trajectory: Annotated[
        Path | None, path_option(help="Also write the trajectory from x_T as a .gif.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    data: DataOption = None,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "1",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: PrecisionOption = "32-true",
    compile_: CompileOption = False,
    quiet: Quiet = False,
    progress: Progress = False,
) -> None:
    """Sample from a trained model; the files written are printed."""
    from diffcli.inference.save import SampleOptions
    from diffcli.inference.save import sample as draw
    from diffcli.utils.devices import Devices

    options = SampleOptions(
        chosen(run, checkpoint),
        n,
        out,
        conditional,
        trajectory,
        prior,
        data_dir,
        Devices(accelerator, devices, num_nodes, strategy, precision, compile_),
        sampler=sampler,
        steps=steps,
        label=label,
        guidance=guidance,
        autoguidance=autoguidance,
        seed=seed,
        batch_size=batch_size_of(batch_size),
        data=data,
        quiet=silent(quiet, progress),
    )
    for path in draw(options):
        print(path)
