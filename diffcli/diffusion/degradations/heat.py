"""Heat dissipation: Gaussian blur in the cosine basis."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.diffusion.degradations.blur import MAX_BLUR_VARIANCE, MODES
from diffcli.diffusion.degradations.separable import Separable


def cosine_basis(side: int) -> Tensor:
    """The orthonormal DCT-II of an axis, float64 (side, side): row k is proportional to cos(pi k (i + 1/2) / side)."""
    axis = torch.arange(side, dtype=torch.float64)
    basis = torch.cos(torch.pi * torch.outer(axis, axis + 0.5) / side)
    return basis / basis.norm(dim=1, keepdim=True)


def decays(betas: Tensor, side: int) -> Tensor:
    """exp(-(pi k / side)^2 w_t^2 / 2): what is left of each cosine mode, float64 (T + 1, side)."""
    frequencies = torch.pi * torch.arange(side, dtype=torch.float64) / side
    return torch.exp(-torch.outer(betas.cumsum(dim=0), frequencies.square()) / 2)


class Heat(Separable):
    """Heat dissipation (Rissanen et al. 2022): the exact Gaussian blur of any width w_t, mirrored at the border.

    The heat equation lets cosine mode k of an axis of n pixels decay as exp(-(pi k / n)^2 w_t^2 / 2), where w_t^2 =
    beta_1 + ... + beta_t; brightness stays: z_t = M_t x M_t' with
    M_t = V' exp(-...) V, V the cosine basis. ``gaussian-blur`` multiplies sampled kernels instead, which are cut off at
    their size. Its authors' widths for MNIST are the schedule ``log-widths``; they add noise of constant sigma 0.01
    (the preset's key ``noise``). With noise that grows until it drowns the image it is blurring diffusion (Hoogeboom &
    Salimans 2022).

    Args:
        betas: float64 (T + 1,) with ``betas[0] = 0``; the variance that each step adds, in square pixels.
        image_shape: (C, H, W).

    Raises:
        ValueError: a beta is out of its range.
    """

    host_tables = ("sigmas", "betas")

    def __init__(self, betas: Tensor, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        if not bool(((betas[1:] > 0) & (betas[1:] <= MAX_BLUR_VARIANCE)).all()):
            raise ValueError(f"beta, here a variance in square pixels, must lie in (0, {MAX_BLUR_VARIANCE:g}]")
        self.T = len(betas) - 1
        self.betas = betas
        _, height, width = image_shape
        for name, side in (("rows", height), ("columns", width)):
            basis = cosine_basis(side)
            # The identity at t = 0 is written as such: the product of the basis with itself is one up to rounding only.
            table = torch.cat([torch.eye(side).double()[None], (basis.T * decays(betas, side)[1:, None]) @ basis])
            self.register_buffer(name, table.float(), persistent=False)

    def step_norms(self) -> Tensor:
        """1: no cosine mode grows."""
        return torch.ones(self.T + 1, dtype=torch.float64)

    def describe(self) -> dict[str, Tensor]:
        """Curves over t = 1..T, float64 (T,): the blur's width w_t in pixels, and ``mode_k``, what is left of the k-th
        cosine mode along the columns' axis; ``sigma`` where noise was added."""
        gains = decays(self.betas, self.image_shape[2])[1:]
        noise = {"sigma": self.sigmas[1:].double().cpu()} if self.stochastic else {}
        return {
            "width": self.betas.cumsum(dim=0).sqrt()[1:],
            **{f"mode_{k}": gains[:, k] for k in MODES if k < gains.shape[1]},
            **noise,
        }
