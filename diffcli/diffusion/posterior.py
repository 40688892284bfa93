"""Any model as a prior: images given a measurement y = A x_0 + sigma eps, as wrappers X0Function -> X0Function.

A sampler goes by x0_hat, the mean of x_0 given x_t. Given y as well, and were x_0 given x_t normal with covariance C,
it were

    x0_hat + C A' (A C A' + sigma^2)^-1 (y - A x0_hat),

which two of these wrappers return; they differ in C:

- :func:`moments`: what the network itself implies, by its Jacobian; an evaluation and a gradient or more. The default.
- :func:`isotropic`: a number, or what x_t leaves of white images; one evaluation. Serves blurs with noise, too.
- :func:`dps`: the gradient of ||y - A x0_hat|| moves x_s, as far as a constant says: the baseline of the field.

    >>> from diffcli.diffusion.measurements import measured
    >>> from diffcli.diffusion.posterior import moments
    >>> given_y = moments(estimate, degradation, measured(blur, 60, y, sigma=1 / 255))  # doctest: +SKIP

and ``given_y`` goes to any sampler. A measurement and its wrapper are of one batch: y, x_t and labels have the same
images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.degradations.separable import SPREAD
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.measurements import (
    Linear,
    Measurement,
    Operator,
    conjugate_gradients,
    dot,
    operator_of,
    to_double,
)

UNSEEN = 0.01
"""The share of a pixel's variance that x_t has to say: below it a network's Jacobian is its own error (``mnist-fast``:
the variance that it implies is right up to t = 900 of 1000, and negative from 960 on)."""
CLEAR = 0.025
"""The share of a pixel's variance that x_t has to say for a second conjugate gradient to be worth its cost: farther
from the image it follows the network's error (docs/restore.md has the numbers of both)."""
LEAST = 0.01
"""The share of the variance that independent pixels had, below which no probe is believed."""


def isotropic(
    estimate: X0Function, degradation: Degradation, measurement: Measurement, *, spread: float = SPREAD
) -> X0Function:
    """``estimate`` given the measurement, where images are taken as white noise around it (the covariance of Song et
    al. 2023, section 3, without their Jacobian: the proximal step of Zhu et al. 2023).

    The covariance of x_0 given x_t = a_t x_0 + sigma_t eps is r^2 = (1 / spread^2 + a_t^2 / sigma_t^2)^-1, in the
    papers' sense the same for all pixels; that of a blur with noise, x_t = M_t x_0 + sigma_t eps, is (1 / spread^2 +
    M_t' M_t / sigma_t^2)^-1, more in the modes that the blur has taken. One evaluation, no gradient. Exact for images
    that are white noise of that spread.

    Args:
        degradation: the model's, with noise at every t >= 1.
        spread: standard deviation of the pixels of an image.

    Raises:
        ValueError: the degradation has no noise.
    """
    if not bool((degradation.sigmas[1:] > 0).all()):
        raise ValueError(
            f"a model of {degradation.name} without noise cannot weigh a measurement against what it draws; "
            f"use one of gaussian-noise, or with noise at every t"
        )
    prior = spread**2
    if isinstance(degradation, GaussianNoise):
        hot = degradation

        def posterior_mean(xt: Tensor, t: Tensor) -> Tensor:
            x0_hat = estimate(xt, t)
            variance = 1 / (1 / prior + _column(hot.alphas_cumprod / (1 - hot.alphas_cumprod), t, xt))
            weights = measurement.operator.solve(measurement.residual(x0_hat), variance, measurement.noise)
            return (x0_hat + variance * measurement.operator.adjoint(weights)).to(xt.dtype)

        return posterior_mean

    operator = measurement.operator
    degradations: dict[int, Operator] = {}

    def posterior_mean_by_step(xt: Tensor, t: Tensor) -> Tensor:
        """The posterior mean for a covariance that is a matrix of its own at each t."""
        x0_hat = estimate(xt, t)
        residual = measurement.residual(x0_hat)
        shift = torch.zeros_like(residual)
        for step in t.unique().tolist():
            if step not in degradations:
                degradations[step] = operator_of(degradation, step)
            remainder = _left_of_white(degradations[step], prior, float(degradation.sigmas[step]) ** 2)
            here = (t == step).to(xt.device).view(-1, 1, 1, 1)
            _, step_shift = conjugate_gradients(
                operator, _composition(operator.adjoint, remainder), measurement.noise, residual * here
            )
            shift = shift + step_shift
        return (x0_hat + shift).to(xt.dtype)

    return posterior_mean_by_step


