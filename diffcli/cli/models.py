"""``diffcli models``."""

from __future__ import annotations

from typing import Annotated

import typer

from diffcli.cli.app import LIST, app, examples
from diffcli.cli.tables import scores_in_a_line
from diffcli.utils.console import print_table
from diffcli.utils.files import json_text


@app.command(
    rich_help_panel=LIST,
    epilog=examples(
        "diffcli models",
        "diffcli models --json",
    ),
)
def models(
    json_: Annotated[
        bool, typer.Option("--json", help="One object per model, with its file and the settings of its scores.")
    ] = False,
) -> None:
    """List the ready models, which come with diffcli: what they draw, their size, their scores."""
    from diffcli.cli import listing

    rows = listing.models()
    if json_:
        print(json_text(rows))
        return
    if not rows:
        print("no ready models came with this diffcli; 'make models' in a checkout makes them")
        return
    cells = [
        (row["model"], row["description"], f"{row['bytes'] / 1e6:.1f} MB", scores_in_a_line(row["scores"]))
        for row in rows
    ]
    print_table(("model", "what it is", "size", "scores"), cells, framed=False)
