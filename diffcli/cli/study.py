"""``diffcli study``."""

from __future__ import annotations

import sys

from diffcli.cli.app import MEASURE, command
from diffcli.cli.tables import print_study
from diffcli.studies.options import StudyOptions
from diffcli.utils.files import json_text
from diffcli.utils.options import option


@command(
    MEASURE,
    "diffcli study degradations",
    "diffcli study report --budget quick --out study",
    "diffcli study degradations --show",
    "diffcli study mine.yaml",
)
def study(
    options: StudyOptions,
    *,
    show: bool = option(False, help="Print the study's file and do nothing."),
    json_: bool = option(False, help="Print what the .json holds instead of a table."),
) -> None:
    """Train the models of a study, measure them and check its claims; interrupted, it goes on where it was."""
    from diffcli.studies.study import study_with
    from diffcli.studies.study_files import find_study

    if show:
        print(find_study(str(options.study)).read_text(encoding="utf-8"), end="")
        return
    result = study_with(options)
    if json_:
        print(json_text(result.as_dict()))
    else:
        print_study(result)
    for file in result.files:
        print(file, file=sys.stderr if json_ else sys.stdout)
