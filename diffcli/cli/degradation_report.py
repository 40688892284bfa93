"""``diffcli degradation-report``."""

from __future__ import annotations

from dataclasses import asdict

from diffcli.cli.app import MEASURE, command
from diffcli.evaluation.options import DegradationOptions
from diffcli.utils.console import print_table
from diffcli.utils.files import json_text
from diffcli.utils.options import option

COLUMNS = {
    "largest step": ("largest_step", "{:.3g}"),
    "at t": ("largest_at", "{}"),
    "x the mean step": ("unevenness", "{:.3g}"),
    "error at 0": ("identity_error", "{:.1g}"),
    "z_T identifies": ("identified", "{:.1%}"),
    "nearest other z_T": ("margin", "{:.2g}"),
}
"""The conditions, and how each is written, by header."""


@command(
    MEASURE,
    "diffcli degradation-report --preset quickstart-blur --preset quickstart-pixelate",
    "diffcli degradation-report --preset quickstart-blur --out strips.png",
    name="degradation-report",
)
def degradation_report(
    options: DegradationOptions, *, json_: bool = option(False, help="Print JSON instead of a table.")
) -> None:
    """Measure whether a degradation is smooth in t, the identity at 0, and unique at T (report 3.3)."""
    from diffcli.evaluation.degradations import degradation_report as measure

    conditions_by_name = measure(options)
    if json_:
        print(json_text({name: asdict(conditions) for name, conditions in conditions_by_name.items()}))
        return
    rows = [
        (name, *(form.format(getattr(conditions, key)) for key, form in COLUMNS.values()))
        for name, conditions in conditions_by_name.items()
    ]
    print_table(
        ("preset", *COLUMNS), rows, "smooth in t, the identity at t = 0, unique at T (root mean squares per pixel)"
    )
    if options.out is not None:
        print(options.out)
