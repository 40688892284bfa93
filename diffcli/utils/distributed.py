"""The other processes of a command, and how it ends when one of them fails: in one line, and none waits for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from diffcli.utils.console import one_line
from diffcli.utils.errors import UserError

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_NOTICE = 5.0
LAUNCHERS = (
    "lightning.fabric.strategies.launchers.subprocess_script",
    "lightning.pytorch.strategies.launchers.subprocess_script",
)

_children: list[subprocess.Popen[bytes]] = []
"""The processes that this one started, of ranks 1, 2, ..."""


def rank() -> int:
    """The number of this process among those of the command, as who started it says: torchrun, SLURM or Lightning."""
    return max(int(os.environ.get(name) or 0) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def is_first() -> bool:
    """Whether this process writes files and speaks to the user."""
    return rank() == 0 and int(os.environ.get("NODE_RANK") or 0) == 0


def name_of(number: int) -> str:
    """The name of the process of a rank in a message."""
    return f"process {number + 1}"


def check_count(count: int) -> None:
    """Checks that as many processes were started, by torchrun for example, as the options ask for.

    Raises:
        UserError: they are others.
    """
    total = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else max(count, rank() + 1)
    if total != count:
        raise UserError(f"{total} processes were started, but `devices` and `num_nodes` make {count}; let them agree")


def check_program(launcher: object) -> None:
    """Checks that this program can be started again, which Lightning does with the file that it came from for each
    further process.

    Args:
        launcher: Lightning's; None where nothing is started.

    Raises:
        UserError: the program came from standard input, from the command line itself, or from a file that is gone.
    """
    environment, count = getattr(launcher, "cluster_environment", None), getattr(launcher, "num_processes", 1)
    if type(launcher).__module__ not in LAUNCHERS or environment is None or count < 2:
        return
    if environment.creates_processes_externally or came_from_a_file():
        return
    sources = {"-c": "from python -c", "": "from standard input", "-": "from standard input"}
    source = sources.get(sys.argv[0], f"from {sys.argv[0]}, which is no file here")
    raise UserError(
        f"{count} processes are asked for, and each of them starts this program again, which came {source}: "
        "write it into a file and run that, or take `devices` 1"
    )


def came_from_a_file() -> bool:
    """Whether this program is a file, or a module by its name, and so can be started again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return os.path.isfile(sys.argv[0]) if spec is None else spec.name != "__main__"


def is_loss(error: BaseException) -> bool:
    """Whether ``error`` says that another process can no longer be reached."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "DistError" in names or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def explain_loss(error: BaseException) -> str:
    """The message of the first process when it has lost another one.

    Raises:
        SystemExit: another process says why.
    """
    if not is_first():
        raise SystemExit(1)
    deadline = time.monotonic() + SECONDS_TO_NOTICE
    for process in _children:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    message = _end_of_another()
    if message is None:
        raise SystemExit(1)
    reason = str(error).partition("] ")[2].partition(". ")[0]
    return message or f"another process of the command has ended or does not answer ({reason or type(error).__name__})"


def _end_of_another() -> str | None:
    """The end of a started process that could not say so itself; '' where none has, None where one has said why."""
    codes = [process.poll() for process in _children]
    for number, code in enumerate(codes, 1):
        if code is not None and code < 0:
            return f"{name_of(number)} was ended by {signal.Signals(-code).name}"
    return None if any(codes) else ""


def end() -> None:
    """Kills the processes that this one started: they may wait for it forever, and none of them writes files."""
    for process in _children:
        process.kill()


def watch_processes(story: Callable[[], str] = lambda: "") -> None:
    """Watches the processes that Lightning is about to start, in place of Lightning's own watcher.

    That one ends all of them, the first one too, without a word and in the middle of whatever it writes.

    Args:
        story: returns what is left of the work so far, for the message.
    """

    def watch(processes: Sequence[subprocess.Popen[bytes]]) -> None:
        _children.extend(processes)
        threading.Thread(target=_watch, args=(story,), daemon=True).start()

    for name in LAUNCHERS:
        if name in sys.modules:
            sys.modules[name]._launch_process_observer = watch  # type: ignore[attr-defined]


def _watch(story: Callable[[], str]) -> None:
    while not any(codes := [process.poll() for process in _children]):
        if all(code == 0 for code in codes):
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)
    time.sleep(2 * SECONDS_TO_NOTICE)  # by then this process has noticed, unless it waits where it cannot
    message = _end_of_another()
    if message:
        os.write(2, f"error: {one_line('; '.join(filter(None, (message, story()))))}\n".encode(errors="replace"))
    end()
    os._exit(1)
