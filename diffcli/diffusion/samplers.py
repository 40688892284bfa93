"""Samplers: generators that go from x_T to x_0 and yield a :class:`Step` after each of their steps; where these lie.

Each takes (denoiser, degradation, xT, timesteps, draw) and never asks what the network predicts.

- ``denoiser`` estimates the clean image, see :data:`X0Function`. It is told t on the CPU, where a wrapper may read it
  while the device computes: nothing in a step waits for the device.
- The type of ``degradation`` says which degradations the sampler serves.
- ``xT`` is (B, C, H, W); ``timesteps`` descends from T to 0, see :func:`spaced_timesteps`.
- ``draw()`` returns new standard normal noise of xT's shape, each image's from a generator of its own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.guidance import X0Function

Draw = Callable[[], Tensor]
"""-> standard normal noise (B, C, H, W), new at every call. A sampler calls it at most once a step and never in the
last: for so many calls :class:`~diffcli.diffusion.randomness.Noise` draws ahead; further ones are right, and slower."""

Share = Annotated[float, Field(ge=0, le=1)]
MOST, LEAST = 1e3, 6e-5
"""Ratios of signal to noise between which steps are spread: above, noise is below what pixels show; below, nothing is
seen."""


class Step(NamedTuple):
    """The state of a sampler after one of its steps."""

    s: int
    """The time step reached, in 0..T."""
    xs: Tensor
    """x_s, (B, C, H, W)."""
    x0_hat: Tensor
    """The estimate of the clean image that led there, (B, C, H, W)."""


def last(steps: Iterable[Step]) -> Tensor:
    """The image that a sampler ends at, (B, C, H, W)."""
    return deque(steps, maxlen=1).pop().xs


def timesteps(T: int, steps: int | None = None) -> list[int]:
    """``steps + 1`` integers that descend from T to 0, evenly spaced; all of T..0 where ``steps`` is None.

    >>> timesteps(1000, 4)
    [1000, 750, 500, 250, 0]

    Raises:
        ValueError: ``steps`` is not in 1..T.
    """
    count = T if steps is None else steps
    if not 1 <= count <= T:
        raise ValueError(f"steps must be in 1..{T} (T of this model), got {count}")
    return [(T * (count - i) + count // 2) // count for i in range(count + 1)]


def spaced_timesteps(
    degradation: Degradation, steps: int | None, spacing: str = "even", start: int | None = None
) -> list[int]:
    """``steps + 1`` integers that descend from ``start`` to 0; all of them where ``steps`` is None.

    ``even`` spreads them over t, ``log-snr`` over the logarithm of the signal-to-noise ratio (as DPM-Solver's are, Lu
    et al. 2022, section 3.2), so that no step changes much of the image at once where the schedule is steep.

    Args:
        start: in 1..T; None is T.

    Raises:
        ValueError: ``steps`` is not in 1..start, or the degradation has no signal-to-noise ratio.
    """
    T = degradation.T if start is None else start
    path = timesteps(T, steps)
    if spacing == "even" or len(path) > T:
        return path
    ratios = degradation.snr(torch.arange(1, T + 1, device=degradation.device))
    if ratios is None:
        raise ValueError(f"spacing {spacing} needs a signal-to-noise ratio, which {degradation.name} has not")
    return [T, *_descending(_nearest_steps(ratios.double().cpu().log(), len(path) - 1), T), 0]


def _nearest_steps(log_snr: Tensor, count: int) -> list[int]:
    """The t in 1..T whose log SNR, (T,), comes nearest to each of ``count`` evenly spaced ones, the first left out."""
    targets = torch.linspace(max(float(log_snr[-1]), math.log(LEAST)), min(float(log_snr[0]), math.log(MOST)), count)
    return [int((log_snr - value).abs().argmin()) + 1 for value in targets[1:]]


def _descending(times: list[int], T: int) -> list[int]:
    """``times`` moved as little as makes them descend, each by 1 at least, from below ``T`` to 1 at least."""
    path, before = [], T
    for index, t in enumerate(times):
        before = max(min(t, before - 1), len(times) - index)
        path.append(before)
    return path


def _times(t: int, like: Tensor) -> Tensor:
    return torch.full((len(like),), t, dtype=torch.int64, device=like.device)


def _estimate(denoiser: X0Function, xt: Tensor, t: int) -> Tensor:
    """x0_hat, (B, C, H, W), of a batch that is all at step t."""
    return denoiser(xt, torch.full((len(xt),), t, dtype=torch.int64))


def _estimates(denoiser: X0Function, degradation: Degradation, xt: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """(x0_hat, the noise that it implies), each (B, C, H, W), for a batch that is all at step t."""
    x0_hat = _estimate(denoiser, xt, t)
    return x0_hat, degradation.noise_from(xt, _times(t, xt), x0_hat)


def ancestral(
    denoiser: X0Function,
    degradation: GaussianNoise,
    xT: Tensor,
    timesteps: Sequence[int],
    draw: Draw,
    *,
    variance: Literal["beta", "posterior"] = "beta",
) -> Iterator[Step]:
    """DDPM's ancestral sampler (report Algorithm 2; Ho et al. 2020, Algorithm 2).

    Where steps are skipped, beta is that of the longer step, 1 - alpha_t / alpha_s (Nichol & Dhariwal 2021, Eq. 19).

    Args:
        variance: sigma_t^2, ``beta`` (the report) or the ``posterior`` variance beta (1 - alpha_s) / (1 - alpha_t).
    """
    alphas = degradation.alphas_cumprod
    xt = xT
    for t, s in pairwise(timesteps):
        # Line 5: the mean of x_s, with the noise that the denoiser's estimate implies put in (Ho et al., Eq. 7), so
        # that alpha_T may be 0.
        alpha_t, alpha_s = float(alphas[t]), float(alphas[s])
        beta = 1 - alpha_t / alpha_s
        x0_hat = _estimate(denoiser, xt, t)
        mean = math.sqrt(alpha_s) * beta * x0_hat + math.sqrt(alpha_t / alpha_s) * (1 - alpha_s) * xt
        xt = mean / (1 - alpha_t)
        # Lines 6 and 7: new noise, but for the last step (line 9).
        if s > 0:
            sigma2 = beta if variance == "beta" else beta * (1 - alpha_s) / (1 - alpha_t)
            xt = xt + math.sqrt(sigma2) * draw()
        yield Step(s, xt, x0_hat)


def cold_naive(
    denoiser: X0Function, degradation: Degradation, xT: Tensor, timesteps: Sequence[int], draw: Draw
) -> Iterator[Step]:
    """The naive cold sampler, x_s = D(x0_hat, s) (Bansal et al. 2022, Algorithm 1).

    Where the degradation mixes in noise, it is drawn anew at each step.
    """
    xt = xT
    for t, s in pairwise(timesteps):
        x0_hat = _estimate(denoiser, xt, t)
        noise = draw() if degradation.stochastic and s > 0 else torch.zeros_like(xt)
        xt = degradation.degrade(x0_hat, _times(s, xt), noise)
        yield Step(s, xt, x0_hat)


def new_noise(sigma_t: Tensor, sigma_s: Tensor, power_t: Tensor, power_s: Tensor, eta: float = 1.0) -> Tensor:
    """tau of steps from t to s, float64 (B,): the standard deviation of the noise of x_s that is drawn anew, at most
    sigma_s; see :func:`cold`.

    Args:
        sigma_t, sigma_s: of the noise in x_t, above 0, and in x_s, float64 (B,).
        power_t, power_s: of the signal, see :meth:`~diffcli.diffusion.degradations.Degradation.power`, (B,).
    """
    ratio = power_t.double() / power_s.double() * (sigma_s / sigma_t) ** 2
    ratio = ratio.where(power_s > 0, 0.0)
    return eta * sigma_s * (1 - ratio).clamp(min=0).sqrt()


def _new_noise(degradation: Degradation, timesteps: Sequence[int], eta: float) -> list[float]:
    """tau of each step from t to s."""
    sigmas = degradation.sigmas.cpu()
    noisy = [(t, s) for t, s in pairwise(timesteps) if eta > 0 and sigmas[t] > 0 and sigmas[s] > 0]
    if not noisy:
        return [0.0 for _ in timesteps[1:]]
    steps = torch.tensor(noisy, dtype=torch.int64)
    # All that the steps ask of the device, before the first of them.
    powers = torch.stack([degradation.power(pair) for pair in steps.to(degradation.device)]).cpu()
    (sigma_t, sigma_s), (power_t, power_s) = sigmas[steps].T, powers.T
    taus = new_noise(sigma_t, sigma_s, power_t, power_s, eta)
    by_end = dict(zip(steps[:, 1].tolist(), taus.tolist(), strict=True))
    return [by_end.get(s, 0.0) for s in timesteps[1:]]


def cold(
    denoiser: X0Function,
    degradation: Degradation,
    xT: Tensor,
    timesteps: Sequence[int],
    draw: Draw,
    *,
    eta: Share = 0.0,
) -> Iterator[Step]:
    """The improved cold sampler, x_s = x_t - D(x0_hat, t, eps) + D(x0_hat, s, eps) (Bansal et al. 2022, Algorithm 2).

    eps is the noise that (x_t, x0_hat) implies. With ``eta`` a part tau of it is drawn anew: x_s = A_s x0_hat +
    sqrt(sigma_s^2 - tau^2) eps + tau eps', which keeps the distribution of x_s for any tau up to sigma_s. As in DDIM
    (Song et al. 2021, Eq. 12 and 16), tau^2 = eta^2 sigma_s^2 (1 - SNR_t / SNR_s), SNR the ratio of signal to noise on
    an image of white noise: the more of the image is degraded in a step, the more of its noise is new. On Gaussian
    noise the two are equal.

    Args:
        eta: 0 draws nothing after x_T; needs a degradation with noise.
    """
    xt, taus = xT, _new_noise(degradation, timesteps, eta)
    for (t, s), tau in zip(pairwise(timesteps), taus, strict=True):
        at_t, at_s = _times(t, xt), _times(s, xt)
        x0_hat, eps = _estimates(denoiser, degradation, xt, t)
        xt = xt - degradation.degrade(x0_hat, at_t, eps) + degradation.degrade(x0_hat, at_s, eps)
        if tau > 0:
            sigma = float(degradation.sigmas[s])
            xt = xt + (math.sqrt(max(sigma**2 - tau**2, 0.0)) - sigma) * eps + tau * draw()
        yield Step(s, xt, x0_hat)


def ddim(
    denoiser: X0Function,
    degradation: GaussianNoise,
    xT: Tensor,
    timesteps: Sequence[int],
    draw: Draw,
    *,
    eta: Share = 0.0,
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, Eq. 12 and 16): the implied noise is kept, but for a share that is drawn anew.

    Args:
        eta: 0 draws nothing after x_T, 1 is the ancestral sampler with the posterior variance.
    """
    alphas = degradation.alphas_cumprod
    xt = xT
    for t, s in pairwise(timesteps):
        alpha_t, alpha_s = float(alphas[t]), float(alphas[s])
        x0_hat, eps = _estimates(denoiser, degradation, xt, t)
        sigma2 = eta**2 * (1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)
        rest = max(1 - alpha_s - sigma2, 0.0)  # which rounding may turn negative where alpha_t is nearly 0
        xt = math.sqrt(alpha_s) * x0_hat + math.sqrt(rest) * eps
        if sigma2 > 0:
            xt = xt + math.sqrt(sigma2) * draw()
        yield Step(s, xt, x0_hat)


