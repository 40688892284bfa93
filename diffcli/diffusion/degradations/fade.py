"""Fading: towards one colour, or towards the image's own grey."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from diffcli.diffusion.degradations.base import Degradation, Share, Steps

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""

Intensity = Annotated[float, Field(ge=0, le=1)]


class Fade(Degradation):
    """x_t = a_t x_0 + (1 - a_t) g, a_t = 1 - (1 - left) t / T, g a colour or the image's own grey.

    After the defading and decolouring in the code of Bansal et al. (2022), where grey is the mean of the channels.

    Towards mid-grey (0.5, the default) A_t is linear; towards another colour it is affine, which is the same to every
    sampler.

    Args:
        image_shape: (C, H, W).
        T: number of steps.
        colour: one intensity in 0 (black) to 1 (white), or one for each channel; ``own`` is the grey (luma) of each
            pixel of a colour image.
        left: a_T, the share of the image that is left at T, besides its grey where that is its own. Without noise it
            must not be 0: all images would end at the same colour.

    Raises:
        ValueError: the colours are not as many as the channels, or grey is asked of images that are not red, green and
            blue.
    """

    shares: Tensor
    mix: Tensor
    colour: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        T: Steps = 60,
        colour: Intensity | list[Intensity] | Literal["own"] = 0.5,
        left: Share = 0.01,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.T = T
        channels = image_shape[0]
        mix, constant = torch.zeros(channels, channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
        if colour == "own":
            if channels != len(LUMA):
                raise ValueError(f"colour own needs images of 3 channels, red, green and blue, got {channels}")
            mix += torch.tensor(LUMA, dtype=torch.float64)
        else:
            levels = torch.tensor(colour, dtype=torch.float64).reshape(-1)
            if len(levels) not in (1, channels):
                raise ValueError(f"colour must be one intensity or {channels}, one for each channel, got {len(levels)}")
            constant += levels - 0.5
        # (C, C): g = mix x + colour, pixel by pixel.
        self.register_buffer("mix", mix.float(), persistent=False)
        self.register_buffer("colour", constant.float(), persistent=False)
        shares = 1 - (1 - left) * torch.arange(T + 1, dtype=torch.float64) / T
        self.register_buffer("shares", shares.float(), persistent=False)

    def step_norms(self) -> Tensor:
        """The norm of each step, rho I + (1 - rho) G, rho = a_t / a_{t-1}: more than 1 where G, the image's own grey,
        spreads over its colours."""
        shares = self.shares.cpu().double()
        rho = torch.cat([shares[:1], shares[1:] / shares[:-1]]).view(-1, 1, 1)
        identity = torch.eye(len(self.mix), dtype=torch.float64)
        return torch.linalg.matrix_norm(rho * identity + (1 - rho) * self.mix.cpu().double(), 2)

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        """a_t x_0 + (1 - a_t) g."""
        share = self.shares[t].view(-1, 1, 1, 1)
        goal = torch.einsum("cd,bdhw->bchw", self.mix, x0) + self.colour.view(1, -1, 1, 1)
        return share * x0 + (1 - share) * goal
