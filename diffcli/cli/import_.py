"""``diffcli import``."""

from __future__ import annotations

from diffcli.cli.app import EXPORT, command
from diffcli.inference.import_options import ImportOptions


@command(EXPORT, "diffcli import ddpm-digits --out theirs.safetensors", name="import")
def import_(options: ImportOptions) -> None:
    """Make a model file of a pipeline of diffusers, for all that is done with a model here."""
    from diffcli.inference.importing import import_with

    print(import_with(options))
