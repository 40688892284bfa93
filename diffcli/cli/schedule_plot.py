"""``diffcli schedule-plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MEASURE, app, examples
from diffcli.cli.completion import preset_names
from diffcli.cli.flags import overrides
from diffcli.cli.options import SetOption, path_option


@app.command(
    name="schedule-plot",
    rich_help_panel=MEASURE,
    epilog=examples(
        "diffcli schedule-plot --preset ddpm-const-lowbeta --preset ddpm-const-highbeta --out schedules.png",
        "diffcli schedule-plot --preset quickstart-blur --out blur.csv",
    ),
)
def schedule_plot(
    preset: Annotated[
        list[str], typer.Option(help="Preset name or YAML file; repeatable.", autocompletion=preset_names)
    ],
    out: Annotated[Path, path_option(help=".png, .svg, .pdf, or .csv for the numbers.")] = Path("schedule.png"),
    set_: SetOption = None,
) -> None:
    """Plot beta, alpha and log SNR of presets over t/T (report Figure 5)."""
    from diffcli.cli.schedules import schedule_plot as plot

    print(plot(preset, overrides(set_, command=schedule_plot), out))
