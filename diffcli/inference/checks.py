"""Checks of images that a model is handed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffcli.config.schema import Preset
from diffcli.diffusion import inpainting
from diffcli.diffusion.degradations import Degradation
from diffcli.inference.options import MAX_SAMPLES
from diffcli.utils.console import note
from diffcli.utils.errors import UserError
from diffcli.utils.options import bounds, check_number

Shape = tuple[int, int, int]


def check_count(n: int) -> None:
    """Checks a number of samples.

    Raises:
        UserError: it is no whole number, or out of range.
    """
    check_number("n", n, "int")
    bounds(1, MAX_SAMPLES)("n", n)


def note_on_steps(name: str, preset: Preset, steps: Sequence[int], T: int) -> None:
    """Says so where a model of few steps takes others than those that it was distilled for: at their t it is no
    denoiser, and at others it has learnt nothing since.

    Args:
        name: of the model.
        steps: descending to 0.
    """
    if preset.distillation is None or (len(steps) - 1 == preset.sampler.steps and steps[0] == T):
        return
    count = preset.sampler.steps
    own_steps = "1 step" if count == 1 else f"{count} steps"
    note(
        f"note: {name} was distilled for {own_steps} from T to 0, and takes others here; its teacher, "
        f"{preset.distillation.teacher}, takes any"
    )


def check_inpaints(degradation: Degradation, resampling: int | None = None) -> None:
    """Checks that a model of a degradation can paint what is missing of an image, each step taken so many times.

    Raises:
        UserError: it cannot, or takes each step once.
    """
    try:
        inpainting.check_inpaints(degradation, resampling)
    except ValueError as error:
        raise UserError(str(error)) from error


def check_images(images: Tensor, image_shape: Shape) -> None:
    """Checks uint8 images (N, C, H, W).

    Raises:
        UserError: they are of another shape or type.
    """
    check_shape(images, image_shape)
    if images.dtype != torch.uint8:
        raise UserError(f"images must be uint8 in 0..255, got {str(images.dtype).removeprefix('torch.')}")


def check_degraded(xt: Tensor, image_shape: Shape) -> None:
    """Checks degraded images, float (N, C, H, W).

    Raises:
        UserError: they are of another shape or type, or not finite.
    """
    check_shape(xt, image_shape)
    if not xt.is_floating_point() or not bool(torch.isfinite(xt).all()):
        raise UserError("degraded images must be finite float numbers, with pixels in about [-0.5, 0.5]")


def check_measured(y: Tensor, image_shape: Shape) -> None:
    """Checks measured images (N, C, H, W), of 8 bits or float.

    Raises:
        UserError: they are of another shape or type, or not finite.
    """
    check_shape(y, image_shape)
    if y.dtype != torch.uint8 and not (y.is_floating_point() and bool(torch.isfinite(y).all())):
        raise UserError("measured images must be uint8, or finite float numbers with pixels in about [-0.5, 0.5]")


def check_shape(images: Tensor, image_shape: Shape) -> None:
    """Checks that images are (N, C, H, W).

    Raises:
        UserError: they are not, or there is none.
    """
    if images.ndim != 4 or not len(images) or tuple(images.shape[1:]) != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise UserError(f"images must be of shape (N, {expected}), got {tuple(images.shape)}")


def image_masks(mask: Tensor, count: int, image_shape: Shape) -> Tensor:
    """The pixels of ``count`` images that a mask marks, bool (count, 1, H, W), of bool (H, W) or (count, H, W).

    Raises:
        UserError: the mask is of another shape or type, or marks nothing or everything of an image.
    """
    _, height, width = image_shape
    if mask.dtype != torch.bool or tuple(mask.shape) not in ((height, width), (count, height, width)):
        raise UserError(
            f"`mask` must be bool, ({height}, {width}) or ({count}, {height}, {width}), "
            f"got {str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}"
        )
    masks = mask.cpu().expand(count, height, width)
    shares = masks.flatten(1).float().mean(dim=1)
    if bool((shares == 0).any()):
        raise UserError("`mask` marks nothing to be painted")
    if bool((shares == 1).any()):
        raise UserError("`mask` marks all of an image, of which nothing is known then; draw new ones with sample")
    return masks.unsqueeze(1)
