"""Pictures larger than a model's images: an estimate from overlapping tiles, averaged at every step.

Each tile is estimated as an image of its own, and where tiles overlap their estimates are averaged (MultiDiffusion,
Bar-Tal et al. 2023, Eq. 5, which for estimates of x_0 is a weighted mean). A sampler sees one picture, and so does a
measurement: there is one x_t, so that tiles agree before the picture is done.

    >>> from diffcli.diffusion.tiles import tiled
    >>> estimate = tiled(lambda count: lambda xt, t: 0.5 * xt, size=(32, 32))  # of pictures of at least 32x32
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.guidance import X0Function

TILES = 64
"""Tiles at a time, of all pictures together: the memory that an estimate takes."""


def starts(length: int, side: int, stride: int) -> list[int]:
    """The first pixels of tiles along an axis of a picture: as evenly as whole pixels allow, the first and the last
    tile flush with its borders.

    Args:
        length: of the axis, at least ``side``.
        stride: the distance between two tiles, at most.

    Raises:
        ValueError: the picture is smaller than a tile, or ``stride`` is not in 1..side.
    """
    if length < side:
        raise ValueError(f"a picture of {length} pixels is smaller than a tile of {side}")
    if not 1 <= stride <= side:
        raise ValueError(f"stride must be in 1..{side}, got {stride}")
    gaps = -(-(length - side) // stride)
    return [round(number * (length - side) / gaps) for number in range(gaps + 1)] if gaps else [0]


def window(height: int, width: int) -> Tensor:
    """The weights of a tile's pixels, float32 (height, width): most in the middle, where an estimate knows its
    surroundings, and little, but something, at the border."""
    rows, columns = (
        torch.sin(torch.pi * (torch.arange(side, dtype=torch.float64) + 0.5) / side).square()
        for side in (height, width)
    )
    return torch.outer(rows, columns).float()


def tiled(
    estimate_of: Callable[[int], X0Function],
    size: tuple[int, int],
    *,
    stride: tuple[int, int] | None = None,
    tiles: int = TILES,
) -> X0Function:
    """x0_hat of pictures (B, C, H, W) of any size from ``size`` on, from estimates of their tiles.

    Memory goes with ``tiles``, also where the estimate is differentiated: tiles are then estimated once more on the way
    back.

    Args:
        estimate_of: of a number k, the estimate of k tiles of each of the pictures, (k B, C, h, w): the first tile of
            each picture, then the second of each, and so on. Labels of pictures are repeated k times.
        size: (h, w) of a tile, in pixels.
        stride: between tiles, downwards and to the right, at most; None is half of a tile.
        tiles: at a time, at most; but the B tiles of one place are never parted.

    Raises:
        ValueError: (when called) see :func:`starts`.
    """
    strides = stride or (max(size[0] // 2, 1), max(size[1] // 2, 1))

    def estimate(xt: Tensor, t: Tensor) -> Tensor:
        height, width = xt.shape[2:]
        corners = product(starts(height, size[0], strides[0]), starts(width, size[1], strides[1]))
        places = [(slice(top, top + size[0]), slice(left, left + size[1])) for top, left in corners]
        weights = window(*size).to(xt.device)
        total, weight = torch.zeros_like(xt), torch.zeros(height, width, device=xt.device)
        at_once = max(tiles // len(xt), 1)
        for first in range(0, len(places), at_once):
            group = places[first : first + at_once]
            crops = torch.cat([xt[..., rows, columns] for rows, columns in group])
            function, times = estimate_of(len(group)), t.repeat(len(group))
            if torch.is_grad_enabled() and crops.requires_grad:
                estimates = checkpoint(function, crops, times, use_reentrant=False)
            else:
                estimates = function(crops, times)
            for (rows, columns), x0_hat in zip(group, estimates.chunk(len(group)), strict=True):
                total[..., rows, columns] += x0_hat * weights
                weight[rows, columns] += weights
        return total / weight

    return estimate


class TiledDenoiser(Denoiser):
    """A denoiser of pictures larger than those that it was trained on.

    Args:
        denoiser: of images of the size of a tile, on its device and in its precision already.
        degradation: the same as the denoiser's, of the pictures: with their size.

    Raises:
        ValueError: the pictures are smaller than a tile, or of another number of channels.
    """

    def __init__(self, denoiser: Denoiser, degradation: Degradation) -> None:
        super().__init__(
            denoiser.network,
            degradation,
            denoiser.prediction,
            denoiser.classes,
            denoiser.input,
            measurement_noise=denoiser.measurement_noise,
        )
        channels, height, width = denoiser.degradation.image_shape
        if degradation.image_shape[0] != channels:
            raise ValueError(f"pictures have {degradation.image_shape[0]} channels, tiles {channels}")
        self.tile_size = (height, width)
        """(h, w) in pixels."""
        for length, side in zip(degradation.image_shape[1:], self.tile_size, strict=True):
            starts(length, side, side)
        self.tile = denoiser

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """x0_hat, (B, C, H, W), as of any denoiser."""

        tile = self.tile.with_sigma(self.sigma) if self.measurement_noise else self.tile

        def estimate_of(count: int) -> X0Function:
            tile_labels = None if labels is None else labels.repeat(count)
            return lambda tiles, times: tile(tiles, times, tile_labels)

        return tiled(estimate_of, self.tile_size)(xt, t)
