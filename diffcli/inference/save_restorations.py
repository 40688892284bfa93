"""A user's own images: degraded and restored, or in part drawn anew, written into files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffcli.data.folders import printable
from diffcli.data.given import read_given
from diffcli.data.pixels import to_uint8
from diffcli.inference.loading import find_checkpoint, read_model, started
from diffcli.inference.pictures import labelled_rows, to_image
from diffcli.inference.restore_options import SHOWN_SAMPLES, RestoreOptions
from diffcli.inference.restore_tasks import Restored, task_of
from diffcli.utils.console import note
from diffcli.utils.errors import UserError
from diffcli.utils.files import is_same_file, separate_names, written_whole

SHOWN = 64
"""A picture of rows is of at most this many images."""


def restore(options: RestoreOptions) -> list[Path]:
    """Restores images with a trained model; returns the files or folders written.

    Raises:
        UserError: an image cannot be used, or an option does not fit the model; nothing is written then.
    """
    run, checkpoint = find_checkpoint(options.run)
    model = replace(read_model(checkpoint), run=run)
    given = read_given(options.files, model.image_shape, options.background or model.background)
    # What is wrong is told before the processes start.
    task = task_of(model, options, given)
    model.labels.note_readings(model.labels.without_auto(options))
    if options.out.suffix.lower() == ".png" and len(given.files) > SHOWN:
        raise UserError(
            f"a picture shows at most {SHOWN} images, and {len(given.files):,} are given; write them into a folder or "
            ".npz"
        )
    _check_kept(options, given.files)
    images = 255 - given.images if options.invert else given.images
    model = started(model, options.devices)
    options = replace(options, quiet=options.quiet or not model.processes.first)
    restored = task(model, images, options)
    if not model.processes.first:
        return []
    if options.invert:
        restored = restored.inverted()
    with written_whole(options.out) as part:
        WRITERS[options.out.suffix.lower()](restored, given.files, part)
    return [options.out]


def _check_kept(options: RestoreOptions, files: Sequence[Path]) -> None:
    """Checks that what is written takes the place of no image that is read.

    Raises:
        UserError: it would.
    """
    for file in files:
        if is_same_file(options.out, file):
            raise UserError(f"`out` {options.out} is {printable(file)}, which is restored; name another file")
    if options.mask is not None and is_same_file(options.out, Path(options.mask)):
        raise UserError(f"`out` {options.out} is the mask; name another file")


def _write_picture(restored: Restored, files: Sequence[Path], part: Path) -> None:
    rows = [(name, to_uint8(row) if row.is_floating_point() else row) for name, row in restored.rows.items()]
    if restored.deviation is not None and restored.samples is not None:
        rows.append(("standard deviation", _as_picture(restored.deviation)))
        rows += [(f"sample {number}", row) for number, row in enumerate(restored.samples[:SHOWN_SAMPLES], 1)]
    labelled_rows(rows).save(part, format="PNG")


def _as_picture(deviation: Tensor) -> Tensor:
    """A standard deviation as uint8: black is 0, white the largest that pixels can have, half their range."""
    return (deviation.clamp(0, 0.5) * 510).round().to(torch.uint8)


def _write_arrays(restored: Restored, files: Sequence[Path], part: Path) -> None:
    rows: dict[str, Tensor] = {name.replace(" ", "_"): row for name, row in restored.rows.items()}
    *_, made = rows
    rows = {"images": rows.pop(made), **rows}
    if restored.deviation is not None and restored.samples is not None:
        rows |= {"standard_deviation": restored.deviation, "samples": restored.samples.transpose(0, 1)}
    arrays: dict[str, Any] = {name: row.movedim(-3, -1).numpy() for name, row in rows.items()}
    np.savez_compressed(part, **arrays)


def _write_files(restored: Restored, files: Sequence[Path], part: Path) -> None:
    part.mkdir()
    *_, made = restored.rows.values()
    names = _names_of(files)
    below: dict[str, Tensor] = {}
    if restored.deviation is not None and restored.samples is not None:
        below["deviation"] = _as_picture(restored.deviation)
        below |= {f"sample-{number}": row for number, row in enumerate(restored.samples, 1)}
    for folder, images in {"": made, **below}.items():
        (part / folder).mkdir(exist_ok=True)
        for name, image in zip(names, images, strict=True):
            to_image(image).save(part / folder / f"{name}.png")
    owners = dict(zip(names, files, strict=True))
    for name, file in owners.items():
        if name != file.stem:
            owner = printable(owners[file.stem]) if file.stem in owners else "another image"
            note(
                f"note: {printable(file)} is restored as {printable(name)}.png: {printable(file.stem)}.png is of "
                f"{owner}"
            )


def _names_of(files: Sequence[Path]) -> list[str]:
    """The names of the restored images, in the order of the files; whose is numbered goes by the files' own names, not
    by that order."""
    order = sorted(range(len(files)), key=lambda index: str(files[index]))
    names = separate_names([files[index].stem for index in order])
    return [name for _, name in sorted(zip(order, names, strict=True))]


WRITERS: dict[str, Callable[[Restored, Sequence[Path], Path], None]] = {
    ".png": _write_picture,
    ".npz": _write_arrays,
    "": _write_files,
}
"""By extension; none is a folder."""
