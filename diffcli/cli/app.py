"""The application that the commands join, how their help is grouped, and the options of diffcli itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from diffcli import __version__

MAKE = "Train, draw, restore"
MEASURE = "Measure and compare"
TAKE = "Take along"
LIST = "What there is"
"""The groups of commands in the help, in this order."""

PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Python file that adds degradations, networks, data sets, ...; repeatable, as is DIFFCLI_PLUGINS.",
        show_default=False,
    ),
]


def _load(files: list[str] | None) -> None:
    if files:
        from diffcli.config.plugins import plugin

        for file in files:
            plugin(file)


class _App(typer.Typer):
    """An application each of whose commands takes ``--plugin``, as the application itself does before the command."""

    def command(  # type: ignore[override]
        self, name: str | None = None, **settings: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        add = super().command(name, **settings)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(function)
            def call(plugin: list[str] | None = None, **arguments: Any) -> Any:
                _load(plugin)
                return function(**arguments)

            signature = inspect.signature(function, eval_str=True)
            own = inspect.Parameter("plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PluginOption)
            parameters = [*signature.parameters.values(), own]
            call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
            call.__annotations__ = {one.name: one.annotation for one in parameters}
            add(call)
            return function

        return register


app = _App(
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
    plugin: PluginOption = None,
) -> None:
    """Options of diffcli itself."""
    _load(plugin)
