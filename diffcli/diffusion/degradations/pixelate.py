"""Pixelation: averages over growing blocks."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from diffcli.diffusion.degradations.base import Degradation, Steps


def block_averages(side: int, blocks: int) -> Tensor:
    """The matrix that replaces each of ``side`` pixels by the mean of its block, float64 (side, side).

    Block j ends at pixel round((j + 1) side / blocks), so sizes differ by one pixel at most, and the blocks of twice as
    many lie within these.
    """
    ends = (2 * torch.arange(1, blocks + 1) * side + blocks) // (2 * blocks)
    block = torch.bucketize(torch.arange(side), ends, right=True)
    same = (block[:, None] == block).double()
    return same / same.sum(dim=1, keepdim=True)


def nested_averages(side: int, grid: int) -> Tensor:
    """Block averages from single pixels to ``grid`` blocks, each with half as many blocks as the last, float64 (L,
    side, side).

    Blocks are nested, so the matrices are projections, and each contains all that the next one leaves.
    """
    counts = [grid]
    while counts[0] < side:
        counts.insert(0, 2 * counts[0])
    return torch.stack([block_averages(side, count) for count in counts])


class Pixelate(Degradation):
    """Averages over blocks that grow by factors of two: super-resolution (after Bansal et al. 2022).

    In its authors' code a step is one doubling, or one pixel less.
    The T steps are spread evenly over the L - 1 doublings. Within one, the detail between two block sizes fades out
    linearly: with the position p = (L - 1) t / T = l + u, one axis is M_t = (1 - u) P_l + u P_{l+1}, and z_t = M_t x
    M_t'. So z_t is continuous in t, and at whole l it is the image of square pixels.

    Args:
        image_shape: (C, H, W).
        T: number of steps.
        grid: blocks along each axis at t = T, fewer than pixels; they need not divide the sides. None is 4, unless
            ``block`` is given.
        block: in place of ``grid``, pixels along each side of a block at t = T, a power of two that divides both sides
            of the image: with T = 1, down-sampling by 2 or 4.

    Raises:
        ValueError: the image has no more pixels than the grid; or ``block`` does not divide its sides, or is beside a
            ``grid``.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        T: Steps = 60,
        grid: Annotated[int, Field(ge=1)] | None = None,
        block: Annotated[int, Field(ge=2)] | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.T = T
        _, height, width = image_shape
        if block is None:
            grid = 4 if grid is None else grid
            if grid >= min(height, width):
                raise ValueError(f"grid must be less than the sides of {height}x{width} images, got {grid}")
        elif grid is not None:
            raise ValueError("grid and block both say how large the blocks are; give one of them")
        elif block & (block - 1) or height % block or width % block:
            raise ValueError(
                f"block must be a power of two that divides both sides of {height}x{width} images, got {block}"
            )
        # A table of the block sizes, not of t: it stays small whatever T is.
        for name, side in (("rows", height), ("columns", width)):
            averages = nested_averages(side, side // block if block else grid or 1)
            self.register_buffer(name, averages.float(), persistent=False)

    def step_norms(self) -> Tensor:
        """1: the averages are projections, each within the last, and what a step takes from one of them only
        shrinks."""
        return torch.ones(self.T + 1, dtype=torch.float64)

    def axis(self, averages: Tensor, t: Tensor) -> Tensor:
        """M_t of the axis that ``averages`` (L, n, n) belongs to, float32 (B, 1, n, n)."""
        position = t * (len(averages) - 1)
        size = position // self.T
        share = (position % self.T / self.T).view(-1, 1, 1)
        coarser = (size + 1).clamp(max=len(averages) - 1)
        return torch.lerp(averages[size], averages[coarser], share)[:, None]

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        """z_t = M_t x M_t'."""
        return self.axis(self.rows, t) @ x0 @ self.axis(self.columns, t).mT
