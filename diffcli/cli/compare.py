"""``diffcli compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MEASURE, app, examples
from diffcli.cli.completion import model_names
from diffcli.cli.metric_flags import metric_flags
from diffcli.cli.options import (
    AcceleratorOption,
    DataDir,
    DataOption,
    DevicesOption,
    ExtractorOption,
    InceptionOption,
    NCasOption,
    NFidOption,
    NodesOption,
    NTestOption,
    Progress,
    Quiet,
    ReconstructionT,
    StepsOption,
    StrategyOption,
    ZtBitsOption,
    ZtNoiseOption,
    path_option,
    silent,
)
from diffcli.cli.tables import print_comparison
from diffcli.utils.files import json_text


@app.command(
    rich_help_panel=MEASURE,
    epilog=examples(
        "diffcli compare quickstart quickstart-blur",
        "diffcli compare quickstart quickstart-blur --fid --out compare.html",
    ),
)
@metric_flags
def compare(
    metrics: list[str],
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, preset names or names below runs/ (newest run).",
            autocompletion=model_names,
        ),
    ],
    out: Annotated[
        Path | None, path_option(help=".html (one self-contained page), .md or .json.", show_default="only the table")
    ] = None,
    n_test: NTestOption = None,
    n_fid: NFidOption = 1000,
    n_cas: NCasOption = None,
    t: ReconstructionT = None,
    zt_bits: ZtBitsOption = None,
    zt_noise: ZtNoiseOption = 0.0,
    steps: StepsOption = None,
    extractor: ExtractorOption = "auto",
    inception_weights: InceptionOption = None,
    data_dir: DataDir = None,
    data: DataOption = None,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "1",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print what a .json holds instead of a table.")] = False,
    quiet: Quiet = False,
    progress: Progress = False,
) -> None:
    """Lay runs side by side, with the report's own numbers; what is not evaluated with these settings is, first.

    No metric named: all but --cas.
    """
    from diffcli.studies.compare import compare as lay_side_by_side
    from diffcli.utils.devices import Devices

    comparison = lay_side_by_side(
        runs,
        out,
        n_test,
        n_fid,
        steps,
        extractor,
        inception_weights,
        data_dir,
        Devices(accelerator, devices, num_nodes, strategy),
        silent(quiet, progress),
        metrics=metrics,
        data=data,
        n_cas=n_cas,
        t=t,
        zt_bits=zt_bits,
        zt_noise=zt_noise,
    )
    if json_:
        print(json_text(comparison.as_dict()))
    else:
        print_comparison(comparison)
    if comparison.file:
        print(comparison.file, file=sys.stderr if json_ else sys.stdout)
