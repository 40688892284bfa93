"""``diffcli presets``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from diffcli.cli.app import LIST, app, examples
from diffcli.cli.completion import preset_names
from diffcli.utils.console import print_table
from diffcli.utils.files import json_text


@app.command(
    rich_help_panel=LIST,
    epilog=examples(
        "diffcli presets",
        "diffcli presets quickstart",
    ),
)
def presets(
    name: Annotated[
        str | None, typer.Argument(help="Print this preset's YAML.", show_default=False, autocompletion=preset_names)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="A list of names and descriptions.")] = False,
) -> None:
    """List the presets, or print one."""
    from diffcli.cli import listing
    from diffcli.config.presets import find_preset

    if name is not None:
        content = find_preset(name).read_bytes()
        if sys.stdout.isatty():
            print(content.decode("utf-8", "replace"), end="")
        else:  # a copy is the same file, whatever the encoding here
            sys.stdout.buffer.write(content)
        return
    rows = listing.presets()
    if json_:
        print(json_text([{"name": row[0], "description": row[1]} for row in rows]))
        return
    print_table(("preset", "description"), rows, framed=False)