def moments(
    estimate: X0Function,
    degradation: Degradation,
    measurement: Measurement,
    *,
    iterations: int | None = None,
    tolerance: float = 1e-3,
) -> X0Function:
    """``estimate`` given the measurement by moment matching, C = sigma_t^2 / a_t J', J the Jacobian of x0_hat (Rozet et
    al. 2024, section 4; the covariance is Tweedie's, Efron 2011).

    The system is solved by a few conjugate gradients, preconditioned by its solution for white errors of the same mean
    variance, tr C over the number of pixels; what they leave of it is explained by such errors, so that images explain
    the measurement however few there are. Exact where the model's images are normal and ``iterations`` suffice,
    whatever the covariance.

    Args:
        degradation: the model's: Gaussian noise.
        iterations: of conjugate gradients, at most; each takes one gradient of the network, and the trace another one.
            None is two where x_t says at least ``CLEAR`` of a pixel's variance, and one where it says less.
        tolerance: what of ||y - A x0_hat|| they may leave of an image.

    Raises:
        ValueError: the degradation is another one.
    """
    hot = _check_hot(degradation, "moments")
    operator, noise = measurement.operator, measurement.noise

    def posterior_mean(xt: Tensor, t: Tensor) -> Tensor:
        x0_hat, jacobian_product = with_jacobian(estimate, xt, t)
        ratio = _column(hot.alphas_cumprod / (1 - hot.alphas_cumprod), t, xt)
        factors = (1 - hot.alphas_cumprod) / hot.alphas_cumprod.sqrt()
        scale = _column(factors.where(hot.alphas_cumprod > 0, 0.0), t, xt)

        def covariance(v: Tensor) -> Tensor:
            # Where alpha_T is 0, x_T says nothing of x_0, and nothing of its covariance: it is as wide as images are.
            return torch.where(scale > 0, scale * to_double(jacobian_product(v)), SPREAD**2 * v)

        variance = 1 / (1 / SPREAD**2 + ratio)
        signal = ratio * SPREAD**2
        informative = signal > UNSEEN
        if bool(informative.any()):
            probe_variance = mean_variance(covariance, x0_hat, t)
            variance = torch.where(
                informative, torch.maximum(torch.minimum(probe_variance, variance), LEAST * variance), variance
            )

        def inverse(residual: Tensor) -> Tensor:
            return operator.solve(residual, variance, noise)

        residual = measurement.residual(x0_hat)
        limit = torch.where(signal >= CLEAR, 2, 1) if iterations is None else iterations
        weights, shift = conjugate_gradients(
            operator,
            _composition(operator.adjoint, covariance),
            noise,
            residual,
            iterations=limit,
            tolerance=tolerance,
            preconditioner=inverse,
        )
        remainder = residual - operator(shift) - noise * weights
        return (x0_hat + shift + variance * operator.adjoint(inverse(remainder))).to(xt.dtype)

    return posterior_mean


def dps(
    estimate: X0Function,
    degradation: Degradation,
    measurement: Measurement,
    *,
    timesteps: Sequence[int],
    zeta: float = 1.0,
) -> X0Function:
    """Diffusion posterior sampling: each step from t to s ends at x_s - zeta grad ||y - A x0_hat(x_t)|| (Chung et al.
    2023, Algorithm 1, line 7, with the step length of its authors' code).

    x0_hat is moved by as much as moves x_s so, where x_s is drawn as by :func:`~diffcli.diffusion.samplers.ddim` with
    eta 1. Neither sigma nor any covariance enters, so samples are no draws from the posterior.

    Args:
        degradation: the model's: Gaussian noise.
        timesteps: the sampler's, from T to 0.
        zeta: their code's ``scale``. By the paper's formula, zeta' / ||y - A x0_hat|| times the gradient of the square,
            it is twice zeta'; its images have the range 2, and these 1.

    Raises:
        ValueError: the degradation is another one.
    """
    hot = _check_hot(degradation, "dps")
    share = torch.full((hot.T + 1,), torch.nan, dtype=torch.float64)
    for t, s in pairwise(timesteps):
        alpha_t, alpha_s = hot.alphas_cumprod[t], hot.alphas_cumprod[s]
        share[t] = alpha_s.sqrt() * (1 - alpha_t / alpha_s) / (1 - alpha_t)  # of x0_hat in the mean of x_s

    def posterior_mean(xt: Tensor, t: Tensor) -> Tensor:
        x0_hat, jacobian_product = with_jacobian(estimate, xt, t)
        residual = measurement.residual(x0_hat)
        length = residual.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp(min=1e-12)
        ascent = to_double(jacobian_product(measurement.operator.adjoint(residual / length)))  # minus the gradient
        return (x0_hat + zeta * ascent / _column(share, t, xt)).to(xt.dtype)

    return posterior_mean


