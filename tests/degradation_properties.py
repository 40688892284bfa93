"""What any degradation must keep, one's own included: each check takes one and raises where it does not keep it."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.samplers import cold, cold_naive, last, timesteps


def images(degradation: Degradation, count: int, seed: int = 0) -> Tensor:
    """White noise in the range of pixels, (count, C, H, W)."""
    return torch.rand(count, *degradation.image_shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def steps(degradation: Degradation) -> Tensor:
    """The ends of 0..T and some t between them, int64 (B,)."""
    T = degradation.T
    return torch.tensor(sorted({0, 1, T // 3, T // 2, max(T - 1, 0), T}))


def check_identity(degradation: Degradation) -> None:
    """x_0 is the image, bit by bit or up to the last one, whatever noise is handed in."""
    x0 = images(degradation, 3)
    xt = degradation.degrade(x0, torch.zeros(3, dtype=torch.int64), torch.randn_like(x0))
    assert torch.allclose(xt, x0, atol=1e-7, rtol=0)


def check_affine(degradation: Degradation) -> None:
    """The signal of a weighted mean is the weighted mean of the signals: linear, but for a constant image."""
    t = steps(degradation)
    first, second = images(degradation, len(t)), images(degradation, len(t), 1)
    for weight in (0.3, -2.0):
        mixed = degradation.signal(weight * first + (1 - weight) * second, t)
        expected = weight * degradation.signal(first, t) + (1 - weight) * degradation.signal(second, t)
        assert torch.allclose(mixed, expected, atol=1e-5)


def check_mixed_steps(degradation: Degradation) -> None:
    """A batch of different t is what each image is on its own."""
    t = steps(degradation)
    x0, noise = images(degradation, len(t)), torch.randn(len(t), *degradation.image_shape)
    whole = degradation.degrade(x0, t, noise)
    single = [degradation.degrade(x0[i : i + 1], t[i : i + 1], noise[i : i + 1]) for i in range(len(t))]
    assert torch.allclose(whole, torch.cat(single), atol=1e-6)


def check_finite_in_float32(degradation: Degradation) -> None:
    """Finite, of the images' size, and float32 for black, white and mixed images at every t."""
    t = torch.arange(degradation.T + 1)
    for x0 in (images(degradation, len(t)), *(torch.full((len(t), *degradation.image_shape), v) for v in (-0.5, 0.5))):
        xt = degradation.degrade(x0, t, torch.zeros_like(x0))
        assert xt.dtype == torch.float32
        assert float(xt.abs().max()) <= 0.5 + 1e-5


def check_recovery(degradation: Degradation) -> None:
    """A perfect denoiser gets x0 back through both cold samplers."""
    x0 = images(degradation, 3)
    T = degradation.T
    xT = degradation.degrade(x0, torch.full((3,), T), torch.randn_like(x0))
    for sampler in (cold, cold_naive):
        for count in {T, max(T // 3, 1), 1}:
            path = timesteps(T, count)
            end = last(sampler(lambda xt, t: x0, degradation, xT, path, lambda: torch.randn_like(x0)))
            assert torch.allclose(end, x0, atol=1e-5)
