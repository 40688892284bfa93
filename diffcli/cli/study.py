"""``diffcli study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import app
from diffcli.cli.options import (
    AcceleratorOption,
    DataDir,
    DevicesOption,
    ExtractorOption,
    InceptionOption,
    NodesOption,
    PrecisionOption,
    Quiet,
    StrategyOption,
)
from diffcli.cli.tables import print_comparison


@app.command(epilog="Example: `diffcli study report --budget quick --out study`")
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="report: the source report's four models.")] = "report",
    budget: Annotated[
        str, typer.Option(help="quick (half an hour on two cores) or report (50 epochs each).")
    ] = "quick",
    out: Annotated[Path, typer.Option(help="Folder of the runs and the page; name it again to go on.")] = Path("study"),
    data_dir: DataDir = None,
    extractor: ExtractorOption = "auto",
    inception_weights: InceptionOption = None,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "auto",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: PrecisionOption = "32-true",
    quiet: Quiet = False,
) -> None:
    """Train the report's models and compare them; interrupted, it goes on where it was."""
    from diffcli.devices import Devices
    from diffcli.experiments.study import study as make

    hardware = Devices(accelerator, devices, num_nodes, strategy, precision)
    comparison = make(name, budget, out, data_dir, extractor, inception_weights, hardware, quiet)
    print_comparison(comparison)
    print(comparison.file)