def fit_to_measurement(
    xT: Tensor, estimate: X0Function, degradation: Degradation, draw: Callable[[], Tensor], rounds: int
) -> Tensor:
    """Fits x_T (B, C, H, W) that a prior drew to a measurement: ``estimate`` of it is degraded anew, ``rounds`` times.

    Where something of the image is left at T, as a blur does, the sampler keeps it, and a prior knows nothing of what
    was measured.
    """
    at_T = torch.full((len(xT),), degradation.T, dtype=torch.int64)
    for _ in range(rounds):
        xT = degradation.degrade(estimate(xT, at_T), at_T.to(xT.device), draw())
    return xT


def with_jacobian(estimate: X0Function, xt: Tensor, t: Tensor) -> tuple[Tensor, Linear]:
    """(x0_hat, v -> J' v), J the Jacobian of x0_hat in x_t, (B, C, H, W) each; also inside of
    ``torch.inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        source = xt.detach().clone().requires_grad_()
        x0_hat = estimate(source, t.clone())

    def jacobian_product(v: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            (product,) = torch.autograd.grad(x0_hat, source, v.to(x0_hat.dtype).clone(), retain_graph=True)
        return product

    return x0_hat.detach(), jacobian_product


def mean_variance(covariance: Linear, like: Tensor, t: Tensor) -> Tensor:
    """tr C over the number of pixels for each image of a batch, (B, 1, 1, 1), about: v' C v, v an image of random signs
    (Hutchinson 1990) that belongs to t, int64 (B,).

    Args:
        like: images of the batch's shape.
    """
    shape = like.shape[1:]
    signs = {
        step: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(step)) * 2.0 - 1
        for step in t.unique().tolist()
    }
    probe = to_double(torch.stack([signs[step] for step in t.tolist()]).to(like.device))
    return dot(probe, covariance(probe)) / shape.numel()


def _left_of_white(operator: Operator, prior: float, noise: float) -> Linear:
    """v -> (1 / prior + M' M / noise)^-1 v: the covariance that M x + noise leaves of white images x (Woodbury's
    identity)."""

    def covariance(v: Tensor) -> Tensor:
        return prior * (v - operator.adjoint(operator.solve(operator(prior * v), prior, noise)))

    return covariance


def _composition(first: Linear, second: Linear) -> Linear:
    """v -> second(first(v))."""
    return lambda v: second(first(v))


def _column(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """A float64 table's values at t, (B, 1, 1, 1), where ``like`` is."""
    return to_double(table[t.cpu()].to(like.device)).view(-1, 1, 1, 1)


def _check_hot(degradation: Degradation, method: str) -> GaussianNoise:
    """The degradation, as Gaussian noise.

    Raises:
        ValueError: it is another one.
    """
    if not isinstance(degradation, GaussianNoise):
        others = ": isotropic serves it" if bool((degradation.sigmas[1:] > 0).all()) else ""
        raise ValueError(
            f"{method} needs a model of gaussian-noise, whose Jacobian is the covariance of x_0; this one undoes "
            f"a {degradation.name}{others}"
        )
    return degradation


POSTERIORS: dict[str, Callable[..., X0Function]] = {"moments": moments, "isotropic": isotropic, "dps": dps}
"""(estimate, degradation, measurement, ...) -> X0Function."""
