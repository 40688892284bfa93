"""Each kind of degradation once more, in float64 and by plain loops or by scipy: what the closed forms are compared
with."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from scipy.fft import dctn, idctn
from scipy.ndimage import correlate1d
from torch import Tensor

from diffcli.diffusion.degradations import Degradation, GaussianBlur
from diffcli.diffusion.rules import Reference
from diffcli.diffusion.testing import betas

PADDINGS = {"reflect": "mirror", "circular": "wrap", "zero": "constant"}
"""What scipy calls the paddings of a blur."""


def noise(degradation: Degradation, x0: Tensor, t: int) -> Tensor:
    """Scaled at each step (report Eq. 1)."""
    for beta in betas(degradation.T)[1 : t + 1].tolist():
        x0 = math.sqrt(1 - beta) * x0
    return x0


def blur(degradation: Degradation, x0: Tensor, t: int) -> Tensor:
    """Convolved at each step along one axis and then the other."""
    assert isinstance(degradation, GaussianBlur)
    reach = degradation.kernel_size // 2
    image = x0.numpy()
    for beta in betas(degradation.T)[1 : t + 1].tolist():
        kernel = np.array([math.exp(-(i * i) / (2 * beta)) for i in range(-reach, reach + 1)])
        for axis in (2, 3):
            image = correlate1d(image, kernel / kernel.sum(), axis=axis, mode=PADDINGS[degradation.padding])
    return torch.from_numpy(image)


def heat(degradation: Degradation, x0: Tensor, t: int) -> Tensor:
    """The decay of scipy's cosine modes."""
    square = float(betas(degradation.T)[: t + 1].sum())
    rows, columns = ((math.pi * np.arange(n) / n) ** 2 for n in x0.shape[2:])
    decay = np.exp(-(rows[:, None] + columns) * square / 2)
    return torch.from_numpy(idctn(dctn(x0.numpy(), axes=(2, 3), norm="ortho") * decay, axes=(2, 3), norm="ortho"))


def rows_averaged(x0: Tensor, count: int) -> Tensor:
    """Each row replaced by the mean of its block, of ``count`` blocks."""
    height = x0.shape[2]
    edges = [math.floor(j * height / count + 0.5) for j in range(count + 1)]
    out = x0.clone()
    for top, bottom in pairwise(edges):
        if bottom > top:
            out[:, :, top:bottom] = x0[:, :, top:bottom].mean(dim=2, keepdim=True)
    return out


def pixelate(degradation: Degradation, x0: Tensor, t: int) -> Tensor:
    """To 4 blocks, along the rows and then along the columns; between two sizes a weighted mean of both."""
    for _ in range(2):
        counts = [4]
        while counts[0] < x0.shape[2]:
            counts.insert(0, 2 * counts[0])
        size, share = divmod((len(counts) - 1) * t / degradation.T, 1)
        fine, coarse = counts[int(size)], counts[min(int(size) + 1, len(counts) - 1)]
        x0 = ((1 - share) * rows_averaged(x0, fine) + share * rows_averaged(x0, coarse)).mT
    return x0


def mask(degradation: Degradation, x0: Tensor, t: int) -> Tensor:
    """Pixel by pixel, the product of the steps' holes, for the default parameters: from the centre, width 1, 0.01
    left."""
    T, height, width = degradation.T, *degradation.image_shape[1:]
    holes = torch.ones(height, width, dtype=torch.float64)
    middle = ((height - 1) / 2, (width - 1) / 2)
    farthest = math.hypot(*middle)
    rate = math.log(0.01) / sum(math.exp(-1 / (2 * (i / T) ** 2)) for i in range(1, T + 1))
    for y in range(height):
        for x in range(width):
            r = math.hypot(y - middle[0], x - middle[1]) / farthest
            for i in range(1, t + 1):
                holes[y, x] *= math.exp(rate * math.exp(-(r**2) / (2 * (i / T) ** 2)))
    return holes * x0


def fade(degradation: Degradation, x0: Tensor, t: int) -> Tensor:
    """Towards mid-grey, which is 0; 0.01 left."""
    return (1 - 0.99 * t / degradation.T) * x0


REFERENCES: dict[str, Reference] = {
    "gaussian-noise": noise,
    "gaussian-blur": blur,
    "heat": heat,
    "pixelate": pixelate,
    "mask": mask,
    "fade": fade,
}
