"""Gaussian blur: the degradation of the report's cold diffusion."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from diffcli.diffusion.degradations.separable import Separable

Padding = Literal["reflect", "circular", "zero"]
MAX_BLUR_VARIANCE = 1e4
MODES = (1, 2, 3, 4, 6, 8)
"""The cosine modes that :meth:`GaussianBlur.describe` follows."""


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
    """Convolutions with ``kernels`` (N, size) along an axis of ``side`` pixels, as matrices (N, side, side)."""
    size = kernels.shape[1]
    # Padding and convolution are linear: apply both to the unit vectors.
    units = _pad(torch.eye(side, dtype=kernels.dtype)[None, None], size // 2, 0, padding)[0, 0]
    return torch.einsum("ijk,nk->nij", units.unfold(0, size, 1), kernels)


class GaussianBlur(Separable):
    """Repeated Gaussian blur of variance beta_t pixels^2 a step: cold diffusion (report Eq. 5; Bansal et al. 2022).

    A blur is linear and acts on rows and columns alike, so t of them are z_t = M_t x M_t', where M_t = K_t ... K_1 is
    the product of the steps' matrices along one axis. The M_t are tabulated once, in float64.

    Args:
        betas: float64 (T + 1,) with ``betas[0] = 0``; the variance of each step's kernel in square pixels.
        image_shape: (C, H, W).
        kernel_size: taps of a step's kernel, odd.
        padding: what lies beyond the border: the image mirrored (``reflect``), repeated (``circular``), or ``zero``.

    Raises:
        ValueError: an argument is out of its range, or the kernel is too wide for the image and padding.
    """

    kernels: Tensor

    def __init__(
        self,
        betas: Tensor,
        image_shape: tuple[int, int, int],
        kernel_size: int = 11,
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
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

    def step_norms(self) -> Tensor:
        """The norm of each step, by the matrices of both axes: slightly more than 1 with ``reflect``, which counts the
        pixels beside the border twice."""
        kernels = self.kernels.cpu().double()
        rows, columns = (
            torch.linalg.matrix_norm(axis_matrices(kernels, side, self.padding), 2) for side in self.image_shape[1:]
        )
        return rows * columns

    def step(self, x_prev: Tensor, t: Tensor) -> Tensor:
        """z_t = G_t * z_{t-1}, one step of the chain: a padded convolution along each axis, no table of powers."""
        reach = self.kernel_size // 2
        kernels = self.kernels[t]
        tall = _pad(x_prev, reach, 0, self.padding).unfold(2, self.kernel_size, 1)
        wide = _pad(torch.einsum("bchwk,bk->bchw", tall, kernels), 0, reach, self.padding)
        return torch.einsum("bchwk,bk->bchw", wide.unfold(3, self.kernel_size, 1), kernels)

    def describe(self) -> dict[str, Tensor]:
        """Curves over t = 1..T, float64 (T,): the total blur's width in pixels, and ``mode_k``, what is left of the
        k-th cosine mode along the columns' axis; ``sigma`` where noise was added to the blur.

        Mode k of an axis of n pixels is cos(pi k i / (n - 1)), with k / 2 waves across the image; with reflect padding
        those are what a blur scales and does not mix. The width is the square root of the summed variances of the
        kernels.
        """
        kernels, tables = self.kernels.double().cpu(), self.columns.double().cpu()
        side = tables.shape[-1]
        offsets = torch.arange(self.kernel_size, dtype=torch.float64) - self.kernel_size // 2
        axis = torch.arange(side, dtype=torch.float64)
        modes = torch.cos(torch.pi * torch.outer(axis, axis) / max(side - 1, 1))
        gains = torch.einsum("ki,tij,kj->tk", modes, tables, modes) / modes.square().sum(dim=1)
        noise = {"sigma": self.sigmas[1:].double().cpu()} if self.stochastic else {}
        return {
            "width": (kernels @ offsets.square()).cumsum(dim=0).sqrt()[1:],
            **{f"mode_{k}": gains[1:, k] for k in MODES if k < side},
            **noise,
        }
