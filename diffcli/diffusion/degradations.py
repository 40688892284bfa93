"""Degradations: what is done to a clean image x0 at step t, in closed form and step by step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Degradation(nn.Module):
    """The interface that hot and cold diffusion share.

    ``t`` is int64 of shape (B,) in 0..T, one step per image; ``t = 0`` is the identity. Images are float (B, C, H, W).
    """

    T: int
    stochastic: bool
    """Whether ``degrade`` mixes in noise, so that a network can be asked to predict it."""

    def degrade(self, x0: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x0 -> xt in closed form, (B, C, H, W)."""
        raise NotImplementedError

    def step(self, x_prev: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_{t-1} -> x_t, one step of the chain, (B, C, H, W)."""
        raise NotImplementedError

    def noise_from(self, xt: Tensor, t: Tensor, x0: Tensor) -> Tensor | None:
        """The noise that turns ``x0`` into ``xt``; None where the degradation is deterministic."""
        raise NotImplementedError


class GaussianNoise(Degradation):
    """Variance-preserving Gaussian noise: DDPM's forward process (report Eq. 1 and 2; Ho et al. 2020, Eq. 2 and 4).

    Args:
        betas: float64 (T + 1,) with ``betas[0] = 0``, as :mod:`diffcli.diffusion.schedules` makes it.
    """

    stochastic = True
    betas: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        self.T = len(betas) - 1
        # alpha_t of the report, float64 (T + 1,): a plain attribute, so that no cast of the module rounds it.
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        tables = {
            "betas": betas,
            "sqrt_alphas_cumprod": self.alphas_cumprod.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - self.alphas_cumprod).sqrt(),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)

    def signal_and_noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(alpha_t), sqrt(1 - alpha_t)), each (B, 1, 1, 1)."""
        return self.sqrt_alphas_cumprod[t].view(-1, 1, 1, 1), self.sqrt_one_minus_alphas_cumprod[t].view(-1, 1, 1, 1)

    def degrade(self, x0: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t = sqrt(alpha_t) x0 + sqrt(1 - alpha_t) noise (report Eq. 2); standard normal noise where none is given."""
        signal, sigma = self.signal_and_noise(t)
        return signal * x0 + sigma * (torch.randn_like(x0) if noise is None else noise)

    def step(self, x_prev: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise (report Eq. 1)."""
        beta = self.betas[t].view(-1, 1, 1, 1)
        return (1 - beta).sqrt() * x_prev + beta.sqrt() * (torch.randn_like(x_prev) if noise is None else noise)

    def noise_from(self, xt: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """eps = (x_t - sqrt(alpha_t) x0) / sqrt(1 - alpha_t), for t >= 1 (Eq. 2 solved for the noise)."""
        signal, sigma = self.signal_and_noise(t)
        return (xt - signal * x0) / sigma

    def x0_from(self, xt: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x0 = (x_t - sqrt(1 - alpha_t) noise) / sqrt(alpha_t) (Eq. 2 solved for the image)."""
        signal, sigma = self.signal_and_noise(t)
        return (xt - sigma * noise) / signal


DEGRADATIONS: dict[str, Callable[..., Degradation]] = {"gaussian-noise": GaussianNoise}
