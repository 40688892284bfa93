"""Samples of a trained model, written into files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.diffusion.labels import NO_LABEL
from diffcli.diffusion.samplers import Step
from diffcli.inference.figures import reconstruction_figure
from diffcli.inference.loading import find_checkpoint, model_on_devices, read_model
from diffcli.inference.model import Model
from diffcli.inference.model_labels import check_unguided
from diffcli.inference.new_images import images_drawn
from diffcli.inference.options import N_PER_LABEL, N_RECONSTRUCTIONS, N_SAMPLES, SampleOptions
from diffcli.inference.pictures import (
    RESTORATION,
    frame_steps,
    in_rows,
    save_animation,
    save_arrays,
    save_files,
    save_grid,
)
from diffcli.inference.restoration import reconstruction_rows
from diffcli.inference.sampling import generate, step_counter
from diffcli.utils.console import note, progress
from diffcli.utils.errors import UserError
from diffcli.utils.files import written_whole

MAX_ANIMATED = 64


def sample(options: SampleOptions) -> list[Path]:
    """Samples from a trained model; returns the files or folders written.

    Raises:
        UserError: an option does not fit the model; nothing is written then.
    """
    run, checkpoint = find_checkpoint(options.run)
    model = replace(read_model(checkpoint), run=run, data_dir=options.data_dir, data=options.data)
    model.sampler(options)  # a bad option is told before the processes start
    prior = model.prior_component(options.prior)
    if model.data is not None:
        model.check_data(needed=options.conditional or model.needs_images(prior))
    if (options.between is not None or options.steps_between is not None) and not model.needs_images(prior):
        sampling = model.sampling(options, model.prior(options.prior))
        images_drawn(sampling, options, options.n, model.classes, priors=model.stored_priors)
    numbers = model.labels.numbers(options)
    if not numbers and options.conditional and model.works_without_label:
        check_unguided(options)  # reconstructions are told no label, so there is none to be guided towards
    if options.row_labels and len(set(numbers)) < 2:
        names = ", ".join(model.trained_classes) or "none: this model was trained without"
        raise UserError(f"`row_labels` names the rows of several labels; say which with `label`, of {names:.200}")
    model.labels.note_readings(options)
    return write_samples(model_on_devices(model, options.devices), options)


def write_samples(model: Model, options: SampleOptions) -> list[Path]:
    """Samples from a model at hand, see :func:`sample`."""
    if options.conditional:
        return _write_reconstructions(model, options)
    numbers, first = model.labels.numbers(options), model.processes.first
    prior = model.prior(options.prior)
    sampling = model.sampling(options, prior)
    n = options.n or (N_PER_LABEL * len(numbers) if len(numbers) > 1 else N_SAMPLES)
    if options.between is not None or options.steps_between is not None:
        sampling, n = images_drawn(sampling, options, options.n, model.classes, priors=model.stored_priors)
    frames = Frames(sampling.steps, model.processes.count == 1) if options.trajectory else None
    label = RESTORATION if prior.restores else None
    if label and first:
        note(f"note: {label}; it starts from blurred training images")
    quiet = options.quiet or not first
    with progress(f"sampling {n} images", sampling.total_steps(n), "steps", quiet) as advance:
        count = step_counter(advance)

        def track(steps: Iterator[Step]) -> Iterator[Step]:
            return frames.of_batch(count(steps)) if frames else count(steps)

        batches = generate(sampling, n, model.image_shape, track)
        if not first:
            deque(batches, maxlen=0)
            return []
        with written_whole(options.out) as part:
            if sampling.walk is not None and options.out.suffix.lower() in (".png", ".gif"):
                rows = torch.cat([to_uint8(batch) for batch in batches]).unflatten(0, (-1, sampling.walk.length))
                names = [
                    model.labels.names(numbers)[row % len(numbers)] for row in range(len(rows)) if options.row_labels
                ]
                _write_walk(rows, part, names, options)
            elif options.out.suffix.lower() == ".png":
                images, columns = in_rows(torch.cat([to_uint8(batch) for batch in batches]), numbers)
                names = model.labels.names(numbers)[: len(images) // (columns or 1)] if options.row_labels else []
                save_grid(images, part, label, columns, zoom=options.zoom, names=names)
            elif options.out.suffix.lower() == ".npz":
                form = model.array_format
                save_arrays(map(form.of, batches), n, part, label, labels=_numbers(model, sampling.labels_of(range(n))))
            else:
                part.mkdir()
                save_files(map(to_uint8, batches), part, label)
    if options.trajectory is None or frames is None:
        return [options.out]
    with written_whole(options.trajectory) as part:
        save_animation(frames.images, part, label, zoom=options.zoom)
    return [options.out, options.trajectory]


def _write_reconstructions(model: Model, options: SampleOptions) -> list[Path]:
    if not model.processes.first:  # one batch: nothing to share
        return []
    test = model.source().test
    test = test[torch.arange(min(options.n or N_RECONSTRUCTIONS, len(test)))]
    labels = next(iter(model.labels.of_reconstructions(options, test).values()))
    sampling = model.sampling(options)
    with progress("reconstructing", len(sampling.steps) - 1, "steps", options.quiet) as advance:
        rows = reconstruction_rows(sampling, test.images, step_counter(advance), labels)
    with written_whole(options.out) as part:
        reconstruction_figure(rows).savefig(part, format="png")
    return [options.out]


def _numbers(model: Model, labels: Tensor | None) -> list[int] | None:
    """The labels of samples as an array holds them: the classes' names where these are whole numbers, else their
    places among the classes; -1 is none."""
    if labels is None:
        return None
    numeric = all(name.isdecimal() for name in model.classes)
    numbers = [int(name) for name in model.classes] if numeric else list(range(len(model.classes)))
    return [NO_LABEL if label == NO_LABEL else numbers[label] for label in labels.tolist()]


def _write_walk(rows: Tensor, part: Path, names: Sequence[str], options: SampleOptions) -> None:
    """Rows of images between two seeds, uint8 (rows, N, C, H, W): one below the other, or as a .gif, side by side and
    there and back."""
    if part.suffix.lower() == ".png":
        save_grid(rows.flatten(0, 1), part, columns=rows.shape[1], zoom=options.zoom, names=names)
    else:
        frames = list(rows.unbind(dim=1))
        save_animation([*frames, *frames[-2:0:-1]], part, zoom=options.zoom, rest=0.0)


class Frames:
    """The frames of an animation of the first 64 images: x_T, then x_s at up to 60 steps.

    Args:
        is_alone: whether this process draws all batches; of several processes, the first batch is what the first one
            sees.
    """

    def __init__(self, steps: Sequence[int], is_alone: bool) -> None:
        self.steps = frame_steps(steps)
        self.is_alone = is_alone
        self.places = MAX_ANIMATED
        self._parts: dict[int, list[Tensor]] = {}

    def of_batch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Yields a batch's steps on, and keeps what is shown of them."""
        limit, count = self.places, 0
        for step in steps:
            if limit and step.s in self.steps:
                part = to_uint8(step.xs[:limit]).cpu()
                self._parts.setdefault(step.s, []).append(part)
                count = len(part)
            yield step
        self.places = limit - count if self.is_alone else 0

    @property
    def images(self) -> list[Tensor]:
        """The frames, uint8 (N, C, H, W) each, x_T first."""
        return [torch.cat(parts) for parts in self._parts.values()]
