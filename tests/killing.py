"""Commands in processes of their own that start at once, because their parent has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

from conftest import Result

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["diffcli.studies.study", "sklearn.datasets"])


def _run(
    folder: str, words: list[str], seconds_between: float, out: str, err: str, environment: dict[str, str]
) -> None:
    from diffcli.cli import main
    from diffcli.training import checkpoint_callbacks as checkpoints

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    checkpoints.SECONDS_BETWEEN = seconds_between
    sys.stderr = open(err, "a")  # noqa: SIM115 (for as long as the process lives)
    sys.stdout = sys.stderr if out == err else open(out, "a")  # noqa: SIM115
    main(words)


def _process(folder: Path, arguments: tuple[object, ...], seconds_between: float, out: Path, err: Path) -> BaseProcess:
    words = [str(argument) for argument in arguments]
    process = CONTEXT.Process(
        target=_run, args=(str(folder), words, seconds_between, str(out), str(err), dict(os.environ))
    )
    process.start()
    return process


def start(folder: Path, *arguments: object, seconds_between: float = 0.05) -> BaseProcess:
    """``diffcli ARGUMENTS`` in ``folder``, a checkpoint every so many seconds; what it prints goes to messages.txt."""
    return _process(folder, arguments, seconds_between, folder / "messages.txt", folder / "messages.txt")


def run_to_end(folder: Path, *arguments: object) -> Result:
    """``diffcli ARGUMENTS`` in ``folder``, to its end, with the environment of the test."""
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        process = _process(folder, arguments, 30, out, err)
        process.join()
        assert process.exitcode is not None
        return Result(process.exitcode, out.read_text(), err.read_text())
