"""``diffcli study``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MEASURE, app, examples
from diffcli.cli.completion import study_names
from diffcli.cli.options import (
    AcceleratorOption,
    DataDir,
    DevicesOption,
    ExtractorOption,
    InceptionOption,
    NodesOption,
    Progress,
    Quiet,
    StrategyOption,
    TrainingPrecisionOption,
    path_option,
    silent,
)
from diffcli.cli.tables import print_study
from diffcli.utils.errors import UserError
from diffcli.utils.files import json_text


@app.command(
    rich_help_panel=MEASURE,
    epilog=examples(
        "diffcli study degradations",
        "diffcli study report --budget quick --out study",
        "diffcli study degradations --show",
        "diffcli study mine.yaml",
    ),
)
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A YAML file, or one that comes along: degradations, report.",
            autocompletion=study_names,
        ),
    ] = "report",
    budget: Annotated[str | None, typer.Option(help="One of the study's budgets.", show_default="its first")] = None,
    out: Annotated[
        Path | None,
        path_option(help="Folder of the runs; name it again to go on.", show_default="studies/STUDY"),
    ] = None,
    page: Annotated[
        Path | None,
        path_option(help=".html; beside it the same as .md and .json.", show_default="STUDY.html in --out"),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=RUN",
            help="Take a run as it is in place of training the model; repeatable.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Train and measure this model now, leave the others, write no page; repeatable.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the study's file and do nothing.")] = False,
    data_dir: DataDir = None,
    extractor: ExtractorOption = "auto",
    inception_weights: InceptionOption = None,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "auto",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: TrainingPrecisionOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print what the .json holds instead of a table.")] = False,
    quiet: Quiet = False,
    progress: Progress = False,
) -> None:
    """Train the models of a study, measure them and check its claims; interrupted, it goes on where it was."""
    from diffcli.studies.files import find_study, load_study
    from diffcli.studies.study import study as make
    from diffcli.utils.devices import Devices

    if show:
        load_study(name)
        print(find_study(name).read_text(encoding="utf-8"), end="")
        return
    hardware = Devices(accelerator, devices, num_nodes, strategy, precision)
    result = make(
        name,
        budget,
        out,
        page,
        _runs(run),
        data_dir,
        extractor,
        inception_weights,
        hardware,
        silent(quiet, progress),
        only=only or (),
    )
    if json_:
        print(json_text(result.as_dict()))
    else:
        print_study(result)
    for file in result.files:
        print(file, file=sys.stderr if json_ else sys.stdout)


def _runs(given: list[str] | None) -> dict[str, list[str]]:
    """By label, the runs of ``--run MODEL=RUN``."""
    runs: dict[str, list[str]] = {}
    for text in given or ():
        label, equals, run = text.partition("=")
        if not (label and equals and run):
            raise UserError(
                f"--run {text}: write it as MODEL=RUN, for example noise=runs/quickstart/2026-01-31_12-00-00"
            )
        runs.setdefault(label, []).append(run)
    return runs
