"""In-painting: part of each image is known, and a model of noise draws the rest to fit (RePaint, Lugmayr et al. 2022).

A sampler goes by estimates whose known pixels are the image's own. At every step these pixels then have the image's
values with noise of that step's level, as they had in training, and the network draws the others beside them; at t = 0
they are the image's, exactly. Every sampler of noise keeps them so, with as few steps as its own. To models of blur
with noise, what is known is a measurement, see :mod:`diffcli.diffusion.posterior`.

What is drawn first does not yet fit what is known, which noise hides. So each step is taken several times, its end
degraded anew to where it began (the paper's section 4.2 and its Algorithm 1, line 9; its jump length j is one step
here, which on a Gaussian data set comes nearer to the exact conditional than longer ones at the same cost).
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
"""How often each step is taken, the paper's r, unless it is said, and at most."""

Sample = Callable[[Tensor, Sequence[int]], Iterator[Step]]
"""(x_t, time steps from t down) -> the steps of a sampler: what is left of one once it knows its denoiser and its
noise."""


def check_inpaints(degradation: Degradation, rounds: int | None = None) -> None:
    """Checks that images can be in-painted by a model of ``degradation``, each step taken so many times.

    Raises:
        ValueError: nothing is drawn at some t; or ``rounds`` is out of range, or said of another degradation than
            Gaussian noise, whose steps are taken once.
    """
    if rounds is not None and not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"`resampling` must be in 1..{MOST_ROUNDS}, got {rounds}")
    if isinstance(degradation, GaussianNoise):
        return
    if not bool((degradation.sigmas[1:] > 0).all()):
        raise ValueError(
            "in-painting needs a model of gaussian-noise, or of another degradation with noise at every t, which draws "
            f"what is missing; this one undoes a {degradation.name} without noise"
        )
    if rounds is not None:
        raise ValueError(
            f"`resampling` takes the steps of a model of gaussian-noise again, and this one undoes a "
            f"{degradation.name}; leave it out"
        )


@dataclass(frozen=True)
class KnownPixels:
    """The part of a batch of images that is known, and how the rest is drawn.

    Args:
        x0: the images, (B, C, H, W).
        mask: bool (B, 1, H, W), True where a pixel is not known.
        rounds: how often each step is taken, at least 1.
    """

    x0: Tensor
    mask: Tensor
    rounds: int = 1

    def with_known_pixels(self, estimate: X0Function) -> X0Function:
        """``estimate`` with the known pixels of the images in place of its own."""
        return lambda xt, t: torch.where(self.mask, estimate(xt, t), self.x0)

    def start(self, degradation: Degradation, xT: Tensor, noise: Tensor) -> Tensor:
        """x_T (B, C, H, W) with the known pixels degraded in place of what was drawn."""
        at_T = torch.full((len(xT),), degradation.T, device=xT.device)
        return torch.where(self.mask, xT, degradation.degrade(self.x0, at_T, noise))


def degraded_anew(degradation: GaussianNoise, xs: Tensor, s: int, t: int, noise: Tensor) -> Tensor:
    """x_t = sqrt(alpha_t / alpha_s) x_s + sqrt(1 - alpha_t / alpha_s) noise, for t > s: t - s steps of the chain (Eq.
    1)."""
    share = float(degradation.alphas_cumprod[t] / degradation.alphas_cumprod[s])
    return share**0.5 * xs + (1 - share) ** 0.5 * noise


def resampling_steps(
    sample: Sample, degradation: GaussianNoise, xT: Tensor, timesteps: Sequence[int], draw: Draw, rounds: int
) -> Iterator[Step]:
    """The steps of a sampler that takes each of them ``rounds`` times.

    More than once, each begins anew: a sampler that looks back at the step before, DPM-Solver++, is then of first
    order.
    """
    if rounds == 1:
        yield from sample(xT, timesteps)
        return
    xt = xT
    for t, s in pairwise(timesteps):
        for round in range(rounds):
            if round:
                xt = degraded_anew(degradation, xt, s, t, draw())
            for step in sample(xt, [t, s]):
                xt = step.xs
                yield step
