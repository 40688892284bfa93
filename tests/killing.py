"""Commands in processes of their own that start at once, because their parent has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["diffcli.studies.study", "sklearn.datasets"])


def _run(folder: str, arguments: list[str], seconds_between: float, messages: str) -> None:
    from diffcli.cli import main
    from diffcli.training import checkpoints

    os.chdir(folder)
    checkpoints.SECONDS_BETWEEN = seconds_between
    sys.stdout = sys.stderr = open(messages, "a")  # noqa: SIM115 (for as long as the process lives)
    main(arguments)


def start(folder: Path, *arguments: object, seconds_between: float = 0.05) -> Any:
    """``diffcli ARGUMENTS`` in ``folder``, a checkpoint every so many seconds; what it prints goes to messages.txt."""
    words = [str(argument) for argument in arguments]
    process = CONTEXT.Process(target=_run, args=(str(folder), words, seconds_between, str(folder / "messages.txt")))
    process.start()
    return process
