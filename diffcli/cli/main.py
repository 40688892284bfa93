"""Runs the command line, and tells of what fails in one line."""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType
from typing import Any, NoReturn

from diffcli.cli.app import app
from diffcli.cli.flags import with_flags
from diffcli.utils import distributed as peers
from diffcli.utils.console import one_line, prepare
from diffcli.utils.errors import DiffcliError, explain
from diffcli.utils.threads import yield_cores


def _fail(message: str, code: int) -> NoReturn:
    peers.end()
    speaker = "" if peers.is_first() else f"{peers.name_of(peers.rank())}: "
    print(f"error: {speaker}{one_line(with_flags(message))}", file=sys.stderr)
    raise SystemExit(code)


def _told_with_help(error: Any) -> str:
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
            _fail(_told_with_help(error), error.exit_code)
        if type(error).__name__ == "Abort":
            _fail("interrupted", 130)
        if peers.is_loss(error):
            _fail(peers.explain_loss(error), 1)
        explained = explain(error)
        if explained is None:
            from diffcli.config.registry import failure_of_plugin

            if (failure := failure_of_plugin(error)) is not None:
                _fail(failure, 1)
            peers.end()
            sys.excepthook = _show_bug
            raise
        _fail("; ".join(filter(None, explained)), 2 if getattr(error, "errno", None) == errno.ENAMETOOLONG else 1)
    raise SystemExit(code or 0)
