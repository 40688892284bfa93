"""Networks that know pixels in [-1, 1], as those of other libraries do, with the same unit noise.

Such a network is given z_t = sqrt(a) 2 x_0 + sqrt(1 - a) eps. Divided by k = sqrt(1 + 3 a) that is x_t here, with
alpha_t = 4 a / (1 + 3 a): the noise is the same, and the image has half the range.
"""

from __future__ import annotations

from torch import Tensor

from diffcli.diffusion.degradations import GaussianNoise


def to_half_range(alphas: Tensor) -> Tensor:
    """alpha_t here, where pixels are in [-0.5, 0.5], of a product a of pixels in [-1, 1]."""
    return 4 * alphas / (1 + 3 * alphas)


def to_full_range(alphas: Tensor) -> Tensor:
    """The inverse of :func:`to_half_range`."""
    return alphas / (4 - 3 * alphas)


def _factor(degradation: GaussianNoise, t: Tensor) -> Tensor:
    """k = sqrt(1 + 3 a) = 2 / sqrt(4 - 3 alpha_t), (B, 1, 1, 1)."""
    return 2 / (4 - 3 * degradation.scale(t).square()).sqrt()


def full_range_input(degradation: GaussianNoise, xt: Tensor, t: Tensor) -> Tensor:
    """z_t = k x_t, (B, C, H, W)."""
    return _factor(degradation, t) * xt


def full_range_output(degradation: GaussianNoise, prediction: str, xt: Tensor, t: Tensor, output: Tensor) -> Tensor:
    """A network's answer about 2 x_0 and eps as one about x_0 and eps, (B, C, H, W).

    The noise is the same, and the image the half. Of v = sqrt(a) eps - sqrt(1 - a) 2 x_0, in which eps and x_0 are
    linear with z_t, it follows that v here = k / 2 v + 3/2 sqrt(a (1 - a)) x_t.

    Args:
        prediction: of the denoiser, a key of ``PREDICTIONS``.
    """
    if prediction == "eps":
        return output
    if prediction == "x0":
        return output / 2
    factor = _factor(degradation, t)
    # sqrt(a) = k / 2 sqrt(alpha_t), and sqrt(1 - a) = k sigma_t.
    xt_factor = 0.75 * degradation.scale(t) * degradation.sigma(t) * factor.square()
    return factor / 2 * output + xt_factor * xt
