"""The report's CNN decoder (section 2.1.2)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from diffcli.networks.embeddings import LabelEmbedding, time_layers

MAX_FREQUENCIES = 100
"""The highest one grows as 1.5 to this power."""


class CNN(nn.Module):
    """Plain convolutions at full resolution; time is added to the first feature map.

    Each block is convolution, LayerNorm over (C, H, W), GELU; the last convolution is linear, for noise is signed.
    With the defaults and 1x28x28 images: 274,705 parameters.

    Args:
        image_shape: (C, H, W).
        channels: feature maps of the hidden blocks.
        kernel_size: side of the hidden convolutions, odd.
        frequencies: how many frequencies encode the time.
        time_width: units in each of the two hidden layers of the time MLP.
        classes: number of labels; 0 for a network without.

    Raises:
        ValueError: no channels, a value below 1, or an even kernel.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: list[int] = [16, 32, 32, 16],  # noqa: B006 (never mutated; a preset's schema shows it)
        kernel_size: int = 7,
        frequencies: int = 16,
        time_width: int = 128,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(f"channels must be a list of positive integers, got {channels}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        if not 1 <= frequencies <= MAX_FREQUENCIES or time_width < 1:
            raise ValueError(
                f"frequencies must be in 1..{MAX_FREQUENCIES} and time_width at least 1, got {frequencies} and "
                f"{time_width}"
            )
        image_channels, height, width = image_shape
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2),
                nn.LayerNorm([channels_out, height, width]),
                nn.GELU(),
            )
            for channels_in, channels_out in pairwise([image_channels, *channels])
        )
        self.head = nn.Conv2d(channels[-1], image_channels, 3, padding=1)
        self.time = nn.Sequential(*time_layers(frequencies, time_width, nn.GELU), nn.Linear(time_width, channels[0]))
        self.label = LabelEmbedding(classes, channels[0])

    def forward(self, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None) -> Tensor:
        """(xt (B, C, H, W), t / T (B,), labels int64 (B,), -1 for none) -> (B, C, H, W)."""
        first, *rest = self.blocks
        hidden = first(xt) + self.label(self.time(t_fraction), labels)[:, :, None, None]
        for block in rest:
            hidden = block(hidden)
        return self.head(hidden)
