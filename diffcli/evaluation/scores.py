"""Scores of reconstructions and of samples, computed where the images or features are. Images are float (N, C, H, W) in [0, 1].

torchmetrics takes seconds to load: each score that it computes loads it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffcli.diffusion.precision import full_precision
from diffcli.evaluation.frechet import Reference
from diffcli.evaluation.kernel import KernelReference


def ssim_sigma(side: int) -> float:
    """Width of SSIM's Gaussian window in pixels: 1.5 (11 taps; Wang et al. 2004), 0.5 (5 taps) where 11 do not fit."""
    return 1.5 if side >= 11 else 0.5


def rmse(originals: Tensor, images: Tensor) -> Tensor:
    """Root mean squared error of each image, (N,)."""
    return (originals - images).square().flatten(1).mean(dim=1).sqrt()


def psnr(originals: Tensor, images: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB at data range 1, (N,)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    values = peak_signal_noise_ratio(images, originals, data_range=1.0, reduction="none", dim=(1, 2, 3))
    assert isinstance(values, Tensor)
    return values


def ssim(originals: Tensor, images: Tensor) -> Tensor:
    """Structural similarity of each image at data range 1, (N,) (Wang et al. 2004)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    values = structural_similarity_index_measure(
        images, originals, data_range=1.0, sigma=ssim_sigma(images.shape[-1]), reduction="none"
    )
    assert isinstance(values, Tensor)
    return values.reshape(-1)


def nearest(images: Tensor, references: Tensor) -> Tensor:
    """Root mean squared error of each image to the nearest of ``references`` (M, C, H, W), (N,)."""
    others = references.flatten(1)
    with full_precision(images.device):
        distances = [torch.cdist(part.flatten(1), others).amin(dim=1) for part in images.split(250)]
    return torch.cat(distances) / math.sqrt(others.shape[1])


def where_measured(device: torch.device) -> torch.device:
    """Where scores are computed: on a device that has float64, which distances are summed in, else on the CPU."""
    return torch.device("cpu") if device.type == "mps" else device


RECONSTRUCTION_METRICS = {"rmse": rmse, "ssim": ssim, "psnr": psnr}


def fid(real: Tensor, fake: Tensor) -> float:
    """Frechet distance between two sets of features, (N, F) and (M, F) (Heusel et al. 2017, Eq. 6)."""
    return Reference.of(real).distance(fake)


def kid(real: Tensor, fake: Tensor) -> float:
    """Kernel distance between two sets of features, (N, F) and (M, F); unbiased, over all pairs (Binkowski et al. 2018)."""
    return KernelReference.of(real).distance(fake)
