"""A mask that takes the image away place by place."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from diffcli.diffusion.degradations.base import Degradation, Share, Steps


def distances(height: int, width: int, start: Literal["centre", "border"]) -> Tensor:
    """The distance of each pixel from where the hole starts, as a share of the farthest one's distance, float64 (H, W).

    From the centre of the image, or inwards from the nearest side.
    """
    y, x = torch.meshgrid(
        *(torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in (height, width)), indexing="ij"
    )
    if start == "centre":
        distance = torch.hypot(y, x)
    else:
        distance = torch.minimum((height - 1) / 2 - y.abs(), (width - 1) / 2 - x.abs())
    return distance / distance.max().clamp(min=1e-9)


class Mask(Degradation):
    """A soft Gaussian hole that grows until next to nothing is left: in-painting (after Bansal et al. 2022).

    A_t multiplies each pixel at distance r by m_t(r) = exp(-(c / T) sum of exp(-r^2 / (2 w_i^2)) over i = 1..t), with
    w_i = width i / T, and c such that ``left`` remains of the farthest pixel at T. In its authors' code each step
    multiplies by 1 - exp(-r^2 / (2 w_i^2)), which puts out the centre at t = 1; here each step takes the same share of
    it, so m_t is smooth in t whatever T is. What is masked becomes mid-grey, 0.

    The hole has one place for all images. A place for each would be a part of A_t that neither the network nor the
    sampler knows, and which unconditional sampling would have to draw.

    Args:
        image_shape: (C, H, W).
        T: number of steps.
        width: standard deviation of the last Gaussian, as a share of the farthest pixel's distance.
        left: share of the farthest pixel that is left at T.
        start: where the hole starts: the centre of the image, or its border.
    """

    masks: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        T: Steps = 60,
        width: Annotated[float, Field(ge=0.2, le=10)] = 1.0,
        left: Share = 0.01,
        start: Literal["centre", "border"] = "centre",
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.T = T
        _, height, breadth = image_shape
        squared = distances(height, breadth, start).square()
        widths = width * torch.arange(1, T + 1, dtype=torch.float64).view(-1, 1, 1) / T
        depth = torch.exp(-squared / (2 * widths.square())).cumsum(dim=0)
        depth = torch.cat([torch.zeros_like(depth[:1]), depth])
        self.register_buffer("masks", torch.exp(math.log(left) * depth / depth[T].min()).float(), persistent=False)

    def step_norms(self) -> Tensor:
        """1: no pixel grows."""
        return torch.ones(self.T + 1, dtype=torch.float64)

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        """m_t times the image."""
        return self.masks[t][:, None] * x0
