"""A user's own images: degraded and restored, or in part drawn anew, written into files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from diffcli.data.folders import printable
from diffcli.data.given import read_given, read_mask
from diffcli.data.pixels import to_model, to_uint8
from diffcli.diffusion.inpainting import ROUNDS
from diffcli.inference.loading import find_checkpoint, read_model, started
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.inference.pictures import labelled_rows, to_image
from diffcli.inference.restore_options import RestoreOptions
from diffcli.utils.console import note
from diffcli.utils.errors import UserError
from diffcli.utils.files import is_same_file, separate_names, written_whole
from diffcli.utils.options import shared

SHOWN = 64
"""A picture of rows is of at most this many images."""
MID_GREY = 128
"""What is shown in place of pixels that are not known."""


def restore(options: RestoreOptions) -> list[Path]:
    """Restores images with a trained model; returns the files or folders written.

    Raises:
        UserError: an image cannot be used, or an option does not fit the model; nothing is written then.
    """
    run, checkpoint = find_checkpoint(options.run)
    model = replace(read_model(checkpoint), run=run)
    if options.mask is None and options.t is None:
        options = replace(options, t=max(model.T // 2, 1))
    # What is wrong is told before the processes start.
    if options.t is not None:
        model.sampling_from(options.t, options)
    else:
        model.check_inpaints()
        model.sampling(options)
    model.labels.check_images(options)
    model.labels.note_readings(options)
    given = read_given(options.files, model.image_shape, options.background or model.background)
    if options.out.suffix.lower() == ".png" and len(given.files) > SHOWN:
        raise UserError(
            f"a picture shows at most {SHOWN} images, and {len(given.files):,} are given; write them into a folder or "
            ".npz"
        )
    _check_kept(options, given.files)
    images = 255 - given.images if options.invert else given.images
    painted = None if options.mask is None else read_mask(options.mask, given)
    model = started(model, options.devices)
    options = replace(options, quiet=options.quiet or not model.processes.first)
    rows = _restored(model, images, options) if painted is None else _painted(model, images, painted, options)
    if not model.processes.first:
        return []
    if options.invert:
        rows = {name: row.neg() if row.is_floating_point() else 255 - row for name, row in rows.items()}
    with written_whole(options.out) as part:
        WRITERS[options.out.suffix.lower()](rows, given.files, part)
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


def _restored(model: Model, images: Tensor, options: RestoreOptions) -> Rows:
    t = options.t
    assert t is not None
    xt = to_model(images) if options.degraded else model.degrade(images, t, options.seed)
    rows = {} if options.degraded else {"original": images}
    direct = model.estimate(xt, t, options.label, options.batch_size)
    return {
        **rows,
        "degraded": xt,
        "one step": direct,
        "restored": model.restore(xt, t, **shared(options, SamplerOptions)),
    }


def _painted(model: Model, images: Tensor, painted: Tensor, options: RestoreOptions) -> Rows:
    rounds = ROUNDS if options.resampling is None else options.resampling
    made = model.inpaint(images, painted, rounds, **shared(options, SamplerOptions))
    return {"original": images, "known": images.masked_fill(painted, MID_GREY), "painted": made}


def _write_picture(rows: Rows, files: Sequence[Path], part: Path) -> None:
    shown = [(name, to_uint8(row) if row.is_floating_point() else row) for name, row in rows.items()]
    labelled_rows(shown).save(part, format="PNG")


def _write_arrays(rows: Rows, files: Sequence[Path], part: Path) -> None:
    arrays: dict[str, Any] = {name.replace(" ", "_"): row.permute(0, 2, 3, 1).numpy() for name, row in rows.items()}
    *_, made = arrays
    np.savez_compressed(part, images=arrays.pop(made), **arrays)


def _write_files(rows: Rows, files: Sequence[Path], part: Path) -> None:
    part.mkdir()
    *_, made = rows.values()
    names = _names_of(files)
    for name, image in zip(names, made, strict=True):
        to_image(image).save(part / f"{name}.png")
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


Rows = dict[str, Tensor]
"""By name: uint8 (N, C, H, W); x_t is float. The last is what is made of the images."""
WRITERS: dict[str, Callable[[Rows, Sequence[Path], Path], None]] = {
    ".png": _write_picture,
    ".npz": _write_arrays,
    "": _write_files,
}
"""By extension; none is a folder."""
