"""Samples as they are drawn: what the tab *Generate* shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple

from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.diffusion.samplers import Step
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.inference.pictures import frame_steps
from diffcli.utils.errors import UserError

MOST_IMAGES = 16
COMPUTING = Lock()
"""For one step at a time, of whichever visitor: in which precision products are computed is a setting of the whole
process."""


class Frame(NamedTuple):
    """A moment of a trajectory."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    s: int
    """The time step reached, in 0..T."""
    done: float
    """The share of the steps that are taken, in [0, 1]."""


def in_turn(steps: Iterator[Step]) -> Iterator[Step]:
    """Runs each step of a sampler under the page's compute lock, so that visitors' steps do not overlap."""
    while True:
        with COMPUTING:
            step = next(steps, None)
        if step is None:
            return
        yield step


def frames_of(model: Model, n: int, options: dict[str, Any]) -> Iterator[Frame]:
    """The sampling of ``n`` images, at most 60 moments of it, x_T and the last one always among them.

    Args:
        n: 1..16.
        options: those of :meth:`Model.trajectory`; with ``between`` the images are those of one row.

    Raises:
        UserError: ``n`` or an option is out of range or does not fit the model.
    """
    if not 1 <= n <= MOST_IMAGES:
        raise UserError(f"`n` must be in 1..{MOST_IMAGES}, got {n}")
    rows = n
    if options.get("between") is not None:
        if n < 2:
            raise UserError("a row between two seeds is of two images at least: choose more")
        rows, options = 1, {**options, "steps_between": n - 1, "prior": prior_between(model, options)}
    steps, path = model.trajectory(rows, **options), time_steps_of(model, options)
    picture_steps = frame_steps(path)

    def frames() -> Iterator[Frame]:
        for number, step in enumerate(in_turn(steps)):
            if step.s in picture_steps:
                yield Frame(to_uint8(step.xs.cpu()), step.s, number / (len(path) - 1))

    return frames()


def prior_between(model: Model, options: dict[str, Any]) -> str:
    """The prior that a row between two seeds starts from: the model's own where something lies between its draws of
    these labels, else ``gaussian``, else another one.

    Args:
        options: see :func:`frames_of`, with ``between``.

    Raises:
        UserError: the model has none such.
    """
    settings = SamplerOptions(label=options.get("label"), seed=options["between"][0])
    labels = model.sampling(settings).labels_of([0])
    gaps = {name: prior.gap(labels) for name, prior in model.stored_priors()}
    preset_prior = model.preset.prior.name
    choices = [name for name in (preset_prior, "gaussian", *gaps) if name in gaps and gaps[name] is None]
    if not choices:
        raise UserError(f"nothing lies between two draws of this model's prior: {gaps.get(preset_prior)}")
    return choices[0]


def time_steps_of(model: Model, options: dict[str, Any]) -> list[int]:
    """The time steps of a trajectory with these options, from T to 0."""
    _, path = model.sampler(SamplerOptions(sampler=options.get("sampler"), steps=options.get("steps")))
    return path


def in_step(trajectories: Sequence[Iterator[Frame]]) -> Iterator[tuple[Frame, ...]]:
    """Advances several trajectories, the least advanced first; yields the latest frame of each."""
    frames_now = [next(frames) for frames in trajectories]
    yield tuple(frames_now)
    active = set(range(len(frames_now)))
    while active:
        number = min(active, key=lambda one: (frames_now[one].done, one))
        frame = next(trajectories[number], None)
        if frame is None:
            active.remove(number)
            continue
        frames_now[number] = frame
        yield tuple(frames_now)
