"""Encodings of the scalar time t / T."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FourierTimeEncoding(nn.Module):
    """sin(f t / T) and cos(f t / T) - 1 at f = 0 and 2 pi 1.5^i (report 2.1.2): (B,) in [0, 1] -> (B, 2 count).

    Args:
        count: number of frequencies, the zero included.
    """

    frequencies: Tensor

    def __init__(self, count: int = 16) -> None:
        super().__init__()
        frequencies = [0.0] + [2 * math.pi * 1.5**i for i in range(count - 1)]
        self.register_buffer("frequencies", torch.tensor(frequencies), persistent=False)

    def forward(self, t_fraction: Tensor) -> Tensor:
        phase = t_fraction[:, None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos() - 1], dim=1)
