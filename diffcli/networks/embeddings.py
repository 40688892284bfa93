"""Encodings of what a network is told beside the image: the scalar time t / T, and a label."""

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


def time_layers(frequencies: int, width: int, activation: type[nn.Module]) -> list[nn.Module]:
    """The layers of an embedding of the time, (B,) in [0, 1] -> (B, width): its Fourier encoding, then two linear
    layers."""
    return [
        FourierTimeEncoding(frequencies),
        nn.Linear(2 * frequencies, width),
        activation(),
        nn.Linear(width, width),
        activation(),
    ]


class SinusoidalTimeEmbedding(nn.Module):
    """Sines and cosines of t at geometric frequencies from 1 to 1/10,000 (Vaswani et al. 2017, section 3.5).

    (B,) in [0, 1] -> (B, width).

    Args:
        width: size of the embedding, even.
        steps: what the fraction t / T is multiplied by, so that neighbouring steps can be told apart.
    """

    frequencies: Tensor

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        exponents = torch.arange(width // 2) / max(width // 2 - 1, 1)
        self.register_buffer("frequencies", steps * 10_000.0**-exponents, persistent=False)

    def forward(self, t_fraction: Tensor) -> Tensor:
        phase = t_fraction[:, None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class ConditionalNetwork(nn.Module):
    """A network that is told the time, a label and the level of the measurement noise of each image.

    Its ``time`` and ``level`` map (B,) in 0..1 to (B, width), its ``label`` adds itself to the time's; ``level`` is
    None where it is not told.
    """

    time: nn.Sequential
    label: LabelEmbedding
    level: nn.Sequential | None

    def condition(self, t_fraction: Tensor, labels: Tensor | None, level: Tensor | None) -> Tensor:
        """All of it together, (B, width): t / T (B,), labels int64 (B,), -1 for none, and noise levels in 0..1 (B,),
        None for none."""
        condition: Tensor = self.label(self.time(t_fraction), labels)
        if self.level is not None:
            condition = condition + self.level(torch.zeros_like(t_fraction) if level is None else level)
        return condition


class LabelEmbedding(nn.Module):
    """Adds the embedding of each image's label to that of its time: (B, width) -> (B, width).

    "No label" has an embedding of its own, which is what classifier-free guidance needs (Ho & Salimans 2022). Without
    classes nothing is added, and there are no parameters.

    Args:
        classes: number of labels, 0..classes - 1.
        width: of the time embedding.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.table = None
        if classes:
            values = torch.empty(classes + 1, width)
            if not values.is_meta:  # drawing there loads torch._dynamo, which takes a second
                values.normal_()
            self.table = nn.Embedding.from_pretrained(values, freeze=False)

    def forward(self, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """``labels`` is int64 (B,), -1 where there is none; None is none for all."""
        if self.table is None:
            return time
        rows = time.new_zeros(len(time), dtype=torch.int64) if labels is None else labels + 1
        return time + self.table(rows).to(time.dtype)