def dpm_solver_pp(
    denoiser: X0Function, degradation: GaussianNoise, xT: Tensor, timesteps: Sequence[int], draw: Draw
) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2): a line through the last two x0_hat, one evaluation a step.

    The first step has one estimate only, and at the last one the line would be followed to infinity: both are of first
    order.
    """
    alphas = degradation.alphas_cumprod.tolist()
    # lambda_t of the paper: half of log SNR_t.
    half_log_snr = [
        0.5 * math.log(alpha / (1 - alpha)) if 0 < alpha < 1 else math.copysign(math.inf, alpha - 0.5)
        for alpha in alphas
    ]
    previous: Tensor | None = None
    xt, last_stride = xT, 1.0
    for t, s in pairwise(timesteps):
        x0_hat = _estimate(denoiser, xt, t)
        stride = half_log_snr[s] - half_log_snr[t]
        extrapolation = x0_hat
        if previous is not None and s > 0:
            extrapolation = x0_hat + stride / (2 * last_stride) * (x0_hat - previous)
        shrink = math.sqrt((1 - alphas[s]) / (1 - alphas[t]))
        xt = shrink * xt - math.sqrt(alphas[s]) * math.expm1(-stride) * extrapolation
        previous, last_stride = x0_hat, stride
        yield Step(s, xt, x0_hat)


def heun(
    denoiser: X0Function, degradation: GaussianNoise, xT: Tensor, timesteps: Sequence[int], draw: Draw
) -> Iterator[Step]:
    """Heun's method on the probability-flow ODE (Karras et al. 2022, section 3): two evaluations a step, one the last.

    With alpha_t = cos^2(phi) the ODE is dx / dphi = v = cos(phi) eps - sin(phi) x0 (Salimans & Ho 2022, appendix D); a
    step follows the mean of v at its two ends. The paper's slope is eps in x / sqrt(alpha_t), whose error the first
    step, from where alpha_t is nearly 0, would multiply by thousands; v stays small everywhere.
    """
    alphas = degradation.alphas_cumprod

    def evaluate(xt: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor]:
        x0_hat, eps = _estimates(denoiser, degradation, xt, t)
        signal, sigma = math.sqrt(alphas[t]), math.sqrt(1 - alphas[t])
        return x0_hat, eps, signal * eps - sigma * x0_hat

    xt = xT
    for t, s in pairwise(timesteps):
        x0_hat, eps, v_t = evaluate(xt, t)
        xs = math.sqrt(alphas[s]) * x0_hat + math.sqrt(1 - alphas[s]) * eps
        if s > 0:
            stride = math.acos(math.sqrt(alphas[s])) - math.acos(math.sqrt(alphas[t]))
            xs = xt + 0.5 * stride * (v_t + evaluate(xs, s)[2])
        xt = xs
        yield Step(s, xt, x0_hat)


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "dpm-solver++": dpm_solver_pp,
    "heun": heun,
    "cold-naive": cold_naive,
    "cold": cold,
}
