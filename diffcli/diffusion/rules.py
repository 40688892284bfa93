"""The rules of degradations: each check takes one and raises an AssertionError that says what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.degradations.base import IDENTITY_TOLERANCE, check_tables
from diffcli.diffusion.noise_levels import linear as linear_levels
from diffcli.diffusion.samplers import cold, cold_naive, last, timesteps

MOST_STEPS = 50
"""So many steps are taken one after another at most."""
TOLERANCE = 1e-4
"""For pixels of unit size, in float32."""

Reference = Callable[[Degradation, Tensor, int], Tensor]
"""(degradation, x0 float64 (B, C, H, W), t) -> A_t x_0 float64, computed in some other way."""


def _images(degradation: Degradation, count: int, seed: int = 0) -> Tensor:
    """White noise in the range of pixels, (count, C, H, W)."""
    return torch.rand(count, *degradation.image_shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def _signal(degradation: Degradation, x0: Tensor, t: Tensor) -> Tensor:
    """The signal as a model sees it, in float32 whatever the tables are."""
    return degradation.signal(x0, t).float()


def _noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(2))


def _some_steps(degradation: Degradation, count: int = 6) -> Tensor:
    """Both ends of 0..T and steps between them, 1 among them, int64 (at most ``count`` + 1,)."""
    return torch.cat([torch.linspace(0, degradation.T, count).round().long(), torch.ones(1).long()]).unique()


def _expect_equal(actual: Tensor, expected: Tensor, t: Tensor, tolerance: float = TOLERANCE) -> None:
    """Two batches at steps ``t`` (B,) are the same."""
    if actual.shape != expected.shape:
        raise AssertionError(f"its shape is {tuple(actual.shape)}, not {tuple(expected.shape)}")
    errors = (actual.double() - expected.double()).abs().flatten(1).amax(dim=1)
    failures = (~(errors <= tolerance)).nonzero().flatten()
    if len(failures):
        raise AssertionError(f"it is off by {float(errors[failures[0]]):.2g} at t = {int(t[failures[0]])}")


def _check_identity(degradation: Degradation) -> None:
    x0, t = _images(degradation, 3), torch.zeros(3, dtype=torch.int64)
    _expect_equal(degradation.degrade(x0, t, _noise(x0)), x0, t, IDENTITY_TOLERANCE)


def _check_finite(degradation: Degradation) -> None:
    for t in _some_steps(degradation, 200).split(50):
        for x0 in (
            _images(degradation, len(t)),
            *(torch.full_like(_images(degradation, len(t)), v) for v in (-0.5, 0.5)),
        ):
            signal = _signal(degradation, x0, t)
            if signal.shape != x0.shape:
                raise AssertionError(f"its shape is {tuple(signal.shape)}, not {tuple(x0.shape)}")
            failures = (~signal.isfinite().flatten(1).all(dim=1)).nonzero().flatten()
            if len(failures):
                raise AssertionError(f"it is not finite at t = {int(t[failures[0]])}")


def _check_untouched(degradation: Degradation) -> None:
    t = _some_steps(degradation)
    x0, t_before = _images(degradation, len(t)), t.clone()
    degradation.signal(x0, t)
    _expect_equal(x0, _images(degradation, len(t)), t_before, 0)
    if not torch.equal(t, t_before):
        raise AssertionError("t has changed")


def _check_repeats(degradation: Degradation) -> None:
    t = _some_steps(degradation)
    x0 = _images(degradation, len(t))
    _expect_equal(_signal(degradation, x0.clone(), t), _signal(degradation, x0, t), t, 1e-6)


def _check_linear(degradation: Degradation) -> None:
    t = _some_steps(degradation)
    first, second = _images(degradation, len(t)), _images(degradation, len(t), 1)
    for weight in (0.3, -2.0):
        of_sum = _signal(degradation, weight * first + (1 - weight) * second, t)
        expected = weight * _signal(degradation, first, t) + (1 - weight) * _signal(degradation, second, t)
        _expect_equal(of_sum, expected, t)


def _check_mixed_steps(degradation: Degradation) -> None:
    t = _some_steps(degradation).flip(0)
    x0 = _images(degradation, len(t))
    noise = _noise(x0)
    singles = [degradation.degrade(x0[i : i + 1], t[i : i + 1], noise[i : i + 1]) for i in range(len(t))]
    _expect_equal(degradation.degrade(x0, t, noise), torch.cat(singles), t, 1e-5)


def _with_noise(degradation: Degradation) -> Degradation:
    """The degradation with noise on it, as a preset may add it."""
    if degradation.stochastic:
        return degradation
    noisy = deepcopy(degradation)
    noisy.sigmas = linear_levels(degradation.T, 0.3)
    return noisy


def _check_noise(degradation: Degradation) -> None:
    t = _some_steps(degradation)
    x0 = _images(degradation, len(t))
    noise = _noise(x0)
    if not degradation.stochastic:
        _expect_equal(degradation.degrade(x0, t, noise), _signal(degradation, x0, t), t)
    degradation = _with_noise(degradation)
    sigma = degradation.sigmas.float()[t].view(-1, 1, 1, 1)
    xt = degradation.degrade(x0, t, noise)
    _expect_equal(xt, _signal(degradation, x0, t) + sigma * noise, t)
    # As precisely as x_t holds it.
    actual = degradation.noise_from(xt, t, x0) * sigma.clamp(max=1)
    _expect_equal(actual, noise * sigma.clamp(max=1), t)


def _check_chain(degradation: Degradation) -> None:
    step = getattr(degradation, "step", None)
    if step is None:
        return
    noisy = "noise" in inspect.signature(step).parameters
    x0 = _images(degradation, 2)
    xt = x0
    zero = torch.zeros_like(x0)
    for t in range(1, min(degradation.T, MOST_STEPS) + 1):
        at_t = torch.full((2,), t)
        xt = step(xt, at_t, zero) if noisy else step(xt, at_t)
        _expect_equal(xt, _signal(degradation, x0, at_t), at_t)
    if noisy and x0[0].numel() <= 256:
        _check_covariance(degradation, step)


def _check_covariance(degradation: Degradation, step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """The noise of the steps adds up to sigma_t^2 I: exactly, by what each step does to every pixel."""
    units = torch.eye(_images(degradation, 1).numel()).view(-1, *degradation.image_shape)
    zero = torch.zeros_like(units)
    covariance = torch.zeros(len(units), len(units), dtype=torch.float64)
    for t in range(1, min(degradation.T, MOST_STEPS) + 1):
        at_t = torch.full((len(units),), t)
        constant = step(zero, at_t, zero)
        old, new = (
            (step(*inputs) - constant).flatten(1).double() for inputs in ((units, at_t, zero), (zero, at_t, units))
        )
        covariance = old.T @ covariance @ old + new.T @ new
        expected = float(degradation.sigmas[t]) ** 2 * torch.eye(len(units), dtype=torch.float64)
        error = float((covariance - expected).abs().max())
        if not error <= TOLERANCE * max(float(expected.max()), 1e-3):
            raise AssertionError(f"the variance of their noise is off by {error:.2g} at t = {t}")


def _check_recovery(degradation: Degradation) -> None:
    x0, T = _images(degradation, 3), degradation.T
    for kind in (degradation, _with_noise(degradation)):
        xT = kind.degrade(x0, torch.full((3,), T), _noise(x0))
        for sampler in (cold, cold_naive):
            for count in {min(T, MOST_STEPS), max(T // 3, 1) if T <= MOST_STEPS else 2, 1}:
                end = last(sampler(lambda xt, t: x0, kind, xT, timesteps(T, count), partial(_noise, x0)))
                _expect_equal(end, x0, torch.zeros(3))


def _patterns(degradation: Degradation) -> Tensor:
    """Images that steps may act on differently: noise, flat, stripes, a ramp, a pixel beside the border, (6, C, H,
    W)."""
    _, height, width = degradation.image_shape
    row, column = torch.arange(height)[:, None], torch.arange(width)
    border_pixel = ((row == 1) & (column == 1)).float()
    patterns = [torch.ones(height, width), (row + column) % 2 - 0.5, (column % 2).expand(height, width) - 0.5]
    patterns += [(row / height).expand(height, width) - 0.5, border_pixel]
    flat = torch.stack(patterns)[:, None].expand(-1, *degradation.image_shape)
    return torch.cat([_images(degradation, 1), flat])


def _check_norms(degradation: Degradation) -> None:
    norms = degradation.step_norms()
    if norms is None:
        return
    if norms.shape != (degradation.T + 1,) or not bool((norms.isfinite() & (norms > 0)).all()):
        raise AssertionError(f"step_norms() must be {degradation.T + 1} positive numbers")
    x = torch.cat([_patterns(degradation), torch.zeros(1, *degradation.image_shape)])

    def size(t: int) -> Tensor:
        signals = _signal(degradation, x, torch.full((len(x),), t)).double()
        return (signals[:-1] - signals[-1]).flatten(1).norm(dim=1)

    for t in _some_steps(degradation, MOST_STEPS).tolist()[1:]:
        if bool((size(t) > float(norms[t]) * size(t - 1) * (1 + TOLERANCE) + TOLERANCE).any()):
            raise AssertionError(f"an image grows by more than {float(norms[t]):.4g} at t = {t}")


def _check_curves(degradation: Degradation) -> None:
    for name, curve in degradation.describe().items():
        if curve.shape != (degradation.T,) or curve.dtype != torch.float64 or not bool(curve.isfinite().all()):
            raise AssertionError(f"describe()['{name}'] must be {degradation.T} finite float64 numbers")


def check_reference(degradation: Degradation, reference: Reference) -> None:
    """The signal is what ``reference`` gives.

    Raises:
        AssertionError: it is not.
    """
    for t in _some_steps(degradation).tolist():
        at_t = torch.full((2,), t)
        x0 = _images(degradation, 2)
        _expect_equal(_signal(degradation, x0, at_t), reference(degradation, x0.double(), t), at_t, 1e-5)


RULES: dict[str, Callable[[Degradation], None]] = {
    "T and sigmas are tables for t = 0..T": check_tables,
    "t = 0 is the identity": _check_identity,
    "the signal is finite and of the images' shape": _check_finite,
    "what is handed in stays as it is": _check_untouched,
    "the same images give the same signal": _check_repeats,
    "the signal is linear in the image, but for a constant": _check_linear,
    "a batch of different t is the loop over its images": _check_mixed_steps,
    "noise is added as sigma_t eps, and found again": _check_noise,
    "steps one after another are the closed form": _check_chain,
    "a perfect denoiser gets the image back": _check_recovery,
    "no step enlarges an image more than step_norms says": _check_norms,
    "what schedule-plot draws is finite": _check_curves,
}
"""The rules that a degradation keeps, in words, and the check of it."""
