"""A user's own images: degraded and restored, or in part drawn anew, written into files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from diffcli.config.build import build_degradation
from diffcli.data.array_format import ArrayFormat
from diffcli.data.folders import printable
from diffcli.data.pixels import to_uint8
from diffcli.data.user_arrays import Arrays, open_images
from diffcli.data.user_images import Pictures, ShapedImages
from diffcli.diffusion.degradations import Degradation
from diffcli.inference.loading import find_checkpoint, model_on_devices, read_model
from diffcli.inference.model import Model
from diffcli.inference.pictures import SHOWN_NOISE, deviation_picture, labelled_rows, to_image
from diffcli.inference.restore_options import SHOWN_SAMPLES, RestoreOptions
from diffcli.inference.restore_tasks import RestoredRows, Task, negatives, starts_from_noise, task_of
from diffcli.inference.tiling import draws_any_size, shapes_of, tiled_model
from diffcli.utils.console import note
from diffcli.utils.errors import UserError
from diffcli.utils.files import is_same_file, separate_names, written_whole

MOST_ROWS = 64
"""A picture of rows is of at most this many images."""


@dataclass(frozen=True)
class Job:
    """Pictures that are restored together, in one shape."""

    inputs: ShapedImages
    degradation: Degradation
    """The model's, of pictures of this shape."""
    task: Task


def restore(options: RestoreOptions) -> list[Path]:
    """Restores images with a trained model; returns the files or folders written.

    Raises:
        UserError: an image cannot be used, or an option does not fit the model; nothing is written then.
    """
    run, checkpoint = find_checkpoint(options.run)
    model = replace(read_model(checkpoint), run=run)
    background, form = options.background or model.background, model.array_format
    pictures = open_images(options.files, background, form, model.image_shape, degraded=options.degraded)
    # What is wrong is told before the processes start.
    jobs = _jobs(model, options, pictures)
    model.labels.note_readings(model.labels.without_auto(options))
    _check_kept(options, pictures.files)
    model = model_on_devices(model, options.devices)
    options = replace(options, quiet=options.quiet or not model.processes.first)
    groups = [(_result_of(job, model, options), job.inputs.files) for job in jobs]
    if not model.processes.first:
        return []
    with written_whole(options.out) as part:
        if options.out.suffix.lower() == ".npz":
            _write_arrays(groups, part, form)
        else:
            WRITERS[options.out.suffix.lower()](groups, part, options)
    return [options.out]


def _jobs(model: Model, options: RestoreOptions, pictures: Pictures | Arrays) -> list[Job]:
    """The jobs of these pictures, one for each shape.

    Raises:
        UserError: see :func:`restore`.
    """
    picture = options.out.suffix.lower() != ""
    able = draws_any_size(model) or not starts_from_noise(model, options)
    shapes = shapes_of(pictures.sizes, model, options.tile if able or options.tile == "on" else "off")
    if len(shapes) > 1 and (picture or isinstance(options.label, list | tuple)):
        sizes = ["x".join(map(str, shape[:0:-1])) for shape in shapes]
        subject = f"`out` {options.out} is of one size" if picture else "labels in turn are of images of one size"
        raise UserError(
            f"{subject}, and pictures are restored at {', '.join(sizes[:3])} pixels; "
            + ("write them into a folder, or set `tile` off" if picture else "restore each size by itself")
        )
    if options.out.suffix.lower() == ".png" and len(pictures.files) > MOST_ROWS:
        raise UserError(
            f"a picture shows at most {MOST_ROWS} images, and {len(pictures.files):,} are given; write them into a "
            "folder or .npz"
        )
    jobs = []
    for shape, indices in shapes.items():
        inputs = pictures.subset(indices).in_shape(shape)
        is_own_shape = shape == model.image_shape
        degradation = model.denoiser.degradation if is_own_shape else build_degradation(model.preset, shape, tiled=True)
        jobs.append(Job(inputs, degradation, task_of(tiled_model(model, degradation), options, inputs)))
    return jobs


def _result_of(job: Job, model: Model, options: RestoreOptions) -> RestoredRows:
    images = negatives(job.inputs.images) if options.invert else job.inputs.images
    if job.degradation.image_shape != model.image_shape:
        # One picture's tiles fill a batch.
        tile, whole = ("x".join(map(str, shape[:0:-1])) for shape in (model.image_shape, job.degradation.image_shape))
        model, options = tiled_model(model, job.degradation), replace(options, batch_size=1)
        if not options.quiet:
            note(f"note: {whole} pixels are restored in tiles of {tile}")
    result = job.task(model, images, options)
    return result.negative() if options.invert else result


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


def _write_picture(groups: Groups, part: Path, options: RestoreOptions) -> None:
    [(result, _)] = groups
    rows = [(name, to_uint8(row) if row.is_floating_point() else row) for name, row in result.rows.items()]
    if result.noise is not None:
        rows.insert(-1, ("noise", to_uint8(result.noise / SHOWN_NOISE)))
    if result.deviation is not None and result.samples is not None:
        rows.append(("standard deviation", deviation_picture(result.deviation)))
        rows += [(f"sample {number}", row) for number, row in enumerate(result.samples[:SHOWN_SAMPLES], 1)]
    labelled_rows(rows, zoom=options.zoom).save(part, format="PNG")


def _write_arrays(groups: Groups, part: Path, form: ArrayFormat) -> None:
    [(result, _)] = groups
    rows: dict[str, Any] = {
        name.replace(" ", "_"): form.floats(row) if row.is_floating_point() else form.of(row)
        for name, row in result.rows.items()
    }
    *_, last_name = rows
    rows = {"images": rows.pop(last_name), **rows}
    if result.noise is not None:
        rows["noise"] = form.in_layout(result.noise)
    if result.deviation is not None and result.samples is not None:
        samples = form.of(result.samples.transpose(0, 1))
        rows |= {"standard_deviation": form.deviations(result.deviation), "samples": samples}
    np.savez_compressed(part, **rows)


def _write_files(groups: Groups, part: Path, options: RestoreOptions) -> None:
    files = [file for _, group in groups for file in group]
    names = _names_of(files)
    name_iterator = iter(names)
    for result, group in groups:
        group_names = list(islice(name_iterator, len(group)))
        *_, last_row = result.rows.values()
        extra_rows: dict[str, Tensor] = {}
        if result.deviation is not None and result.samples is not None:
            extra_rows["deviation"] = deviation_picture(result.deviation)
            extra_rows |= {f"sample-{number}": row for number, row in enumerate(result.samples, 1)}
        for folder, images in {"": last_row, **extra_rows}.items():
            (part / folder).mkdir(exist_ok=True, parents=True)
            for name, image in zip(group_names, images, strict=True):
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


Groups = Sequence[tuple[RestoredRows, Sequence[Path]]]
"""The results for pictures of one shape, and their files, for each shape; only a folder takes several."""
WRITERS: dict[str, Callable[[Groups, Path, RestoreOptions], None]] = {
    ".png": _write_picture,
    "": _write_files,
}
"""The writers of pictures, by extension; none is a folder."""
