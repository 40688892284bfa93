"""A visitor's own picture, degraded and restored: what the tab *Restore* shows."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcli.data.image_files import BadImage, crop_and_resize, decoded_content
from diffcli.data.label_names import Label
from diffcli.diffusion.degradations import Degradation
from diffcli.inference.inverting import deterministic_options
from diffcli.inference.measurement_options import PosteriorOptions
from diffcli.inference.measuring import draw_measurements
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.inference.posterior import Posterior, method_for
from diffcli.play.drawing import COMPUTING
from diffcli.play.inline_pictures import png_url
from diffcli.utils.errors import UserError
from diffcli.utils.options import shared_options

PAD = 224
"""Pixels of a side of the drawing pad."""
MOST_STEPS = 50
"""The most steps of a restoration, which follows a slider."""
MOST_BYTES = 30_000_000
"""The size of an upload, at most."""
MOST_ANSWERS = 8
"""The most answers to a measurement."""


class Restoration(NamedTuple):
    """A picture, its degradation and its restorations, uint8 (1, C, H, W) each."""

    original: Tensor
    degraded: Tensor
    one_step: Tensor
    restored: Tensor | None
    """None while the sampler is at work."""
    steps: int
    """The number of steps that the sampler takes."""


class Inversion(NamedTuple):
    """A picture, the noise that DDIM draws it from, and what it draws from that."""

    original: Tensor
    """uint8 (1, C, H, W)."""
    noise: Tensor
    """float (1, C, H, W)."""
    drawing: Tensor
    """uint8 (1, C, H, W)."""


class MeasuredPicture(NamedTuple):
    """A picture, what was measured of it, and what a model answers to that."""

    original: Tensor
    """uint8 (1, C, H, W)."""
    degraded: Tensor
    """float (1, C, H, W)."""
    posterior: Posterior | None
    """None while the sampler is at work."""


def content_of(url: str) -> bytes:
    """The bytes of a data URL, as browsers make them of files and of drawings.

    Raises:
        UserError: it is none, or too long.
    """
    head, comma, text = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise UserError("a picture is expected, as a browser sends it")
    if len(text) > MOST_BYTES * 4 // 3:
        raise UserError(f"the file is larger than {MOST_BYTES // 1_000_000} MB; take a smaller one")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise UserError("a picture is expected, as a browser sends it") from error


def uploaded(name: str, url: str, background: str) -> str:
    """The middle of an uploaded picture for the drawing pad, of at most 224x224 pixels, as the data URL of a PNG.

    Args:
        name: of the file, for messages.
        url: a data URL with the file's bytes, in any format that diffcli reads.
        background: the colour that shows where the picture is transparent.

    Raises:
        UserError: it is no picture, is damaged or too large.
    """
    try:
        picture = decoded_content(content_of(url), background)
        side = min(PAD, *picture.size)
        pixels = crop_and_resize(picture, (side, side), 3)
    except BadImage as problem:
        raise UserError(f"{name} {problem}") from problem
    return png_url(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))


def pad_image(url: str, image_shape: tuple[int, int, int]) -> Tensor | None:
    """The drawing pad as a model sees it, uint8 (1, C, H, W); None where nothing is drawn.

    Raises:
        UserError: it is no picture, or the model's images are none.
    """
    if not url:
        return None
    channels, *sides = image_shape
    if channels not in (1, 3):
        raise UserError(f"a drawing is grey or in colour, and this model's images have {channels} channels")
    try:
        picture = decoded_content(content_of(url), "black")
        pixels = crop_and_resize(picture, (sides[0], sides[1]), channels)
    except BadImage as problem:
        raise UserError(f"the drawing {problem}") from problem
    images = torch.from_numpy(pixels.copy())[None]
    return images if bool(images.any()) else None


def restoration_steps(
    model: Model, images: Tensor, t: int, label: Label | Sequence[Label] | None, seed: int
) -> Iterator[Restoration]:
    """Restorations of images, uint8 (1, C, H, W), degraded to step ``t``: first without the sampler's restoration, then
    with it.

    The sampler takes the preset's steps in proportion to t, at most 50.

    Raises:
        UserError: ``t`` is out of range, or the label is unknown.
    """
    steps = restoring_steps(model, t)
    with COMPUTING:
        xt = model.degrade(images, t, seed)
        one_step = model.estimate(xt, t, label)
    yield Restoration(images, xt, one_step, None, steps)
    with COMPUTING:
        clean = model.restore(xt, t=t, label=label, steps=steps, seed=seed, quiet=True)
    yield Restoration(images, xt, one_step, clean, steps)


def inversion_of(model: Model, images: Tensor, label: Label | Sequence[Label] | None) -> Inversion:
    """The noise that images, uint8 (1, C, H, W), are drawn from, and what is drawn from it, in the preset's steps, at
    most 50.

    Raises:
        UserError: the label is unknown, or the model is of no Gaussian noise.
    """
    settings = deterministic_options(
        SamplerOptions(label=label, steps=restoring_steps(model, model.T), quiet=True),
        model.denoiser.degradation,
    )
    options = shared_options(settings, SamplerOptions)
    with COMPUTING:
        noise = model.invert(images, **options)
        return Inversion(images, noise, model.restore(noise, model.T, **options))


def measured_restorations(
    model: Model,
    images: Tensor,
    degradation: Degradation,
    t: int,
    **options: Any,
) -> Iterator[MeasuredPicture]:
    """The answers of a model to images, uint8 (1, C, H, W), that a degradation took to step ``t``: first the degraded
    images alone, then the answers. The sampler takes the preset's steps, at most 50.

    Args:
        options: see :meth:`Model.posterior`; ``samples`` in 1..8, ``sigma`` and ``seed`` are of the noise, too.

    Raises:
        UserError: an option is out of range or does not fit the model.
    """
    samples, sigma, seed = options["samples"], options["sigma"], options["seed"]
    if not 1 <= samples <= MOST_ANSWERS:
        raise UserError(f"`samples` must be in 1..{MOST_ANSWERS}, got {samples}")
    PosteriorOptions(sigma=sigma)
    method_for(model.denoiser.degradation, None)
    _, path = model.sampler(SamplerOptions())
    with COMPUTING:
        y = draw_measurements(degradation, images, t, sigma, seed)
    yield MeasuredPicture(images, y, None)
    with COMPUTING:
        answers = model.posterior(y, degradation, t, **options, steps=min(len(path) - 1, MOST_STEPS), quiet=True)
    yield MeasuredPicture(images, y, answers)


def restoring_steps(model: Model, t: int) -> int:
    """The sampler's steps from ``t`` to 0: the preset's in proportion, at most 50."""
    return min(len(model.sampling_from(t, SamplerOptions()).steps) - 1, MOST_STEPS)
