"""A compact UNet for CPUs: half resolution by pixel unshuffling, residual blocks, FiLM time conditioning."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffcli.networks.embeddings import LabelEmbedding, time_layers

GROUPS = 8
TIME_WIDTH = 128
HEAD_WIDTH = 32
FREQUENCIES = 6
"""The number of frequencies of the time: the fastest has five periods, so that what is learnt at one t holds for its
neighbours."""
MAX_BLOCKS = 100


class ResidualBlock(nn.Module):
    """Two normalised convolutions whose second is scaled and shifted by the time (FiLM; Perez et al. 2018).

    (B, width, H, W) and a time embedding (B, TIME_WIDTH) -> (B, width, H, W); the identity at initialisation.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
        self.film = nn.Linear(TIME_WIDTH, 2 * width)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.film(time)[:, :, None, None].chunk(2, dim=1)
        return hidden + self.second(F.silu(self.norm(self.first(hidden)) * (1 + scale) + shift))


class SelfAttention(nn.Module):
    """Every pixel reads from all others (Vaswani et al. 2017), normalised, with its residual; the identity at first.

    (B, width, H, W) -> (B, width, H, W); heads of ``HEAD_WIDTH`` channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // HEAD_WIDTH, 1)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, width, height, columns = hidden.shape
        # (B, 3 width, H, W) -> three of (B, heads, pixels, width / heads).
        qkv = self.to_qkv(self.norm(hidden)).view(batch, 3, self.heads, -1, height * columns).mT.unbind(dim=1)
        values = F.scaled_dot_product_attention(*qkv).mT
        return hidden + self.out(values.reshape(batch, width, height, columns))


class CompactUNet(nn.Module):
    """Residual blocks at a half and a quarter of the image's side, joined by one skip connection.

    Args:
        image_shape: (C, H, W); H and W divisible by 4.
        width: feature maps at half resolution, a multiple of 8; twice as many at a quarter.
        blocks: residual blocks on each side at half resolution.
        middle: residual blocks at a quarter; None is one more than ``blocks``.
        attention: after every block at a quarter, where it is cheap, and where the parts of a figure have to agree.
        classes: number of labels; 0 for a network without.
        noise_levels: whether the network is told the level of the measurement noise in x_t.

    Raises:
        ValueError: a size that the network cannot take.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 48,
        blocks: int = 1,
        middle: int | None = None,
        attention: bool = False,
        classes: int = 0,
        *,
        noise_levels: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width_px = image_shape
        if height % 4 or width_px % 4:
            raise ValueError(f"the image's sides must be divisible by 4, got {height}x{width_px}")
        middle = blocks + 1 if middle is None else middle
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, got {width}")
        if not 1 <= blocks <= MAX_BLOCKS or not 1 <= middle <= MAX_BLOCKS:
            raise ValueError(f"blocks and middle must be in 1..{MAX_BLOCKS}, got {blocks} and {middle}")
        self.time = nn.Sequential(*time_layers(FREQUENCIES, TIME_WIDTH, nn.SiLU))
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1))
        self.down = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.shrink = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle = nn.ModuleList(ResidualBlock(2 * width) for _ in range(middle))
        self.attention = nn.ModuleList(SelfAttention(2 * width) if attention else nn.Identity() for _ in self.middle)
        self.grow = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.join = nn.Conv2d(2 * width, width, 1)
        self.up = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.head = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.label = LabelEmbedding(classes, TIME_WIDTH)
        self.level = nn.Sequential(*time_layers(FREQUENCIES, TIME_WIDTH, nn.SiLU)) if noise_levels else None

    def forward(
        self, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        """(xt (B, C, H, W), t / T (B,), labels int64 (B,), -1 for none, noise level in 0..1 (B,), None for none) -> (B,
        C, H, W)."""
        time = self.label(self.time(t_fraction), labels)
        if self.level is not None:
            time = time + self.level(torch.zeros_like(t_fraction) if level is None else level)
        hidden = self.stem(xt)
        for block in self.down:
            hidden = block(hidden, time)
        skip, hidden = hidden, self.shrink(hidden)
        for block, attention in zip(self.middle, self.attention, strict=True):
            hidden = attention(block(hidden, time))
        hidden = self.join(torch.cat([skip, self.grow(hidden)], dim=1))
        for block in self.up:
            hidden = block(hidden, time)
        return self.head(hidden)
