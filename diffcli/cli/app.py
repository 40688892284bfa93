"""The application that the commands join, and how their help is grouped."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from diffcli import __version__
from diffcli.cli.parameters import Parameters

Function = TypeVar("Function", bound=Callable[..., None])

MAKE = "Train, draw, restore"
MEASURE = "Measure and compare"
EXPORT = "Export"
LIST = "List"
"""The groups of commands in the help, in this order."""

app = typer.Typer(
    help="Train, sample, evaluate and compare small diffusion models: hot (Gaussian noise) and cold (Gaussian blur).",
    epilog="Start with: `diffcli train --preset quickstart`, then `diffcli sample --out grid.png`. "
    "`diffcli COMMAND --help` has examples of each command.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Python file that adds degradations, networks, data sets, ...; repeatable, as is DIFFCLI_PLUGINS.",
    ),
]


def command(group: str, *examples: str, name: str | None = None) -> Callable[[Function], Function]:
    """Makes a function a command, whose help is the docstring and whose parameters are made of options: see
    :class:`Parameters`.

    Args:
        group: of commands in the help.
        examples: command lines that the help ends with; a test runs every one of them.
        name: of the command, where it is not the function's.
    """
    epilog = "Examples:\n\n" + "\n".join(f"- `{example}`" for example in examples)

    def register(function: Function) -> Function:
        parameters = Parameters(function)

        @wraps(function)
        def call(plugin: list[str] | None = None, **values: Any) -> None:
            _load(plugin)
            function(**parameters.arguments(values))

        last = inspect.Parameter("plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PluginOption)
        shown = [*parameters.shown, last]
        call.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        app.command(name, rich_help_panel=group, epilog=epilog)(call)
        return function

    return register


def _load(files: list[str] | None) -> None:
    if files:
        from diffcli.config.plugins import plugin

        for file in files:
            plugin(file)


def _version(value: bool) -> None:
    if value:
        print(f"diffcli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    plugin: PluginOption = None,
) -> None:
    """Options of diffcli itself."""
    _load(plugin)
