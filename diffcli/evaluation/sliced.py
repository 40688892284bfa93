"""The sliced Wasserstein distance of patches at each scale of a Laplacian pyramid (Karras et al. 2018, section 5).

It needs no trained network: it compares the distributions of small neighbourhoods, in each band of frequencies on its
own, and so says at which scale the texture of samples is unlike that of real images. It knows nothing of what a picture
is of: a judge that was trained on the images does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffcli.data.pixels import to_model, to_unit
from diffcli.utils.compile import full_precision

PATCH = 7
"""Side of a patch in pixels, as in the paper."""
PATCHES = 32
"""Patches of each image at each scale, at random places; the paper takes 128 of each of 16,384 images."""
DIRECTIONS = 128
"""Directions that patches are projected on; the paper takes 512."""
SEED = 0
"""The seed of places and directions, which are the same in every evaluation."""
AT_ONCE = 16
"""Directions that are sorted together."""
IMAGES_AT_ONCE = 250
TAPS = (1, 4, 6, 4, 1)
"""The taps of the pyramid's filter, over 16 (Burt & Adelson 1983, with a = 3/8)."""


def scales(height: int, width: int) -> list[int]:
    """The shorter side in pixels at each scale of the pyramid, the finest first.

    Each is half of the one before, as long as it is at least twice a patch: 64, 32, 16 of images of 64x64, and 28, 14
    of 28x28. Smaller images have one scale.
    """
    sides = [min(height, width)]
    while (half := -(-sides[-1] // 2)) >= 2 * PATCH:
        sides.append(half)
    return sides


def _blur(images: Tensor) -> Tensor:
    """Images (N, C, H, W), sides at least 3, under the pyramid's filter; mirrored at the borders."""
    channels = images.shape[1]
    taps = torch.tensor(TAPS, dtype=images.dtype, device=images.device) / sum(TAPS)
    kernel = torch.outer(taps, taps).expand(channels, 1, len(TAPS), len(TAPS))
    return F.conv2d(F.pad(images, [len(TAPS) // 2] * 4, mode="reflect"), kernel, groups=channels)


def _double(images: Tensor, height: int, width: int) -> Tensor:
    """Images (N, C, H, W) at every other pixel of ``height`` x ``width``, interpolated in between by the filter."""
    spread = images.new_zeros(*images.shape[:2], height, width)
    spread[..., ::2, ::2] = images
    # Four times, for one pixel in four is there; at odd borders more of them are than at even ones.
    weights = images.new_zeros(1, 1, height, width)
    weights[..., ::2, ::2] = 1
    return _blur(spread) / _blur(weights)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """The bands of images (N, C, H, W), the finest first: what each scale has beyond the next one, and what is left at
    the last. A scale has half the pixels along a side of the one before, odd sides rounded up."""
    bands = []
    for _ in scales(*images.shape[-2:])[1:]:
        smaller = _blur(images)[..., ::2, ::2]
        bands.append(images - _double(smaller, *images.shape[-2:]))
        images = smaller
    return [*bands, images]


def _places(band: Tensor, generator: torch.Generator) -> Tensor:
    """Patches of images (N, C, H, W) at random places, (N, ``PATCHES``, C, P, P), P at most ``PATCH``."""
    side = min(PATCH, *band.shape[-2:])
    windows = band.unfold(2, side, 1).unfold(3, side, 1)
    size = len(band), PATCHES
    row, column = (torch.randint(windows.shape[axis], size, generator=generator).to(band.device) for axis in (2, 3))
    return windows[torch.arange(len(band), device=band.device)[:, None], :, row, column]


def patches_of(images: Tensor, device: torch.device) -> list[Tensor]:
    """Patches of uint8 images (N, C, H, W) at each scale, the finest first: float (N, ``PATCHES``, C, P, P) each."""
    generator = torch.Generator().manual_seed(SEED)
    batches = []
    for batch in images.split(IMAGES_AT_ONCE):
        bands = laplacian_pyramid(to_unit(to_model(batch.to(device))))
        batches.append([_places(band, generator) for band in bands])
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def _directions(dimensions: int) -> Tensor:
    """Random unit vectors, (``dimensions``, ``DIRECTIONS``)."""
    generator = torch.Generator().manual_seed(SEED)
    return F.normalize(torch.randn(dimensions, DIRECTIONS, generator=generator), dim=0)


def sliced_distances(
    real: Sequence[Tensor],
    others: Sequence[Tensor],
    subsets: Tensor,
    advance: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """The distances of subsets of images to real ones at each scale, float64 (S, scales).

    The mean over directions of the Wasserstein distance of patches along each. Pixels are in units of the standard
    deviation of the real images' channel at that scale, about their mean: the paper's code takes each set's own, and so
    does not see that samples lack contrast.

    Args:
        real: patches at each scale, see :func:`patches_of`.
        others: those of N images.
        subsets: which images belong to each, bool (S, N), at least one to each.
        advance: called with the number of directions just done, ``DIRECTIONS`` for each scale in all.
    """
    values = []
    for patches, of_others in zip(real, others, strict=True):
        mean = patches.mean(dim=(0, 1, 3, 4), keepdim=True)
        deviation = patches.std(dim=(0, 1, 3, 4), keepdim=True).clamp(min=1e-8)
        goals, lines = (((part - mean) / deviation).flatten(0, 1).flatten(1) for part in (patches, of_others))
        directions = _directions(goals.shape[1]).to(goals.device)
        total = torch.zeros(len(subsets), dtype=torch.float64, device=goals.device)
        for batch in directions.split(AT_ONCE, dim=1):
            with full_precision(goals.device):
                goal = (batch.T @ goals.T).sort(dim=1).values
                line, order = (batch.T @ lines.T).sort(dim=1)
            owner = order // PATCHES
            for number, subset in enumerate(subsets):
                members = line[subset[owner]].view(len(line), -1)
                total[number] += _wasserstein(goal, members).double().sum()
            advance(batch.shape[1])
        values.append(total / DIRECTIONS)
    return torch.stack(values, dim=1)


def _wasserstein(goal: Tensor, line: Tensor) -> Tensor:
    """The Wasserstein distance of each row of sorted values (K, A) and (K, B), (K,): the mean difference of their
    quantiles at A of them, all there are where B is A."""
    count = goal.shape[1]
    places = ((torch.arange(count, device=line.device) + 0.5) * line.shape[1] / count).long()
    return (goal - line[:, places]).abs().mean(dim=1)
