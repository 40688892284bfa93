"""The application that the commands join: how their help is grouped, and what it says where one fails."""

from __future__ import annotations

import errno
import inspect
import os
import sys
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from diffcli import __version__
from diffcli.cli.flags import with_flags
from diffcli.cli.parameters import Parameters
from diffcli.utils import distributed as peers
from diffcli.utils.console import one_line, prepare
from diffcli.utils.devices import yield_cores
from diffcli.utils.errors import DiffcliError, explain

Function = TypeVar("Function", bound=Callable[..., None])

MAKE = "Train, draw, restore"
MEASURE = "Measure and compare"
EXPORT = "Export"
LIST = "List"
"""The groups of commands in the help, in this order."""

app = typer.Typer(
    help="Train, sample, evaluate and compare small diffusion models: hot (Gaussian noise) and cold (a blur, "
    "any other degradation).",
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
        signature_parameters = [*parameters.signature, last]
        call.__signature__ = inspect.Signature(signature_parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in signature_parameters}
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


def _fail(message: str, code: int) -> NoReturn:
    peers.end()
    speaker = "" if peers.is_first() else f"{peers.name_of(peers.rank())}: "
    print(f"error: {speaker}{one_line(with_flags(message))}", file=sys.stderr)
    raise SystemExit(code)


def _message_with_help(error: Any) -> str:
    """The parser's line, and the help of the command that was meant."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "diffcli"
    line = error.format_message()
    return f"{line}{'' if line.endswith(('.', '?', '!')) else '.'} See '{command} --help'."


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Shows a bug, and says what a report of it needs."""
    sys.__excepthook__(kind, error, trace)
    print("this is a bug of diffcli; a report needs the lines above and what 'diffcli doctor' prints", file=sys.stderr)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line: exit code 2 and one line for bad input, 1 for what failed at run time, 130 for Ctrl-C."""
    prepare()
    yield_cores()
    try:
        code = app(args=arguments, standalone_mode=False, prog_name="diffcli")
        sys.stdout.flush()
    except DiffcliError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        if not peers.is_first():
            raise SystemExit(130) from None
        _fail("interrupted; nothing was left half written", 130)
    except BrokenPipeError:  # what read our output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        # The parser's own errors know their exit code and their one line; anything else is a bug and shows itself.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            _fail(_message_with_help(error), error.exit_code)
        if type(error).__name__ == "Abort":
            _fail("interrupted", 130)
        if peers.is_loss(error):
            _fail(peers.explain_loss(error), 1)
        explanation = explain(error)
        if explanation is None:
            from diffcli.config.registry import failure_of_plugin

            if (failure := failure_of_plugin(error)) is not None:
                _fail(failure, 1)
            peers.end()
            sys.excepthook = _show_bug
            raise
        _fail("; ".join(filter(None, explanation)), 2 if getattr(error, "errno", None) == errno.ENAMETOOLONG else 1)
    raise SystemExit(code or 0)
