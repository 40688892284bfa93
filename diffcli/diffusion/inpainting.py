"""In-painting: part of each image is known, and a model of noise draws the rest to fit (RePaint, Lugmayr et al. 2022).

A sampler goes by estimates whose known pixels are the image's own. At every step these pixels then have the image's values
with noise of that step's level, as they had in training, and the network draws the others beside them; at t = 0 they are
the image's, exactly. Every sampler of noise keeps them so, with as few steps as its own.

What is drawn early does not yet fit what is known: noise hides it. So each part of the way is taken several times, its end
degraded anew to where it began (the paper's section 4.2 and its Algorithm 1, line 9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.samplers import Draw, Step

ROUNDS, MOST_ROUNDS = 5, 100
JUMP = 1 / 25
"""The length of a part: the paper's 10 of 250 steps."""

Sample = Callable[[Tensor, Sequence[int]], Iterator[Step]]
"""(x_t, time steps from t down) -> the steps of a sampler: what is left of one once it knows its denoiser and its noise."""


@dataclass(frozen=True)
class Resampling:
    """How often each part of the way is taken, and how long a part is.

    Args:
        rounds: the paper's r, at least 1, which is once.
        jump: of the sampler's steps, at least 1: the paper's j.
    """

    rounds: int
    jump: int

    @classmethod
    def of(cls, steps: int, rounds: int) -> Resampling:
        """Parts as long as the paper's, for a sampler of so many steps."""
        return cls(rounds, max(1, round(steps * JUMP)))

    def parts(self, timesteps: Sequence[int]) -> list[Sequence[int]]:
        """The time steps, T to 0, in parts of ``jump`` steps; each begins where the one before ends."""
        ends = [*range(0, len(timesteps) - 1, self.jump), len(timesteps) - 1]
        return [timesteps[start : end + 1] for start, end in pairwise(ends)]


def check_inpaints(degradation: Degradation) -> None:
    """Checks that images can be in-painted by a model of ``degradation``.

    Raises:
        ValueError: pixels do not keep apart in it, or nothing is drawn.
    """
    if not isinstance(degradation, GaussianNoise):
        without = "" if degradation.stochastic else " without noise"
        raise ValueError(
            f"in-painting needs a model of gaussian-noise, which degrades each pixel for itself and draws what is missing; "
            f"this one undoes a {degradation.name}{without}"
        )


@dataclass(frozen=True)
class Known:
    """What is known of a batch of images, and how the rest is drawn.

    Args:
        x0: the images, (B, C, H, W).
        painted: bool (B, 1, H, W), True where a pixel is not known.
    """

    x0: Tensor
    painted: Tensor
    resampling: Resampling

    def kept(self, estimate: X0Function) -> X0Function:
        """``estimate`` with the known pixels of the images in place of its own."""
        return lambda xt, t: torch.where(self.painted, estimate(xt, t), self.x0)

    def start(self, degradation: Degradation, xT: Tensor, noise: Tensor) -> Tensor:
        """x_T (B, C, H, W) with the known pixels degraded in place of what was drawn."""
        at_T = torch.full((len(xT),), degradation.T, device=xT.device)
        return torch.where(self.painted, xT, degradation.degrade(self.x0, at_T, noise))


def degraded_anew(degradation: GaussianNoise, xs: Tensor, s: int, t: int, noise: Tensor) -> Tensor:
    """x_t = sqrt(alpha_t / alpha_s) x_s + sqrt(1 - alpha_t / alpha_s) noise, for t > s: t - s steps of the chain (Eq. 1)."""
    share = float(degradation.alphas_cumprod[t] / degradation.alphas_cumprod[s])
    return share**0.5 * xs + (1 - share) ** 0.5 * noise


def resampled(
    sample: Sample,
    degradation: GaussianNoise,
    xT: Tensor,
    timesteps: Sequence[int],
    draw: Draw,
    resampling: Resampling,
) -> Iterator[Step]:
    """The steps of a sampler that takes each part of the way several times, the last one to t = 0."""
    xt = xT
    for part in resampling.parts(timesteps):
        for round in range(resampling.rounds):
            if round:
                xt = degraded_anew(degradation, xt, part[-1], part[0], draw())
            for step in sample(xt, part):
                xt = step.xs
                yield step
