"""A compact UNet for CPUs: patches of pixels as channels, residual blocks at two or more resolutions, FiLM time
conditioning."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffcli.networks.embeddings import ConditionalNetwork, LabelEmbedding, time_layers

GROUPS = 8
TIME_WIDTH = 128
HEAD_WIDTH = 32
FREQUENCIES = 6
"""The number of frequencies of the time: the fastest has five periods, so that what is learnt at one t holds for its
neighbours."""
MAX_BLOCKS = 100
MAX_PATCH = 64
MAX_LEVELS = 6
MAX_POSITIONS = 256
"""Attention costs the square of the positions: so many have it at resolutions between the first and the last."""


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
        qkv = (
            self.to_qkv(self.norm(hidden))
            .view(batch, 3, self.heads, -1, height * columns)
            .transpose(-2, -1)
            .unbind(dim=1)
        )
        values = F.scaled_dot_product_attention(*qkv).transpose(-2, -1)
        return hidden + self.out(values.reshape(batch, width, height, columns))


class Level(nn.Module):
    """Residual blocks on both sides of a resolution between the first and the last, and the ways down and up from it.

    Args:
        width: its feature maps; twice as many at half its resolution.
        attention: after every block.
    """

    def __init__(self, width: int, blocks: int, *, attention: bool) -> None:
        super().__init__()

        def attentions() -> nn.ModuleList:
            return nn.ModuleList(SelfAttention(width) if attention else nn.Identity() for _ in range(blocks))

        self.down = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.down_attention = attentions()
        self.shrink = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.grow = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.join = nn.Conv2d(2 * width, width, 1)
        self.up = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.up_attention = attentions()

    def descend(self, hidden: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width, H, W) -> the skip connection of that shape, and (B, 2 width, H / 2, W / 2)."""
        for block, attention in zip(self.down, self.down_attention, strict=True):
            hidden = attention(block(hidden, time))
        return hidden, self.shrink(hidden)

    def ascend(self, skip: Tensor, hidden: Tensor, time: Tensor) -> Tensor:
        """The skip connection, and (B, 2 width, H / 2, W / 2) -> (B, width, H, W)."""
        hidden = self.join(torch.cat([skip, self.grow(hidden)], dim=1))
        for block, attention in zip(self.up, self.up_attention, strict=True):
            hidden = attention(block(hidden, time))
        return hidden


class CompactUNet(ConditionalNetwork):
    """Residual blocks at two or more resolutions of an image cut into patches, joined by skip connections.

    The first resolution is that of the patches, whose pixels become channels (Hoogeboom et al. 2023, "simple
    diffusion", section 3.3); each further one has half its side and twice its feature maps. At 64x64 pixels, patches of
    4 give the 16x16 and 8x8 positions that patches of 2 give at 32x32, for the same work an image.

    Args:
        image_shape: (C, H, W); H and W divisible by patch * 2^(levels - 1).
        width: feature maps at the first resolution, a multiple of 8.
        blocks: residual blocks on each side of every resolution but the last.
        middle: residual blocks at the last resolution; None is one more than ``blocks``.
        attention: after every block at the last resolution, where it is cheap, and where the parts of a figure have to
            agree; also at those between it and the first which have at most 256 positions.
        patch: pixels along a side of a patch.
        levels: number of resolutions.
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
        patch: int = 2,
        levels: int = 2,
        noise_levels: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width_px = image_shape
        if not 1 <= patch <= MAX_PATCH:
            raise ValueError(f"patch must be in 1..{MAX_PATCH}, got {patch}")
        if not 2 <= levels <= MAX_LEVELS:
            raise ValueError(f"levels must be in 2..{MAX_LEVELS}, got {levels}")
        divisor = patch * 2 ** (levels - 1)
        if height % divisor or width_px % divisor:
            raise ValueError(
                f"the image's sides must be divisible by {divisor}, which is patch * 2^(levels - 1) with patch {patch} "
                f"and levels {levels}, got {height}x{width_px}"
            )
        middle = blocks + 1 if middle is None else middle
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, got {width}")
        if not 1 <= blocks <= MAX_BLOCKS or not 1 <= middle <= MAX_BLOCKS:
            raise ValueError(f"blocks and middle must be in 1..{MAX_BLOCKS}, got {blocks} and {middle}")
        self.time = nn.Sequential(*time_layers(FREQUENCIES, TIME_WIDTH, nn.SiLU))
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(patch**2 * channels, width, 3, padding=1))
        self.down = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.shrink = nn.Conv2d(width, 2 * width, 2, stride=2)
        positions = [height * width_px // (patch * 2**level) ** 2 for level in range(1, levels - 1)]
        self.between = nn.ModuleList(
            Level(width * 2**level, blocks, attention=attention and count <= MAX_POSITIONS)
            for level, count in enumerate(positions, start=1)
        )
        deep = width * 2 ** (levels - 1)
        self.middle = nn.ModuleList(ResidualBlock(deep) for _ in range(middle))
        self.attention = nn.ModuleList(SelfAttention(deep) if attention else nn.Identity() for _ in self.middle)
        self.grow = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.join = nn.Conv2d(2 * width, width, 1)
        self.up = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.head = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, patch**2 * channels, 3, padding=1),
            nn.PixelShuffle(patch),
        )
        self.label = LabelEmbedding(classes, TIME_WIDTH)
        self.level = nn.Sequential(*time_layers(FREQUENCIES, TIME_WIDTH, nn.SiLU)) if noise_levels else None

    def forward(
        self, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        """(xt (B, C, H, W), t / T (B,), labels int64 (B,), -1 for none, noise level in 0..1 (B,), None for none) -> (B,
        C, H, W)."""
        time = self.condition(t_fraction, labels, level)
        hidden = self.stem(xt)
        for block in self.down:
            hidden = block(hidden, time)
        skip, hidden = hidden, self.shrink(hidden)
        between, inner_skips = cast("list[Level]", list(self.between)), []
        for inner in between:
            inner_skip, hidden = inner.descend(hidden, time)
            inner_skips.append(inner_skip)
        for block, attention in zip(self.middle, self.attention, strict=True):
            hidden = attention(block(hidden, time))
        for inner in reversed(between):
            hidden = inner.ascend(inner_skips.pop(), hidden, time)
        hidden = self.join(torch.cat([skip, self.grow(hidden)], dim=1))
        for block in self.up:
            hidden = block(hidden, time)
        return self.head(hidden)
