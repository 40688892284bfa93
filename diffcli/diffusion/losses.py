"""The loss that validation and evaluation report: the same t and noise for an image at every epoch and in every run."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.randomness import Stream, image_generators, randn_images


def fixed_loss(
    denoiser: Denoiser, x0: Tensor, indices: Tensor, seed: int, stream: Stream, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Loss per image, (B,), and its t, int64 (B,): both belong to (seed, image index), comparable over epochs and runs."""
    generators = image_generators(seed, stream, indices.tolist())
    T = denoiser.degradation.T
    t = torch.cat([torch.randint(1, T + 1, (1,), generator=generator) for generator in generators])
    noise = randn_images(generators, tuple(x0.shape[1:]), x0.device)
    return denoiser.loss(x0, t.to(x0.device), noise, None if labels is None else labels.to(x0.device)), t
