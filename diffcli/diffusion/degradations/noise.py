"""Gaussian noise: the degradation of hot diffusion."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.diffusion.degradations.base import Degradation

SMALLEST_ALPHA = 1e-24
"""The least alpha_T: where a network predicts the noise, its errors count 1 / sqrt(alpha_T) times in x0_hat, and
float32 holds the squares that a network takes of images only so far."""


class GaussianNoise(Degradation):
    """Variance-preserving Gaussian noise: DDPM's forward process (report Eq. 1 and 2; Ho et al. 2020, Eq. 2 and 4).

    A_t = sqrt(alpha_t), sigma_t = sqrt(1 - alpha_t), with alpha_t = (1 - beta_1) ... (1 - beta_t).

    Args:
        betas: float64 (T + 1,) with ``betas[0] = 0``, as :mod:`diffcli.diffusion.schedules` makes it.

    Raises:
        ValueError: a beta is outside (0, 1), but for a last one of 1, which leaves nothing of the image (Lin et al.
            2024); or so small that it is lost in rounding; or an alpha is below 1e-24 without being 0.
    """

    betas: Tensor
    sqrt_alphas_cumprod: Tensor
    host_tables = ("sigmas", "alphas_cumprod")

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        outside = betas[1:][(betas[1:] <= 0) | (betas[1:] >= 1)]
        if len(betas) > 2 and bool(betas[-1] == 1):
            outside = outside[:-1]
        if len(outside):
            raise ValueError(f"beta must lie in (0, 1), got {float(outside[0])}")
        self.T = len(betas) - 1
        # alpha_t of the report, float64 (T + 1,).
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        is_zero = (self.alphas_cumprod < SMALLEST_ALPHA) & (betas < 1)
        if bool(is_zero.any()):
            T = int(is_zero.nonzero()[0]) - 1
            raise ValueError(
                f"the noise of this schedule leaves nothing of the image long before T = {self.T}: "
                + (f"T can be at most {T}, or the betas must be smaller" if T else "the betas must be smaller")
            )
        too_small = betas[1:][self.alphas_cumprod.diff() >= 0]
        if len(too_small):
            raise ValueError(
                f"beta {float(too_small[0])} is too small for a step of this schedule: it is lost in rounding"
            )
        self.sigmas = (1 - self.alphas_cumprod).sqrt()
        self.register_buffer("betas", betas.float(), persistent=False)
        self.register_buffer("sqrt_alphas_cumprod", self.alphas_cumprod.sqrt().float(), persistent=False)

    def scale(self, t: Tensor) -> Tensor:
        """sqrt(alpha_t), float32 (B, 1, 1, 1)."""
        return self.sqrt_alphas_cumprod[t].view(-1, 1, 1, 1)

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        """sqrt(alpha_t) x0, the mean of x_t (report Eq. 2)."""
        return self.scale(t) * x0

    def step_norms(self) -> Tensor:
        """sqrt(1 - beta_t)."""
        alphas = self.alphas_cumprod
        return torch.cat([alphas[:1], alphas[1:] / alphas[:-1]]).sqrt()

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio alpha_t / (1 - alpha_t), (B,), for t >= 1 (Kingma et al. 2021, Eq. 2)."""
        return (self.scale(t) / self.sigma(t)).square().flatten()

    def step(self, x_prev: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise, one step of the chain (report Eq. 1)."""
        beta = self.betas[t].view(-1, 1, 1, 1)
        return (1 - beta).sqrt() * x_prev + beta.sqrt() * (torch.randn_like(x_prev) if noise is None else noise)

    def x0_from(self, xt: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x0 = (x_t - sqrt(1 - alpha_t) noise) / sqrt(alpha_t) (Eq. 2 solved for the image)."""
        return (xt - self.sigma(t) * noise) / self.scale(t)

    def velocity(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """v = sqrt(alpha_t) noise - sqrt(1 - alpha_t) x0 (Salimans & Ho 2022, section 4)."""
        return self.scale(t) * noise - self.sigma(t) * x0

    def x0_from_velocity(self, xt: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """x0 = sqrt(alpha_t) x_t - sqrt(1 - alpha_t) v: well conditioned at every t, unlike ``x0_from``."""
        return self.scale(t) * xt - self.sigma(t) * v

    def describe(self) -> dict[str, Tensor]:
        """beta_t, alpha_t and log SNR_t = log(alpha_t / (1 - alpha_t)) (report Figure 5), float64 (T,)."""
        alphas = self.alphas_cumprod[1:]
        return {
            "beta": self.betas[1:].double().cpu(),
            "alpha": alphas,
            "log_snr": alphas.clamp(min=SMALLEST_ALPHA).log() - torch.log1p(-alphas),  # finite where alpha_T is 0
        }
