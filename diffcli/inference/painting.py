"""Images with a part drawn anew, by whichever way serves the model."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.inpainting import ROUNDS
from diffcli.inference.posterior import inpaint_measured
from diffcli.inference.restoration import inpaint
from diffcli.inference.sampling import Sampling, step_counter
from diffcli.utils.console import progress


def inpaint_images(
    sampling: Sampling, images: Tensor, masks: Tensor, labels: Tensor | None, resampling: int | None, quiet: bool
) -> Tensor:
    """The drawing of a model in uint8 images (N, C, H, W) where ``masks``, bool (N, 1, H, W), is True; uint8, too.

    Args:
        labels: of the images, int64 (N,), -1 for none.
        resampling: of a model of Gaussian noise, how often each step is taken; None is 5.
        quiet: no progress bar.
    """
    has_rounds = isinstance(sampling.denoiser.degradation, GaussianNoise)
    rounds = (ROUNDS if resampling is None else resampling) if has_rounds else 1
    draw = partial(inpaint, rounds=rounds) if has_rounds else inpaint_measured
    total = rounds * sampling.total_steps(len(images))
    with progress(f"in-painting {len(images)} images", total, "steps", quiet) as tick:
        return to_uint8(torch.cat(list(draw(sampling, images, masks, track=step_counter(tick), labels=labels))))
