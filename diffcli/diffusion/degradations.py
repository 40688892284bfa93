"""Degradations: what is done to a clean image x0 at step t, in closed form and step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Padding = Literal["reflect", "circular", "zero"]
MAX_BLUR_VARIANCE = 1e4
SMALLEST_ALPHA = 1e-24
"""Of alpha_T: where a network predicts the noise, its errors count 1 / sqrt(alpha_T) times in x0_hat, and float32 holds the
squares that a network takes of images only so far."""


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

    Raises:
        ValueError: a beta is outside (0, 1), or so small that it is lost in rounding; or alpha_T is below 1e-24.
    """

    stochastic = True
    betas: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        outside = betas[1:][(betas[1:] <= 0) | (betas[1:] >= 1)]
        if len(outside):
            raise ValueError(f"beta must lie in (0, 1), got {float(outside[0])}")
        self.T = len(betas) - 1
        # alpha_t of the report, float64 (T + 1,): a plain attribute, so that no cast of the module rounds it.
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        vanished = self.alphas_cumprod < SMALLEST_ALPHA
        if bool(vanished.any()):
            T = int(vanished.nonzero()[0]) - 1
            raise ValueError(
                f"the noise of this schedule leaves nothing of the image long before T = {self.T}: "
                + (f"T can be at most {T}, or the betas must be smaller" if T else "the betas must be smaller")
            )
        lost = betas[1:][self.alphas_cumprod.diff() >= 0]
        if len(lost):
            raise ValueError(f"beta {float(lost[0])} is too small for a step of this schedule: it is lost in rounding")
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

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio alpha_t / (1 - alpha_t), (B,), for t >= 1 (Kingma et al. 2021, Eq. 3)."""
        return (self.sqrt_alphas_cumprod[t] / self.sqrt_one_minus_alphas_cumprod[t]).square()

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

    def velocity(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """v = sqrt(alpha_t) noise - sqrt(1 - alpha_t) x0 (Salimans & Ho 2022, section 4)."""
        signal, sigma = self.signal_and_noise(t)
        return signal * noise - sigma * x0

    def x0_from_velocity(self, xt: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """x0 = sqrt(alpha_t) x_t - sqrt(1 - alpha_t) v: well conditioned at every t, unlike ``x0_from``."""
        signal, sigma = self.signal_and_noise(t)
        return signal * xt - sigma * v


def gaussian_kernels(betas: Tensor, size: int) -> Tensor:
    """Sampled Gaussian kernels of variance ``betas`` (N,) in square pixels, each summing to 1, (N, size).

    A variance of 0 gives the kernel that changes nothing.
    """
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    variance = betas.double()[:, None]
    weights = torch.where(variance > 0, torch.exp(-offsets.square() / (2 * variance)), (offsets == 0).double())
    return weights / weights.sum(dim=1, keepdim=True)


def _pad(images: Tensor, rows: int, columns: int, padding: Padding) -> Tensor:
    """``images`` (B, C, H, W) with that many rows and columns more on either side."""
    return F.pad(images, (columns, columns, rows, rows), mode="constant" if padding == "zero" else padding)


def axis_matrices(kernels: Tensor, side: int, padding: Padding) -> Tensor:
    """What convolution with ``kernels`` (N, size) does to an axis of ``side`` pixels, as matrices (N, side, side)."""
    size = kernels.shape[1]
    # Padding and convolution are linear: apply both to the unit vectors.
    padded = _pad(torch.eye(side, dtype=kernels.dtype)[None, None], size // 2, 0, padding)[0, 0]
    return torch.einsum("ijk,nk->nij", padded.unfold(0, size, 1), kernels)


class GaussianBlur(Degradation):
    """Repeated Gaussian blur of variance beta_t pixels^2 a step: cold diffusion (report Eq. 5; Bansal et al. 2022).

    A blur is linear and acts on rows and columns alike, so t of them are z_t = M_t x M_t', where M_t = K_t ... K_1 is the
    product of the steps' matrices along one axis. The M_t are tabulated once, in float64.

    Args:
        betas: float64 (T + 1,) with ``betas[0] = 0``; the variance of each step's kernel in square pixels.
        image_shape: (C, H, W).
        kernel_size: taps of a step's kernel, odd.
        padding: what lies beyond the border: the image mirrored (``reflect``), repeated (``circular``), or ``zero``.

    Raises:
        ValueError: an argument is out of its range, or the kernel is too wide for the image and padding.
    """

    stochastic = False
    kernels: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        betas: Tensor,
        image_shape: tuple[int, int, int],
        kernel_size: int = 11,
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        _, height, width = image_shape
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        widest = {"reflect": min(height, width) - 1, "circular": min(height, width), "zero": kernel_size}[padding]
        if kernel_size // 2 > widest:
            raise ValueError(
                f"kernel_size {kernel_size} is too wide for {height}x{width} images padded by {padding}; "
                f"use at most {2 * widest + 1}"
            )
        if not bool(((betas[1:] > 0) & (betas[1:] <= MAX_BLUR_VARIANCE)).all()):
            raise ValueError(f"beta, here a variance in square pixels, must lie in (0, {MAX_BLUR_VARIANCE:g}]")
        self.T = len(betas) - 1
        self.kernel_size = kernel_size
        self.padding = padding
        kernels = gaussian_kernels(betas, kernel_size)
        self.register_buffer("kernels", kernels.float(), persistent=False)
        for name, side in (("rows", height), ("columns", width)):
            steps = axis_matrices(kernels, side, padding)
            powers = [steps[0]]
            for step in steps[1:]:
                powers.append(step @ powers[-1])
            self.register_buffer(name, torch.stack(powers).float(), persistent=False)

    def degrade(self, x0: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """z_t = M_t x M_t' (report Eq. 5); deterministic, ``noise`` is not used."""
        return self.rows[t][:, None] @ x0 @ self.columns[t][:, None].mT

    def step(self, x_prev: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """z_t = G_t * z_{t-1}: one padded convolution along each axis, no table of powers."""
        reach = self.kernel_size // 2
        kernels = self.kernels[t]
        tall = _pad(x_prev, reach, 0, self.padding).unfold(2, self.kernel_size, 1)
        wide = _pad(torch.einsum("bchwk,bk->bchw", tall, kernels), 0, reach, self.padding)
        return torch.einsum("bchwk,bk->bchw", wide.unfold(3, self.kernel_size, 1), kernels)

    def noise_from(self, xt: Tensor, t: Tensor, x0: Tensor) -> None:
        """None: a blur draws nothing."""
        return None


DEGRADATIONS: dict[str, Callable[..., Degradation]] = {"gaussian-noise": GaussianNoise, "gaussian-blur": GaussianBlur}
