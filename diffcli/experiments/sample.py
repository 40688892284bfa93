"""``diffcli sample``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from diffcli.assembly import load_source
from diffcli.devices import Processes
from diffcli.diffusion.samplers import Step
from diffcli.errors import UserError
from diffcli.experiments.models import Choice, pick_model, pick_sampling
from diffcli.files import writable_folder, written_whole
from diffcli.generation import Sampling, conditional_rows, counting, generate
from diffcli.model import Model
from diffcli.progress import console, progress
from diffcli.reporting.figures import conditional_figure
from diffcli.reporting.pictures import (
    RESTORATION,
    as_bytes,
    frame_steps,
    save_animation,
    save_array,
    save_files,
    save_grid,
)

MAX_ANIMATED = 64
MAX_SAMPLES = 10_000_000
CONDITIONAL_DEFAULT = 8


def check_output(out: Path, suffixes: tuple[str, ...], option: str) -> Path:
    """Checks that ``out`` can be written before hours are spent on what goes there; '' in ``suffixes`` is a folder.

    Raises:
        UserError: the extension is unknown, the place cannot be written, or the folder is not empty.
    """
    kinds = ", ".join(suffix or "a folder (no extension)" for suffix in suffixes)
    if out.suffix.lower() not in suffixes:
        raise UserError(f"{option} {out}: unknown extension '{out.suffix}'; use {kinds}")
    if out.suffix and out.is_dir():
        raise UserError(f"{option} {out} is a folder; name a file")
    if not out.suffix and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{option} {out} is not an empty folder; name a new one")
    ancestor = next(folder for folder in out.absolute().parents if folder.exists())
    writable_folder(ancestor)
    return out


def sample(
    choice: Choice,
    n: int | None,
    out: Path,
    conditional: bool,
    trajectory: Path | None,
    quiet: bool,
    processes: Processes | None = None,
) -> list[Path]:
    """Samples from a trained model; returns the files or folders written.

    Args:
        n: how many images; None is 64, or 8 where ``conditional``.
        out: .png (a grid), .npz (``images``, uint8 NHWC), or a folder (one PNG an image).
        conditional: reconstruct test images instead, in the layout of the report's Figures 2 and 9.
        trajectory: a .gif of the first 64 images on their way from x_T to x_0.
        processes: those that work on it; None starts the ones that ``choice`` asks for.

    Raises:
        UserError: an option is not usable; nothing is written then.
    """
    if n is not None and not 1 <= n <= MAX_SAMPLES:
        raise UserError(f"--n must be in 1..{MAX_SAMPLES:,}, got {n}")
    check_output(out, (".png",) if conditional else tuple(WRITERS), "--out")
    if trajectory is not None:
        if conditional:
            raise UserError("--trajectory shows unconditional samples; leave out --conditional")
        check_output(trajectory, (".gif",), "--trajectory")
    _, model = pick_model(choice)
    sampling = pick_sampling(model, choice, processes)
    if conditional:
        return _conditional(sampling, model, n or CONDITIONAL_DEFAULT, out, choice.data_dir, quiet)
    return _unconditional(sampling, model, n or 64, out, trajectory, quiet)


def _conditional(sampling: Sampling, model: Model, n: int, out: Path, data_dir: Path, quiet: bool) -> list[Path]:
    if not sampling.processes.first:  # one batch: nothing to share
        return []
    images = load_source(model.preset, data_dir).test.images[:n]
    with progress("reconstructing", len(sampling.steps) - 1, "steps", quiet) as advance:
        rows = conditional_rows(sampling, images, counting(advance))
    with written_whole(out) as part:
        conditional_figure(rows).savefig(part, format="png")
    return [out]


def _unconditional(
    sampling: Sampling, model: Model, n: int, out: Path, trajectory: Path | None, quiet: bool
) -> list[Path]:
    frames = Frames(sampling.steps)
    label = RESTORATION if sampling.prior.restores else None
    first = sampling.processes.first
    if label and first:
        console.print(f"note: {label}; it starts from blurred training images", soft_wrap=True)
    with progress(f"sampling {n} images", sampling.total_steps(n), "steps", quiet or not first) as advance:
        count = counting(advance)

        def track(steps: Iterator[Step]) -> Iterator[Step]:
            return frames.of_first_batch(count(steps)) if trajectory else count(steps)

        batches = (as_bytes(batch) for batch in generate(sampling, n, model.image_shape, track))
        if not first:
            deque(batches, maxlen=0)
            return []
        with written_whole(out) as part:
            WRITERS[out.suffix.lower()](batches, n, part, label)
    if trajectory is None:
        return [out]
    with written_whole(trajectory) as part:
        save_animation(frames.images, part, label)
    return [out, trajectory]


def _write_files(batches: Iterable[Tensor], n: int, part: Path, label: str | None) -> None:
    part.mkdir()
    save_files(batches, part, label)


def _write_grid(batches: Iterable[Tensor], n: int, part: Path, label: str | None) -> None:
    save_grid(torch.cat(list(batches)), part, label)


WRITERS: dict[str, Callable[[Iterable[Tensor], int, Path, str | None], None]] = {
    ".png": _write_grid,
    ".npz": save_array,
    "": _write_files,
}
"""What ``--out`` writes of n images, by extension; none is a folder. A label goes into the file, and onto a picture."""


class Frames:
    """What an animation shows of the first batch: x_T, then x_s at up to 60 steps."""

    def __init__(self, steps: Sequence[int]) -> None:
        self.shown = frame_steps(steps)
        self.images: list[Tensor] = []
        self.finished = False

    def of_first_batch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Yields a batch's steps on; of the first batch, it keeps what is shown."""
        for step in steps:
            if not self.finished and step.s in self.shown:
                self.images.append(as_bytes(step.xs[:MAX_ANIMATED]))
            yield step
        self.finished = True
