"""Samplers as linear formulas with factors that are known in advance, for export to programs without the samplers.

Where a sampler asks for one estimate a step and remembers nothing, its step is

    x_s = a x_t + b x0_hat + c A_t x0_hat + d A_s x0_hat + e noise

with numbers a to e that depend on t alone. They are read off the sampler itself: it takes each step on a vector of
these five terms in place of an image, which gives the factors, as an algebra program would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.samplers import Draw, Step

TERMS = XT, X0, AT, AS, NOISE = range(5)
SCALE = -3.0
"""The factor of all terms at once, by which a sampler that is linear scales its step."""

SamplerFunction = Callable[[X0Function, Degradation, Tensor, Sequence[int], Draw], Iterator[Step]]


def step_factors(sampler: SamplerFunction, degradation: Degradation, timesteps: Sequence[int]) -> Tensor:
    """The factors (a, b, c, d, e) of the step that begins at each t, float64 (T + 1, 5); NaN where no step does.

    Args:
        sampler: with its parameters, see :mod:`diffcli.diffusion.samplers`.
        timesteps: descending from T to 0.

    Raises:
        ValueError: its steps are no such sums, or depend on those before.
    """
    factors = torch.full((degradation.T + 1, len(TERMS)), torch.nan, dtype=torch.float64)
    earlier: list[int] = []
    for t, s in pairwise(timesteps):
        (end,) = _step_ends(sampler, degradation, [t, s])
        (scaled_end,) = _step_ends(sampler, degradation, [t, s], SCALE)
        if not torch.allclose(scaled_end, SCALE * end):
            raise ValueError("a step of it is no sum of the image, the estimate and noise")
        # A step before it, of the estimate 0, has left a part of x_t: that of the sum has to be what is left of it.
        before, after = _step_ends(sampler, degradation, [*earlier, t, s]) if earlier else (_term(XT).flatten(), end)
        if not torch.allclose(after, end + end[XT] * (before - _term(XT).flatten())):
            raise ValueError("a step of it depends on the steps before")
        factors[t], earlier = end, [t]
    return factors


def _term(number: int) -> Tensor:
    """One of the five terms as an image of five channels and one pixel."""
    return torch.eye(len(TERMS), dtype=torch.float64)[number].view(1, -1, 1, 1)


def _step_ends(
    sampler: SamplerFunction, degradation: Degradation, times: Sequence[int], scale: float = 1.0
) -> list[Tensor]:
    """The end of each of a sampler's steps, (5,) of the terms of the last one; the steps before have the estimate 0 and
    no noise.

    Raises:
        ValueError: it asks for other than one estimate a step, of what it is at, or draws twice.
    """
    *_, t, s = times
    calls: list[int] = []
    draws: list[int] = []

    def estimate(xt: Tensor, at: Tensor) -> Tensor:
        calls.append(int(at))
        return scale * _term(X0) if int(at) == t else torch.zeros_like(xt)

    def draw() -> Tensor:
        draws.append(calls[-1])
        return scale * _term(NOISE) if calls[-1] == t else torch.zeros_like(_term(NOISE))

    def signal(x0: Tensor, at: Tensor) -> Tensor:
        term = {t: AT, s: AS if s > 0 else X0}.get(int(at))
        if not bool(x0.any()):  # the estimate of a step before
            return x0
        if term is None or not torch.equal(x0.double(), scale * _term(X0)):
            raise ValueError("it degrades something else than its estimate, or to another t")
        return scale * _term(term).to(x0.dtype)

    formal = copy.copy(degradation)
    formal.signal = signal  # type: ignore[method-assign, assignment]
    formal.power = degradation.power  # type: ignore[method-assign]
    steps = list(sampler(estimate, formal, scale * _term(XT), times, draw))
    if calls != list(times[:-1]) or len(set(draws)) < len(draws):
        raise ValueError("a step of it takes more than one estimate of the clean image")
    return [step.xs.flatten() for step in steps]


class SamplerStep(nn.Module):
    """One step of a sampler: (x_t, x0_hat, t, new noise) -> x_s.

    Args:
        degradation: what the sampler undoes.
        factors: see :func:`step_factors`.
        timesteps: descending from T to 0; s is the one after t.
    """

    factors: Tensor
    reached: Tensor

    def __init__(self, degradation: Degradation, factors: Tensor, timesteps: Sequence[int]) -> None:
        super().__init__()
        self.degradation = degradation
        next_steps = torch.zeros(degradation.T + 1, dtype=torch.int64)
        next_steps[list(timesteps[:-1])] = torch.tensor(timesteps[1:])
        self.register_buffer("factors", factors.float())
        self.register_buffer("reached", next_steps)

    def forward(self, xt: Tensor, x0_hat: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Images (B, C, H, W) and t, int64 (B,), one of the time steps -> (B, C, H, W)."""
        factors = self.factors[t].view(-1, len(TERMS), 1, 1, 1).unbind(dim=1)
        s = self.reached[t]
        signals = (self.degradation.signal(x0_hat, step) for step in (t, s))
        xs = sum(factor * term for factor, term in zip(factors, (xt, x0_hat, *signals, noise), strict=True))
        assert isinstance(xs, Tensor)
        return xs
