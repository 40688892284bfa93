"""``diffcli train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MAKE, app, examples
from diffcli.cli.completion import preset_names, run_names
from diffcli.cli.flags import overrides
from diffcli.cli.options import (
    DATA,
    DEVICES,
    MODEL,
    TRAINING,
    CompileOption,
    DataDir,
    DevicesOption,
    NodesOption,
    Progress,
    Quiet,
    SetOption,
    StrategyOption,
    TrainingPrecisionOption,
    path_option,
    silent,
)


@app.command(
    rich_help_panel=MAKE,
    epilog=examples(
        "diffcli train --preset quickstart",
        "diffcli train --preset ddpm-linear --epochs 10 --max-time 10m",
        "diffcli train --preset quickstart --set training.ema=0.99 --dry-run",
        "diffcli train --resume last --epochs 50",
    ),
)
def train(
    preset: Annotated[
        str | None,
        typer.Option(
            help="Preset name or YAML file.", show_default=False, rich_help_panel=MODEL, autocompletion=preset_names
        ),
    ] = None,
    set_: SetOption = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs in all.", show_default="the preset's", rich_help_panel=TRAINING)
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            help="End after this time, 90s, 10m or 2h, the learning rate decayed.",
            show_default="the preset's",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step.", show_default="the preset's", rich_help_panel=TRAINING)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="AdamW's learning rate.", show_default="the preset's", rich_help_panel=TRAINING)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of everything drawn.", show_default="the preset's", rich_help_panel=TRAINING),
    ] = None,
    data_dir: DataDir = None,
    on_bad_image: Annotated[
        str | None,
        typer.Option(
            help="Of a folder of images: refuse or skip what cannot be used.",
            show_default="the preset's",
            rich_help_panel=DATA,
        ),
    ] = None,
    out: Annotated[Path | None, path_option(help="Run folder.", show_default="runs/PRESET/TIME")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run: its folder, a preset name, or last.",
            show_default=False,
            rich_help_panel=MODEL,
            autocompletion=run_names,
        ),
    ] = None,
    accelerator: Annotated[
        str, typer.Option(help="Lightning's: auto, cpu, gpu, mps, ...", rich_help_panel=DEVICES)
    ] = "auto",
    devices: DevicesOption = "auto",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: TrainingPrecisionOption = None,
    compile_: CompileOption = False,
    limit_batches: Annotated[
        int | None,
        typer.Option(help="Batches per epoch, for a quick look.", show_default="all", rich_help_panel=TRAINING),
    ] = None,
    logger: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the curves go besides logs/metrics.csv: tensorboard, csv, wandb or mlflow; repeatable.",
            show_default="the run's of --resume, else tensorboard",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the resolved preset, its sizes, and time and memory estimated from a few steps; write nothing.",
        ),
    ] = False,
    quiet: Quiet = False,
    progress: Progress = False,
) -> None:
    """Train a preset's model; the run folder is printed at the end."""
    from diffcli.config.plugins import files
    from diffcli.training.plan import TrainOptions, plan
    from diffcli.training.run import Interrupted, carry_out
    from diffcli.utils.console import note
    from diffcli.utils.devices import Devices

    given = {
        "training.epochs": epochs,
        "training.max_time": max_time,
        "training.batch_size": batch_size,
        "training.lr": lr,
        "training.seed": seed,
        "training.precision": precision,
        "data.on_bad_image": on_bad_image,
    }
    options = TrainOptions(
        preset,
        overrides(set_, given, command=train),
        resume=resume,
        out=out,
        data_dir=data_dir,
        limit_batches=limit_batches,
        devices=Devices(accelerator, devices, num_nodes, strategy, compile=compile_),
        quiet=silent(quiet, progress),
        logger=tuple(logger or ()),
    )
    planned = plan(options, download=not dry_run)
    if dry_run:
        print(planned.describe(), end="")
        estimate = planned.outlook()
        print(estimate.describe() if estimate else "", end="")
        if estimate and planned.run is not None:
            print("#   all of it from the whole training: a part of that is done")
        for line in planned.notes_after(estimate.steps_done) if estimate else planned.notes:
            note(line)
        return
    try:
        print(carry_out(planned).folder)
    except Interrupted as error:
        command = [
            "diffcli",
            *(word for file in files() for word in ("--plugin", str(file))),
            "train",
            "--resume",
            str(error.run.folder),
        ]
        if data_dir is not None:
            command += ["--data-dir", str(data_dir)]
        error.args = (f"{error}. Go on with: {shlex.join(command)}",)
        raise
