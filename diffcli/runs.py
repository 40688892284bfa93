"""Run folders: ``runs/<preset>/<time>/`` holds the resolved preset, versions, logs, checkpoints and pictures."""

from __future__ import annotations

import itertools
import json
import os
import platform
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.config import Preset, to_yaml, validate
from diffcli.errors import RunError, UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from diffcli.diffusion.denoiser import Denoiser

PACKAGES = (
    "diffcli",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "torch-fidelity",
    "numpy",
    "scikit-learn",
)


def runs_root() -> Path:
    """The folder of all runs: ``DIFFCLI_RUNS``, else ``runs`` here."""
    return Path(os.environ.get("DIFFCLI_RUNS") or "runs")


@dataclass(frozen=True)
class Run:
    """A run folder and the paths inside it."""

    folder: Path

    @property
    def preset_file(self) -> Path:
        return self.folder / "preset.yaml"

    @property
    def info_file(self) -> Path:
        return self.folder / "run.json"

    @property
    def eval_file(self) -> Path:
        return self.folder / "eval.json"

    @property
    def compared(self) -> Path:
        """What ``compare`` measured and drew, a folder for each set of settings."""
        return self.folder / "compare"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "logs" / "metrics.csv"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    def info(self) -> dict[str, Any]:
        """What ``run.json`` holds; empty where it is missing or damaged."""
        return _read_json(self.info_file)

    def evaluations(self) -> list[dict[str, Any]]:
        """What ``eval.json`` holds, then the evaluations of ``compare``, the newest first."""
        files = list(self.compared.glob(f"*/{self.eval_file.name}"))
        newest_first = sorted(files, key=lambda file: (file.stat().st_mtime_ns, file), reverse=True)
        found = [_read_json(file) for file in [self.eval_file, *newest_first]]
        return [evaluation for evaluation in found if evaluation]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    Of several commands that write one file at once the last wins.

    Raises:
        UserError: the folder of ``path`` cannot be made or written.
        RunError: ``path`` has become a folder that is not empty, or is of another kind; the line says what the
            result is called instead.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=writable_folder(path.parent)) as scratch:
        part = Path(scratch) / path.name
        yield part
        try:
            part.replace(path)
        except OSError as error:
            if not path.exists():
                raise
            names = (path.with_stem(f"{path.stem}-{count}") for count in itertools.count(2))
            kept = part.replace(next(name for name in names if not name.exists()))
            raise RunError(f"{path} was made by another command meanwhile; what this one made is in {kept}") from error


def writable_folder(folder: Path) -> Path:
    """``folder``, made where missing.

    Raises:
        UserError: it cannot be made, or nothing can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}; name another place") from error


@contextmanager
def claimed(preset_name: str, folder: Path | None) -> Iterator[Run]:
    """A new run that no other process writes into inside the block: in ``folder``, else in ``runs/<preset>/<time>``.

    A folder in which nothing was written is removed again.

    Raises:
        UserError: ``folder`` holds more than a kill leaves before a run has begun, another process trains in it, or it
            cannot be written.
    """
    wanted = folder if folder is not None else runs_root() / preset_name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    missing = [path for path in (wanted, *wanted.parents) if not path.exists()]
    run = Run(writable_folder(wanted) if folder is not None else _new_folder(wanted))
    with locked(run):
        try:
            if any(path != run.info_file and path.name[0] != "." for path in run.folder.iterdir()):
                raise UserError(
                    f"--out {run.folder} is not an empty folder; name a new one, or go on with --resume {run.folder}"
                )
            yield run
        finally:
            with suppress(OSError):
                for path in (run.folder, *missing):
                    if path.exists():
                        path.rmdir()


def _new_folder(wanted: Path) -> Path:
    """``wanted``, or the first of wanted-1, wanted-2, ... that is not there yet; made by this process alone."""
    writable_folder(wanted.parent)
    for count in itertools.count():
        folder = wanted.with_name(f"{wanted.name}-{count}") if count else wanted
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("endless")


@contextmanager
def locked(run: Run) -> Iterator[Run]:
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


def record_run(run: Run, preset_name: str, preset: Preset, facts: dict[str, Any]) -> None:
    """Writes ``run.json``, which holds versions, seed, command and ``facts``, then the resolved preset; makes the folder.

    The preset comes last: with it the folder is a run, which can be resumed.

    Raises:
        UserError: the folder cannot be written.
    """
    writable_folder(run.folder)
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    about = {
        "preset": preset_name,
        "started": run.info().get("started", now),
        "written": now,
        "command": ["diffcli", *sys.argv[1:]],
        "seed": preset.training.seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        **facts,
    }
    write_json(run.info_file, about)
    with written_whole(run.preset_file) as part:
        part.write_text(to_yaml(preset), encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """``value`` as indented JSON, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def started(run: Run) -> datetime:
    """When a run was started, in UTC; the first of all days where nothing says so.

    Runs of version 0.1 noted the local time without its zone.
    """
    try:
        return datetime.fromisoformat(run.info()["started"]).astimezone(timezone.utc)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.min.replace(tzinfo=timezone.utc)


