"""A transformer over the patches of an image, scaled, shifted and gated by the time and the label."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffcli.networks.attention import dot_product_attention
from diffcli.networks.embeddings import ConditionalNetwork, LabelEmbedding, time_layers

FREQUENCIES = 6
"""Sines and cosines of the time, as many as the compact UNet has."""
HEAD_WIDTH = 32
EXPANSION = 4
MAX_BLOCKS = 100
MAX_PATCH = 64
MAX_PERIOD = 10_000.0
"""The longest period of the sines of the positions, in patches, over 2 pi: that of Vaswani et al."""


def positions_of(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of each patch's row, then of its column: float32 (rows * columns, width), the patches row by
    row (Vaswani et al. 2017, section 3.5, for each of the two).

    They are computed, not learnt, so that they exist for every number of patches.

    Args:
        width: a multiple of 4.
    """
    frequencies = MAX_PERIOD ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    phases = [place.reshape(-1, 1) * frequencies for place in (row, column)]
    return torch.cat([part for phase in phases for part in (phase.sin(), phase.cos())], dim=1).float()


def adaptive_norm(hidden: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Adaptive layer norm (Peebles & Xie 2023, section 3.2): each patch of (B, N, width) normalised, times 1 +
    ``scale`` plus ``shift``, (B, 1, width) each."""
    return F.layer_norm(hidden, hidden.shape[-1:]) * (1 + scale) + shift


def zero_linear(layer: nn.Linear) -> nn.Linear:
    """The layer with zeros for weights and bias."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class TransformerBlock(nn.Module):
    """Attention among all patches, then two layers for each, both inside of a residual (Peebles & Xie 2023, figure 3,
    adaLN-Zero).

    (B, N, width) and a condition (B, width) -> (B, N, width); the identity at initialisation. Queries and keys are
    normalised, so that a large learning rate does not make the softmax a maximum (Dehghani et al. 2023).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width))
        self.modulation = zero_linear(nn.Linear(width, 6 * width))

    def attention(self, hidden: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width), by PyTorch's fused kernel: no N x N table of weights is kept."""
        batch, count, width = hidden.shape
        # (B, N, 3 width) -> three of (B, heads, N, width / heads).
        q, k, v = self.to_qkv(hidden).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        q, k = F.layer_norm(q, q.shape[-1:]), F.layer_norm(k, k.shape[-1:])
        return self.out(dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, width))

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        scale, shift, gate, mlp_scale, mlp_shift, mlp_gate = self.modulation(condition)[:, None].chunk(6, dim=-1)
        hidden = hidden + gate * self.attention(adaptive_norm(hidden, scale, shift))
        return hidden + mlp_gate * self.mlp(adaptive_norm(hidden, mlp_scale, mlp_shift))


class DiT(ConditionalNetwork):
    """A diffusion transformer (Peebles & Xie 2023) on the pixels of an image (Li & He 2025).

    Each patch is a token; all attend to all. With the defaults and 1x28x28 images, 49 tokens. The work of attention
    grows as the square of their number, (H / patch) * (W / patch), its memory as the number itself.

    Args:
        image_shape: (C, H, W); H and W divisible by ``patch``.
        width: of a token, a multiple of 4.
        depth: number of blocks.
        patch: pixels along a side of a patch.
        heads: of attention, a divisor of ``width``; None is one for each 32 of it, or as near as divides it.
        bottleneck: units between the pixels of a patch and its token: fewer than pixels, for large patches, whose noise
            then does not fill the token (Li & He 2025); None embeds them directly.
        classes: number of labels; 0 for a network without.
        noise_levels: whether the network is told the level of the measurement noise in x_t.

    Raises:
        ValueError: a size that the network cannot take.
    """

    positions: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 128,
        depth: int = 6,
        patch: int = 4,
        heads: int | None = None,
        classes: int = 0,
        *,
        bottleneck: int | None = None,
        noise_levels: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width_px = image_shape
        if not 1 <= patch <= MAX_PATCH:
            raise ValueError(f"patch must be in 1..{MAX_PATCH}, got {patch}")
        if height % patch or width_px % patch:
            raise ValueError(f"the image's sides must be divisible by patch {patch}, got {height}x{width_px}")
        if width < 4 or width % 4:
            raise ValueError(f"width must be a multiple of 4, got {width}")
        if heads is None:
            heads = max(count for count in range(1, max(width // HEAD_WIDTH, 1) + 1) if width % count == 0)
        if not 1 <= heads <= width or width % heads:
            raise ValueError(f"heads must be a divisor of width {width}, got {heads}")
        if not 1 <= depth <= MAX_BLOCKS:
            raise ValueError(f"depth must be in 1..{MAX_BLOCKS}, got {depth}")
        if bottleneck is not None and bottleneck < 1:
            raise ValueError(f"bottleneck must be at least 1, got {bottleneck}")
        pixels = patch**2 * channels
        self.patch, self.grid = patch, (height // patch, width_px // patch)
        self.embed = (
            nn.Linear(pixels, width)
            if bottleneck is None
            else nn.Sequential(nn.Linear(pixels, bottleneck, bias=False), nn.Linear(bottleneck, width))
        )
        self.register_buffer("positions", positions_of(*self.grid, width), persistent=False)
        self.time = nn.Sequential(*time_layers(FREQUENCIES, width, nn.SiLU)[:-1])
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.modulation = zero_linear(nn.Linear(width, 2 * width))
        self.head = zero_linear(nn.Linear(width, pixels))
        self.label = LabelEmbedding(classes, width)
        self.level = nn.Sequential(*time_layers(FREQUENCIES, width, nn.SiLU)[:-1]) if noise_levels else None

    def hidden_matrices(self) -> list[Tensor]:
        """The weights of attention and of the two layers after it in every block: what Muon orthogonalises."""
        layers = {name: layer for name, layer in self.blocks.named_modules() if isinstance(layer, nn.Linear)}
        return [layer.weight for name, layer in layers.items() if "modulation" not in name]

    def forward(
        self, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        """(xt (B, C, H, W), t / T (B,), labels int64 (B,), -1 for none, noise level in 0..1 (B,), None for none) -> (B,
        C, H, W)."""
        condition = F.silu(self.condition(t_fraction, labels, level))
        patches = F.pixel_unshuffle(xt, self.patch).flatten(2).transpose(-2, -1)
        hidden = self.embed(patches) + self.positions
        for block in self.blocks:
            hidden = block(hidden, condition)
        scale, shift = self.modulation(condition)[:, None].chunk(2, dim=-1)
        output = self.head(adaptive_norm(hidden, scale, shift))
        return F.pixel_shuffle(output.transpose(-2, -1).unflatten(2, self.grid), self.patch)
