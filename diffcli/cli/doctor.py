"""``diffcli doctor``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from diffcli.cli.app import LIST, app, examples
from diffcli.cli.flags import with_flags
from diffcli.cli.options import DataDir
from diffcli.utils.console import print_table
from diffcli.utils.files import json_text

REPORT = (
    "A bug report needs: these lines, the command, and all that it printed; if it is about a run, its run.json and "
    "preset.yaml as well."
)


@app.command(rich_help_panel=LIST, epilog=examples("diffcli doctor", "diffcli doctor --json"))
def doctor(
    data_dir: DataDir = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what a bug report needs: versions, devices, the precision that auto picks and why, data, extras. Exit code 1 if
    something does not work."""
    from diffcli.cli.diagnosis import doctor as examine
    from diffcli.cli.diagnosis import problems

    facts = examine(data_dir)
    if json_:
        print(json_text(facts))
    else:
        rows = [
            (
                section if number == 0 else "",
                key if section == "environment" else key.replace("_", " "),
                with_flags(_shown(section, value)),
            )
            for section, found in facts.items()
            for number, (key, value) in enumerate(found.items())
        ]
        print_table(("", "", ""), rows, framed=False)
        print(REPORT)
    if problems(facts):
        raise typer.Exit(1)


def _shown(section: str, value: Any) -> str:
    if section == "extras":
        return f"missing: {', '.join(value)}" if value else "installed"
    if value is None:
        return "missing" if section == "packages" else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
