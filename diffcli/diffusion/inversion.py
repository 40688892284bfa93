"""DDIM run backwards: from an image to the noise that it is drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.samplers import Step

ITERATIONS = 4
"""The number of times that the noise of a step is asked for where it arrives."""


def inversion_steps(
    denoiser: X0Function,
    degradation: GaussianNoise,
    x0: Tensor,
    timesteps: Sequence[int],
    *,
    iterations: int = ITERATIONS,
) -> Iterator[Step]:
    """The steps from x_0 (B, C, H, W) to the x_T that :func:`~diffcli.diffusion.samplers.ddim` with eta 0 takes to it:
    a :class:`Step` each, the last one at s = T.

    DDIM's step from t to s goes by the noise eps(x_t, t). Backwards x_t is what is looked for, so that eps(x_s, s) is
    taken at first (Song et al. 2021, section 4.3; at s = 0, where there is none, eps(x_0, t)), and then that of the x_t
    which this leads to (the fixed point of Pan et al. 2023, AIDI). Of the x_t so tried the one is kept whose step leads
    nearest to x_s.

    Args:
        timesteps: the sampler's, from T to 0.
        iterations: how many x_t are tried in each step, each an evaluation; 0 is Song et al.'s alone.
    """
    alphas = degradation.alphas_cumprod.tolist()

    def noise(xt: Tensor, t: int) -> tuple[Tensor, Tensor]:
        at_t = torch.full((len(xt),), t, dtype=torch.int64)
        x0_hat = denoiser(xt, at_t)
        return x0_hat, degradation.noise_from(xt, at_t.to(xt.device), x0_hat)

    xs = x0
    for s, t in pairwise(reversed(timesteps)):
        signal, sigma = math.sqrt(alphas[t] / alphas[s]), math.sqrt(1 - alphas[t])
        rest = sigma - signal * math.sqrt(1 - alphas[s])  # of eps in x_t = signal x_s + rest eps
        x0_hat, eps = noise(xs, s or t)
        xt = best = signal * xs + rest * eps
        least_distance = torch.full((len(xs),), torch.inf, device=xs.device)
        for _ in range(iterations):
            x0_hat, eps = noise(xt, t)
            residual = math.sqrt(alphas[s]) * x0_hat + math.sqrt(1 - alphas[s]) * eps - xs
            distance = residual.flatten(1).square().sum(dim=1)
            nearer = distance < least_distance
            best, least_distance = (
                torch.where(nearer.view(-1, 1, 1, 1), xt, best),
                torch.minimum(distance, least_distance),
            )
            xt = signal * xs + rest * eps
        xs = best
        yield Step(t, xs, x0_hat)
