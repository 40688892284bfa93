"""Run folders: ``runs/<preset>/<time>/`` holds the resolved preset, versions, logs, checkpoints and pictures."""

from __future__ import annotations

import csv
import itertools
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from shlex import quote
from typing import Any

from diffcli import __version__
from diffcli.config.presets import read_values, to_yaml
from diffcli.config.schema import Preset, validate_stored
from diffcli.utils.console import note
from diffcli.utils.distributed import is_first
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import path_in_environment, read_json, user_path, writable_folder, write_json, written_whole

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "torch-fidelity",
    "numpy",
    "scikit-learn",
)
OLDEST = (0, 3)
"""The oldest version whose runs are read."""


def runs_root() -> Path:
    """The folder of all runs: ``DIFFCLI_RUNS``, else ``runs`` here."""
    return path_in_environment("DIFFCLI_RUNS") or Path("runs")


class Run:
    """A run folder and the paths inside it; runs of the same folder are equal."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = user_path(folder, "`folder`")
        self.preset_file = self.folder / "preset.yaml"
        self.info_file = self.folder / "run.json"
        self.eval_file = self.folder / "eval.json"
        self.compared = self.folder / "compare"
        """The folder of all that ``compare`` measured and drew, a folder for each set of settings."""
        self.metrics_file = self.folder / "logs" / "metrics.csv"
        self.samples = self.folder / "samples"
        self.checkpoints = self.folder / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"

    def __repr__(self) -> str:
        return f"Run(folder={self.folder!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def milestone_file(self, epoch: int) -> Path:
        """The weights that were kept after an epoch."""
        return self.checkpoints / f"epoch-{epoch:03d}.ckpt"

    def milestones(self) -> dict[int, Path]:
        """The files of the weights that were kept along the training, by epoch."""
        files = {file.stem.removeprefix("epoch-"): file for file in self.checkpoints.glob("epoch-*.ckpt")}
        return dict(sorted((int(epoch), file) for epoch, file in files.items() if epoch.isdecimal()))

    def info(self) -> dict[str, Any]:
        """The content of ``run.json``; empty where it is missing or damaged."""
        return read_json(self.info_file)

    def history(self) -> list[dict[str, str]]:
        """The rows of ``metrics.csv``, one per epoch; none where there is none."""
        try:
            with self.metrics_file.open(newline="", encoding="utf-8") as stream:
                return list(csv.DictReader(stream))
        except OSError:
            return []

    def evaluations(self) -> list[dict[str, Any]]:
        """The content of ``eval.json``, then the evaluations of ``compare``, the newest first."""
        files = list(self.compared.glob(f"*/{self.eval_file.name}"))
        newest_first = sorted(files, key=lambda file: (file.stat().st_mtime_ns, file), reverse=True)
        contents = [read_json(file) for file in [self.eval_file, *newest_first]]
        return [evaluation for evaluation in contents if evaluation]


@contextmanager
def new_run(preset_name: str, folder: Path | None) -> Iterator[Run]:
    """Makes the folder of a new run, ``folder`` or ``runs/<preset>/<time>``, and locks it inside the block.

    A folder in which nothing was written is removed again.

    Raises:
        UserError: ``folder`` holds more than a kill leaves before a run has begun, another process trains in it, or it
            cannot be written.
    """
    place = folder if folder is not None else runs_root() / preset_name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    new_parents = [path for path in (place, *place.parents) if not path.exists()]
    run = Run(writable_folder(place) if folder is not None else _new_folder(place))
    with lock_run(run):
        try:
            if not is_free(run):
                raise UserError(
                    f"`out` {run.folder} is not an empty folder; name a new one, or go on with: diffcli train "
                    f"`resume` {quote(str(run.folder))}"
                )
            yield run
        finally:
            with suppress(OSError):
                for path in (run.folder, *new_parents):
                    if path.exists():
                        path.rmdir()


def is_free(run: Run) -> bool:
    """Whether an existing folder can take a new run: at most the leftovers of a killed start are in it."""
    return all(path == run.info_file or path.name[0] == "." for path in run.folder.iterdir())


def _new_folder(place: Path) -> Path:
    """Makes the folder ``place``, or the first of place-1, place-2, ... that does not exist; returns it."""
    writable_folder(place.parent)
    for count in itertools.count():
        folder = place.with_name(f"{place.name}-{count}") if count else place
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("endless")


@contextmanager
def lock_run(run: Run) -> Iterator[Run]:
    """``run``, in which no other process trains inside the block; a kill gives the lock back.

    Raises:
        UserError: another process trains in it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no locks of folders
        yield run
        return
    descriptor = os.open(run.folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process trains in {run.folder}; wait for it, or name another folder") from None
        except OSError:  # a network drive without locks
            pass
        yield run
    finally:
        os.close(descriptor)


def command_line() -> list[str]:
    """The command that this process carries out."""
    return ["diffcli", *sys.argv[1:]]


def record_run(run: Run, preset_name: str, preset: Preset, facts: dict[str, Any]) -> None:
    """Writes ``run.json``, which holds versions, seed, command and ``facts``, then the resolved preset; makes the
    folder.

    The preset comes last: with it the folder is a run, which can be resumed.

    Raises:
        UserError: the folder cannot be written.
    """
    writable_folder(run.folder)
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    info = {
        "preset": preset_name,
        "started": run.info().get("started", now),
        "written": now,
        "command": command_line(),
        "seed": preset.training.seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {"diffcli": __version__, **{name: metadata.version(name) for name in PACKAGES}},
        **facts,
    }
    write_json(run.info_file, info)
    with written_whole(run.preset_file) as part:
        part.write_text(to_yaml(preset), encoding="utf-8")


def start_time(run: Run) -> datetime:
    """The time at which a run was started, in UTC; the first of all days where nothing says so."""
    try:
        return datetime.fromisoformat(run.info()["started"]).astimezone(timezone.utc)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.min.replace(tzinfo=timezone.utc)


def all_runs() -> list[Run]:
    """Every run below :func:`runs_root`, however deep, oldest first; each once, whatever links lead to it."""
    root = runs_root()
    # The last pattern follows no links.
    patterns = ("*/preset.yaml", "*/*/preset.yaml", "*/**/preset.yaml")
    files = dict.fromkeys(file for pattern in patterns for file in root.glob(pattern))
    # What a kill leaves of a preset that was being written looks like a run.
    folders = [file.parent for file in files if not file.parent.name.startswith(f".{file.name}.")]
    # Of several names of a folder its own comes first.
    real_root = root.resolve()
    folders.sort(key=lambda folder: (folder.resolve() != real_root / folder.relative_to(root), str(folder)))
    runs = {folder.resolve(): Run(folder) for folder in reversed(folders)}.values()
    return sorted(runs, key=lambda run: (start_time(run), str(run.folder)))


def names_of(run: Run) -> list[str]:
    """The names of a run below :func:`runs_root`: its preset, its own folder and those that it is in."""
    preset, parents = run.info().get("preset"), run.folder.relative_to(runs_root()).parts
    return list(dict.fromkeys([*([str(preset)] if preset else []), *parents]))


def short_names(run: Run) -> list[str]:
    """The names of a run, see :func:`names_of`, that say more than its time, which is the last part of a longer
    path."""
    return [name for name in names_of(run) if name != run.folder.name or run.folder.parent == runs_root()]


def find_run(name: str) -> Run:
    """A run by its folder, by one of :func:`names_of` it (the newest of that name), or ``last`` (the newest of all).

    Where several could be meant, a note says which one is used.

    Raises:
        UserError: there is none.
    """
    run = run_named(name)
    if run is None:
        raise no_run(name)
    return run


def run_named(name: str, ready: Path | None = None) -> Run | None:
    """The run that a name stands for, see :func:`find_run`; None where there is none.

    Args:
        ready: the file of a ready model of that name, which could be meant, too.
    """
    folder = user_path(name)
    if os.path.isfile(folder / "preset.yaml"):
        return Run(folder)
    runs = all_runs()
    if name != "last":
        runs = [run for run in runs if name in names_of(run)]
    if not runs:
        return None
    newest = runs[-1]
    others_note = f", the newest of {len(runs):,}{'' if name == 'last' else f' called {name}'}" if len(runs) > 1 else ""
    others = f"; the ready model of that name is {ready}" if ready else ""
    if (others_note or others) and is_first():
        note(f"note: {'your' if ready else 'the'} run {newest.folder} is used{others_note}{others}")
    return newest


def no_run(name: str, ready: Sequence[str] = ()) -> UserError:
    """The error that is raised where no run has a name.

    Args:
        ready: the names of models that can be had in place of a run.
    """
    runs = all_runs()
    if os.path.isdir(user_path(name)):
        return UserError(f"{name} is not a run folder: it has no preset.yaml; 'diffcli runs' lists the runs")
    if runs or (ready and name != "last"):
        names = {short for run in runs for short in short_names(run)}
        return UserError(
            unknown_name("run", name, {*(["last"] if runs else []), *names, *ready})
            + "; or give a run folder; 'diffcli runs' lists the runs"
        )
    others = f", or take a ready model: {', '.join(ready)}" if ready else ""
    return UserError(
        f"no run '{name}': {runs_root()}/ holds no runs yet; make one with: diffcli train `preset` quickstart{others}"
    )


def check_version(run: Run) -> None:
    """Checks that a run was last written by a version whose files are still read, as far as ``run.json`` says.

    Raises:
        UserError: it is older; the line names a version that reads it.
    """
    packages = run.info().get("packages")
    version = str(packages.get("diffcli")) if isinstance(packages, dict) else ""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise UserError(f"{run.folder} is of diffcli {version}, and runs are read from 0.3 on; diffcli 0.4.0 reads it")


def run_preset(run: Run) -> Preset:
    """The resolved preset of a run.

    Raises:
        UserError: its file is damaged, or of a version that is no longer read.
    """
    check_version(run)
    return validate_stored(read_values(run.preset_file), str(run.preset_file))


def best_checkpoint(run: Run) -> Path:
    """The checkpoint with the lowest validation loss, else the last one.

    Raises:
        UserError: the run has none yet, or is of a version that is no longer read.
    """
    check_version(run)
    for path in (run.best, run.last):
        if path.is_file():
            return path
    raise UserError(
        f"{run.folder} has no checkpoint yet; train it on with: diffcli train `resume` {quote(str(run.folder))}"
    )
