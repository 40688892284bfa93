"""``diffcli degradation-report``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MEASURE, app, examples
from diffcli.cli.completion import preset_names
from diffcli.cli.flags import overrides
from diffcli.cli.options import DataDir, SeedOption, SetOption, path_option
from diffcli.utils.console import print_table
from diffcli.utils.files import json_text

HEADERS = ("preset", "largest step", "at t", "x the mean step", "error at 0", "z_T identifies", "nearest other z_T")


@app.command(
    name="degradation-report",
    rich_help_panel=MEASURE,
    epilog=examples(
        "diffcli degradation-report --preset quickstart-blur --preset quickstart-pixelate",
        "diffcli degradation-report --preset quickstart-blur --out strips.png",
    ),
)
def degradation_report(
    preset: Annotated[
        list[str], typer.Option(help="Preset name or YAML file; repeatable.", autocompletion=preset_names)
    ],
    n: Annotated[
        int, typer.Option(help="Test images, drawn at random by the seed; z_T is told apart from all of theirs.")
    ] = 1000,
    disturbance: Annotated[
        float, typer.Option(help="Normal noise on z_T, for pixels in 0..1, besides the degradation's own.")
    ] = 1 / 255,
    seed: SeedOption = 0,
    data_dir: DataDir = None,
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        path_option(help=".png, .svg or .pdf: a test image at nine t, a row for each preset.", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure whether a degradation is smooth in t, the identity at 0, and unique at T (report 3.3)."""
    from diffcli.evaluation.degradations import degradation_report as measure
    from diffcli.evaluation.degradations import degradation_strips

    changes = overrides(set_, command=degradation_report)
    if out is not None:
        degradation_strips(preset, out, changes, seed=seed, data_dir=data_dir)
    measured = measure(preset, changes, n=n, disturbance=disturbance, seed=seed, data_dir=data_dir)
    if json_:
        print(json_text({name: asdict(found) for name, found in measured.items()}))
        return
    rows = [
        (
            name,
            f"{found.largest_step:.3g}",
            str(found.largest_at),
            f"{found.unevenness:.3g}",
            f"{found.identity_error:.1g}",
            f"{found.identified:.1%}",
            f"{found.margin:.2g}",
        )
        for name, found in measured.items()
    ]
    print_table(HEADERS, rows, "smooth in t, the identity at t = 0, unique at T (root mean squares per pixel)")
    if out is not None:
        print(out)
