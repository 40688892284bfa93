"""Pictures larger than a model's images, restored at their own size in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diffcli.config.registry import build
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.tiles import TiledDenoiser
from diffcli.inference.model import Model
from diffcli.utils.errors import UserError

Shape = tuple[int, int, int]
LARGE = 2
"""Pictures are in tiles unless told otherwise from so many times a model's images on, in both directions."""


def tiled_model(model: Model, degradation: Degradation) -> Model:
    """A model of larger pictures, whose estimates are made of tiles of the size of its images.

    Args:
        model: on its devices and in its precision already.
        degradation: the model's, of the pictures; those of the model's own size leave it as it is.

    Raises:
        UserError: the pictures are smaller than a tile.
    """
    if degradation.image_shape == model.image_shape:
        return model
    degradation = degradation.to(model.processes.device)
    try:
        denoiser = TiledDenoiser(model.denoiser, degradation)
        guide = None if model.guide is None else TiledDenoiser(model.guide, degradation)
    except ValueError as error:
        raise UserError(str(error)) from error
    resolved_preset = replace(model.resolved, image_shape=degradation.image_shape, degradation=degradation)
    return replace(model, resolved=resolved_preset, denoiser=denoiser, guide=guide)


def is_tiled(model: Model) -> bool:
    """Whether a model's estimates are made of tiles."""
    return isinstance(model.denoiser, TiledDenoiser)


def draws_any_size(model: Model) -> bool:
    """Whether x_T can be drawn in any size: its prior was fitted to no images."""
    return not build("prior", model.prior_component(None)).needs_fit


def check_start(model: Model) -> None:
    """Checks that x_T can be drawn in the size of the pictures.

    Raises:
        UserError: it is drawn by a prior that was fitted to images of a tile's size.
    """
    denoiser = model.denoiser
    if isinstance(denoiser, TiledDenoiser) and not draws_any_size(model):
        height, width = denoiser.tile_size
        raise UserError(
            f"this model of {denoiser.degradation.name} starts from a prior of images of {width}x{height} pixels, "
            "which draws no larger ones; use a model of gaussian-noise, or `tile` off"
        )


def shapes_of(sizes: Sequence[tuple[int, int]], model: Model, tile: str) -> dict[Shape, list[int]]:
    """The shapes (C, H, W) in which pictures are restored, and the indices of the pictures.

    Args:
        sizes: (width, height) of each.
        tile: ``on``: as they are; ``off``: as the model's images are; ``auto``: as they are where they are
            ``LARGE`` times as high and as wide, and the model knows no labels, which are those of whole images.

    Raises:
        UserError: ``tile`` is ``on``, and a picture is smaller than the model's images.
    """
    channels, height, width = model.image_shape
    groups: dict[Shape, list[int]] = {}
    for index, (w, h) in enumerate(sizes):
        if tile == "on" and (h < height or w < width):
            raise UserError(
                f"`tile` on: a picture of {w}x{h} pixels is smaller than a tile, {width}x{height}; leave it out"
            )
        large = h >= LARGE * height and w >= LARGE * width and not model.classes
        is_tiled = tile == "on" or (tile == "auto" and large)
        groups.setdefault((channels, h, w) if is_tiled else model.image_shape, []).append(index)
    return groups