def all_runs() -> list[Run]:
    """Every run below :func:`runs_root`, oldest first."""
    found = [Run(file.parent) for file in runs_root().glob("*/*/preset.yaml")]
    return sorted(found, key=lambda run: (started(run), run.folder.name))


def find_run(name: str) -> Run:
    """A run by its folder, by a preset's name (its newest run), or ``last`` (the newest of all).

    Raises:
        UserError: there is none.
    """
    folder = Path(os.path.expanduser(name))
    if os.path.isfile(folder / "preset.yaml"):
        return Run(folder)
    runs = all_runs()
    if not runs:
        raise UserError(f"no run '{name}': {runs_root()}/ holds no runs yet; make one with 'diffcli train'")
    by_preset = {run.folder.parent.name: run for run in runs}
    if name == "last":
        return runs[-1]
    if name in by_preset:
        return by_preset[name]
    if folder.is_dir():
        raise UserError(f"{name} is not a run folder: it has no preset.yaml; 'diffcli runs' lists the runs")
    raise UserError(unknown("run", name, ["last", *by_preset]) + "; or give a run folder")


def run_preset(run: Run) -> Preset:
    """The resolved preset of a run.

    Raises:
        UserError: its file is damaged.
    """
    from diffcli.config import read_values

    return validate(read_values(run.preset_file), str(run.preset_file))


def best_checkpoint(run: Run) -> Path:
    """The checkpoint with the lowest validation loss, else the last one.

    Raises:
        UserError: the run has none yet.
    """
    for path in (run.best, run.last):
        if path.is_file():
            return path
    raise UserError(f"{run.folder} has no checkpoint yet; train it with 'diffcli train --resume {run.folder}'")


DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    MemoryError,
)
"""What reading a file of damaged bytes can raise."""


@dataclass(frozen=True)
class Model:
    """A trained model as a checkpoint holds it."""

    checkpoint: Path
    preset_name: str
    preset: Preset
    image_shape: tuple[int, int, int]
    denoiser: Denoiser
    epoch: int
    """Epochs done, counted from 1."""
    priors: dict[str, dict[str, Tensor]]
    """What each fitted prior learnt from the training split, as state dicts by name."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, without executing anything that it holds.

    Raises:
        UserError: it is missing, damaged, holds code, or was not written by diffcli.
    """
    import pickle

    import torch

    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; 'diffcli runs' lists the runs")
    try:
        # PyTorch does not compare the checksums that it wrote.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise UserError(f"checkpoint {path} is damaged; use another one")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} is refused: it is damaged, or holds code instead of plain weights"
        ) from error
    except DAMAGE as error:
        raise UserError(f"checkpoint {path} is damaged or not a checkpoint; use another one") from error
    expected = {"preset", "preset_name", "image_shape"}
    held = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not isinstance(held, dict) or not expected <= set(held) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"checkpoint {path} was not written by diffcli: it holds no preset")
    return content


def load_model(path: Path) -> Model:
    """A checkpoint's model, on the CPU and in evaluation mode.

    Raises:
        UserError: see :func:`read_checkpoint`; or its weights do not fit the network that its preset names.
    """
    from diffcli.assembly import build_denoiser, image_shape_of, resolve

    content = read_checkpoint(path)
    held = content["hyper_parameters"]
    preset = resolve(validate(held["preset"], f"checkpoint {path}"))
    image_shape = image_shape_of(preset)
    denoiser = build_denoiser(preset, image_shape)
    try:
        weights = {key.removeprefix("denoiser."): value for key, value in content["state_dict"].items()}
        check_weights(path, weights, denoiser)
        denoiser.load_state_dict(weights)
        epoch = int(content.get("epoch", 0)) + 1
        priors = {str(name): dict(state) for name, state in content.get("priors", {}).items()}
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"checkpoint {path} is damaged: it holds something else than weights") from error
    return Model(
        checkpoint=path,
        preset_name=str(held["preset_name"]),
        preset=preset,
        image_shape=image_shape,
        denoiser=denoiser.eval().requires_grad_(False),
        epoch=epoch,
        priors=priors,
    )


def check_weights(path: Path, weights: dict[str, Any], denoiser: nn.Module) -> None:
    """Checks that weights fit a network, by name and shape.

    Raises:
        UserError: they belong to another network; the line names the first weight that does not fit.
    """
    shapes = {key: tuple(value.shape) for key, value in denoiser.state_dict().items()}
    for key in sorted(shapes.keys() | weights.keys()):
        held = tuple(weights[key].shape) if key in weights else "none"
        if held != shapes.get(key, "none"):
            raise UserError(
                f"checkpoint {path} is of another network: {key} is {held} there and {shapes.get(key, 'none')} here"
            )
