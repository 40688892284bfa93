"""The ConvNeXt UNet of cold diffusion (Bansal et al. 2022), as the report changed it (section 3.1)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffcli.networks.depthwise import depthwise_conv
from diffcli.networks.embeddings import LabelEmbedding, SinusoidalTimeEmbedding

EXPANSION = 2
TIME_EXPANSION = 4
STEPS = 1000
"""The fraction t / T is embedded as if it were a step of a thousand, whatever T is."""


class ChannelNorm(nn.Module):
    """``layer_norm`` over the channels of each pixel, (B, C, H, W) -> (B, C, H, W), with a gain and a bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        last = F.layer_norm(hidden.permute(0, 2, 3, 1), self.weight.shape)
        # Gain and bias apart: in bfloat16 on a CPU, layer_norm sums their gradients in bfloat16, up to 90 % wrong.
        return torch.addcmul(self.bias.to(last.dtype), last, self.weight.to(last.dtype)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7 convolution plus time, two 3x3 convolutions, layer norm, residual (Liu et al. 2022; report 3.1).

    (B, channels_in, H, W) and a time embedding (B, time_width) -> (B, channels_out, H, W). The norm stands after the
    main convolutions and before the residual is added, as in the report; Bansal et al. have it before them.
    """

    def __init__(self, channels_in: int, channels_out: int, time_width: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels_out
        self.time = nn.Sequential(nn.GELU(), nn.Linear(time_width, channels_in))
        self.depthwise = nn.Conv2d(channels_in, channels_in, 7, padding=3, groups=channels_in)
        self.main = nn.Sequential(
            nn.Conv2d(channels_in, hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(hidden, channels_out, 3, padding=1),
            ChannelNorm(channels_out),
        )
        self.residual = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        assert self.depthwise.bias is not None
        shift = self.time(time)
        shift = shift + self.depthwise.bias.to(shift.dtype)
        hidden = depthwise_conv(x, self.depthwise.weight) + shift[:, :, None, None]
        return self.main(hidden) + self.residual(x)


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the number of pixels (Shen et al. 2021), with its residual, (B, C, H, W)."""

    def __init__(self, channels: int, heads: int = 4, head_width: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.scale = head_width**-0.5
        self.norm = ChannelNorm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.out = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        q, k, v = self.to_qkv.weight.view(3, self.heads, -1, channels)
        pixels = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        # Each key, heads by C' in all, pools the pixels: (B, heads C', pixels) @ (B, pixels, C).
        weights = (k.flatten(0, 1).expand(batch, -1, -1) @ pixels.transpose(-2, -1)).softmax(dim=-1)
        pools = (weights @ pixels).unflatten(1, (self.heads, -1))
        # Values, queries and output are linear: applied to the pools, they make one C x C matrix for all pixels of an
        # image.
        context = torch.einsum("bhkc,hvc->bhkv", pools, v)
        projection = torch.einsum("bhkv,ohv->bohk", context, self.out.weight.view(channels, self.heads, -1))
        mix = projection.flatten(2) @ (q * self.scale).flatten(0, 1)
        assert self.out.bias is not None
        out = torch.baddbmm(self.out.bias, pixels, mix.transpose(-2, -1))
        return x + out.view(batch, height, width, channels).permute(0, 3, 1, 2)


class Level(nn.Module):
    """Two ConvNeXt blocks and linear attention at one resolution."""

    def __init__(self, channels_in: int, channels_out: int, time_width: int) -> None:
        super().__init__()
        self.first = ConvNextBlock(channels_in, channels_out, time_width)
        self.second = ConvNextBlock(channels_out, channels_out, time_width)
        self.attention = LinearAttention(channels_out)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        return self.attention(self.second(self.first(hidden, time), time))


class UNet(nn.Module):
    """A level at each resolution, down and up again, joined by skip connections; 3,736,980 parameters for 1x28x28.

    Each downsampling halves the sides and doubles the feature maps. As in Bansal et al., the first level has no skip
    connection: what reaches the output at full resolution went through the half.

    Args:
        image_shape: (C, H, W); H and W divisible by 2 to the power of ``downsamplings``.
        width: feature maps at full resolution.
        downsamplings: how many times the sides are halved.
        classes: number of labels; 0 for a network without.

    Raises:
        ValueError: a size that the network cannot take.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], width: int = 32, downsamplings: int = 2, classes: int = 0
    ) -> None:
        super().__init__()
        channels, height, width_px = image_shape
        if width < 4 or width % 2 or not 0 <= downsamplings <= 6:
            raise ValueError(
                f"width must be even and at least 4, downsamplings in 0..6, got {width} and {downsamplings}"
            )
        if height % 2**downsamplings or width_px % 2**downsamplings:
            raise ValueError(f"the image's sides must be divisible by {2**downsamplings}, got {height}x{width_px}")
        self.time = nn.Sequential(
            SinusoidalTimeEmbedding(width, STEPS),
            nn.Linear(width, TIME_EXPANSION * width),
            nn.GELU(),
            nn.Linear(TIME_EXPANSION * width, width),
        )
        widths = [width * 2**level for level in range(downsamplings + 1)]
        downs, ups = list(pairwise(widths)), list(reversed(list(pairwise(widths))))
        self.down = nn.ModuleList(Level(before, after, width) for before, after in pairwise([channels, *widths]))
        self.shrink = nn.ModuleList(nn.Conv2d(above, above, 4, stride=2, padding=1) for above, _ in downs)
        self.middle = Level(widths[-1], widths[-1], width)
        self.up = nn.ModuleList(Level(2 * below, above, width) for above, below in ups)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(above, above, 4, stride=2, padding=1) for above, _ in ups)
        self.last = ConvNextBlock(width, width, width)
        self.head = nn.Conv2d(width, channels, 1)
        self.label = LabelEmbedding(classes, width)

    def forward(self, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None) -> Tensor:
        """(xt (B, C, H, W), t / T (B,), labels int64 (B,), -1 for none) -> (B, C, H, W)."""
        time = self.label(self.time(t_fraction), labels)
        top, *lower = self.down
        # Channels last in memory: norms and 1x1 convolutions need no copies, and all else is faster for it. A clone,
        # for the one channel of a grey image is last already to ``contiguous``, but first to the convolutions.
        hidden = top(xt.clone(memory_format=torch.channels_last), time)
        skips = []
        for shrink, level in zip(self.shrink, lower, strict=True):
            hidden = level(shrink(hidden), time)
            skips.append(hidden)
        hidden = self.middle(hidden, time)
        for level, grow in zip(self.up, self.grow, strict=True):
            hidden = grow(level(torch.cat([hidden, skips.pop()], dim=1), time))
        return self.head(self.last(hidden, time))
