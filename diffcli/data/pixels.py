"""The one place where pixel ranges change: uint8 files, [0, 1] metrics, [-0.5, 0.5] models (report 2.3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def to_model(images: Tensor) -> Tensor:
    """uint8 in 0..255 -> float32 in [-0.5, 0.5], any shape."""
    return images.to(torch.float32) / 255.0 - 0.5


def to_unit(images: Tensor) -> Tensor:
    """float in [-0.5, 0.5] -> float in [0, 1], clamped: metrics and feature extractors see this, any shape."""
    return (images + 0.5).clamp(0.0, 1.0)


def quantize(images: Tensor, bits: int) -> Tensor:
    """float in [-0.5, 0.5] -> float in [-0.5, 0.5], clamped and rounded to the 2^bits values of a picture file, any
    shape."""
    largest = 2**bits - 1
    return to_unit(images).mul(largest).round().div(largest) - 0.5


def rounding(bits: int) -> float:
    """Standard deviation of what rounding to 2^bits values takes away, that of a number uniform in a step: 0.0011 of 8
    bits."""
    return 1 / (2**bits - 1) / math.sqrt(12)


def psnr(originals: Tensor, images: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB at data range 1, (N,), at most 58.9: that of rounding to 8 bits.

    An image whose error is less than that is the original in every picture file; without a bound, one exact image would
    make the mean of all of them infinite.
    """
    return -10 * (originals - images).square().flatten(1).mean(dim=1).clamp(min=rounding(8) ** 2).log10()


def to_uint8(images: Tensor) -> Tensor:
    """float in [-0.5, 0.5] -> uint8 in 0..255, rounded and clamped, any shape."""
    return to_unit(images).mul(255.0).round().to(torch.uint8)
