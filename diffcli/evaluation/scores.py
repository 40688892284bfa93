"""Scores of reconstructions and of samples, computed where the images or features are. Images are float (N, C, H, W) in
[0, 1].

torchmetrics takes seconds to load: each score that it computes loads it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from diffcli.data.pixels import psnr
from diffcli.evaluation.frechet import Reference
from diffcli.utils.compile import full_precision

SSIM_TAPS, SSIM_SIGMA = 11, 1.5


def ssim_window(height: int, width: int) -> dict[str, Any]:
    """The Gaussian window of SSIM, as ``eval.json`` holds it: 11 taps of sigma 1.5 (Wang et al. 2004, section III.C).

    Where 11 do not fit into the shorter side, it has the largest odd number of taps that does, and its sigma shrinks
    with it.
    """
    shorter = min(height, width)
    taps = min(SSIM_TAPS, shorter - 1 + shorter % 2 or 1)
    return {"taps": taps, "sigma": SSIM_SIGMA * taps / SSIM_TAPS, "borders": "inside", "data_range": 1.0}


def rmse(originals: Tensor, images: Tensor) -> Tensor:
    """Root mean squared error of each image, (N,)."""
    return (originals - images).square().flatten(1).mean(dim=1).sqrt()


def ssim(originals: Tensor, images: Tensor) -> Tensor:
    """Structural similarity of each image at data range 1, (N,): the mean over all windows that lie inside, and over
    channels (Wang et al. 2004, Eq. 13), with the window of :func:`ssim_window`.

    As scikit-image's with ``gaussian_weights=True, use_sample_covariance=False``. torchmetrics' own mean is over
    windows on mirrored borders, too: on digits most of them.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    height, width = images.shape[-2:]
    window = ssim_window(height, width)
    radius = window["taps"] // 2
    # Variances are differences of nearly equal numbers.
    a, b = images.double(), originals.double()
    _, ssim_map = structural_similarity_index_measure(
        a, b, data_range=window["data_range"], sigma=window["sigma"], reduction="none", return_full_image=True
    )
    inside = ssim_map[..., radius : height - radius, radius : width - radius]
    return inside.flatten(1).mean(dim=1).to(images.dtype)


def nearest_errors(images: Tensor, references: Tensor) -> Tensor:
    """Root mean squared error of each image to the nearest of ``references`` (M, C, H, W), (N,)."""
    others = references.flatten(1)
    with full_precision(images.device):
        distances = [torch.cdist(part.flatten(1), others).amin(dim=1) for part in images.split(250)]
    return torch.cat(distances) / math.sqrt(others.shape[1])


def where_measured(device: torch.device) -> torch.device:
    """The device that scores are computed on: one that has float64, which distances are summed in, else on the CPU."""
    return torch.device("cpu") if device.type == "mps" else device


RECONSTRUCTION_METRICS = {"rmse": rmse, "ssim": ssim, "psnr": psnr}


def fid(real: Tensor, fake: Tensor) -> float:
    """Frechet distance between two sets of features, (N, F) and (M, F) (Heusel et al. 2017, Eq. 6)."""
    return Reference.of(real).distance(fake)
