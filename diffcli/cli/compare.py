"""``diffcli compare``."""

from __future__ import annotations

import sys

from diffcli.cli.app import MEASURE, command
from diffcli.cli.tables import print_comparison
from diffcli.studies.options import CompareOptions
from diffcli.utils.files import json_text
from diffcli.utils.options import option


@command(
    MEASURE,
    "diffcli compare quickstart quickstart-blur",
    "diffcli compare quickstart quickstart-blur --fid --out compare.html",
)
def compare(
    options: CompareOptions, *, json_: bool = option(False, help="Print what a .json holds instead of a table.")
) -> None:
    """Compare runs side by side, with the report's own numbers.

    A run without an evaluation at these settings is evaluated first.

    No metric named: all but --cas, and of digits --swd.
    """
    from diffcli.studies.compare_runs import compare_with

    comparison = compare_with(options)
    if json_:
        print(json_text(comparison.as_dict()))
    else:
        print_comparison(comparison)
    if comparison.file:
        print(comparison.file, file=sys.stderr if json_ else sys.stdout)
