"""``diffcli train``."""

from __future__ import annotations

import shlex

from diffcli.cli.app import MAKE, command
from diffcli.training.options import TrainOptions
from diffcli.utils.options import option


@command(
    MAKE,
    "diffcli train --preset quickstart",
    "diffcli train --images photos",
    "diffcli train --preset ddpm-linear --epochs 10 --max-time 10m",
    "diffcli train --preset quickstart --set training.ema=0.99 --dry-run",
    "diffcli train --init quickstart --set training.lr=1e-4",
    "diffcli train --resume last --epochs 50",
)
def train(
    options: TrainOptions,
    *,
    dry_run: bool = option(
        False,
        help="Print the resolved preset, its sizes, and time and memory estimated from a few steps; write nothing.",
    ),
) -> None:
    """Train a preset's model; the run folder is printed at the end."""
    from diffcli.config.plugins import files
    from diffcli.training.plan import plan
    from diffcli.training.run import Interrupted, run_plan
    from diffcli.utils.console import note

    new_plan = plan(options, download=not dry_run)
    if dry_run:
        print(new_plan.describe(), end="")
        estimate = new_plan.outlook()
        print(estimate.describe() if estimate else "", end="")
        if estimate and new_plan.run is not None:
            print("#   all of it from the whole training: a part of that is done")
        for line in new_plan.notes_after(estimate.steps_done) if estimate else new_plan.notes:
            note(line)
        return
    try:
        print(run_plan(new_plan).folder)
    except Interrupted as error:
        words = ["diffcli", *(word for file in files() for word in ("--plugin", str(file)))]
        words += ["train", "--resume", str(error.run.folder)]
        if options.data_dir is not None:
            words += ["--data-dir", str(options.data_dir)]
        error.args = (f"{error}. Go on with: {shlex.join(words)}",)
        raise
