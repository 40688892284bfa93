"""The application that the commands join, how their help is grouped, and the options of diffcli itself."""

from __future__ import annotations

from typing import Annotated

import typer

from diffcli import __version__

MAKE = "Train, draw, restore"
MEASURE = "Measure and compare"
TAKE = "Take along"
LIST = "What there is"
"""The groups of commands in the help, in this order."""

app = typer.Typer(
    help="Train, sample, evaluate and compare small diffusion models: hot (Gaussian noise) and cold (Gaussian blur).",
    epilog="Start with: `diffcli train --preset quickstart`, then `diffcli sample --out grid.png`. "
    "`diffcli COMMAND --help` has examples of each command.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def examples(*commands: str) -> str:
    """The epilog of a command's help: examples, a line each. A test runs every one of them."""
    return "Examples:\n\n" + "\n".join(f"- `{command}`" for command in commands)


def _version(value: bool) -> None:
    if value:
        print(f"diffcli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Python file that adds degradations, networks, data sets, ...; repeatable, as is DIFFCLI_PLUGINS.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Options of diffcli itself."""
    if plugin:
        from diffcli.plugins import plugin as load

        for file in plugin:
            load(file)
