"""``diffcli presets``."""

from __future__ import annotations

import sys

from diffcli.cli.app import LIST, command
from diffcli.utils.console import print_table
from diffcli.utils.errors import DiffcliError
from diffcli.utils.files import json_text
from diffcli.utils.options import option


@command(LIST, "diffcli presets", "diffcli presets quickstart")
def presets(
    *,
    name: str | None = option(None, argument=True, help="Print this preset's YAML.", complete="presets"),
    json_: bool = option(False, help="A list of names and descriptions."),
) -> None:
    """List the presets, or print one."""
    from diffcli.config.presets import find_preset, preset_files, read_values

    if name is not None:
        content = find_preset(name).read_bytes()
        if sys.stdout.isatty():
            print(content.decode("utf-8", "replace"), end="")
        else:  # a copy is the same file, whatever the encoding here
            sys.stdout.buffer.write(content)
        return
    rows = []
    for key, file in sorted(preset_files().items()):
        try:
            values = read_values(file)
            description = values.get("description", "") if isinstance(values, dict) else "not a preset"
        except DiffcliError as error:
            description = f"damaged: {error}"
        rows.append((key, str(description)))
    if json_:
        print(json_text([{"name": key, "description": description} for key, description in rows]))
    else:
        print_table(("preset", "description"), rows, framed=False)
