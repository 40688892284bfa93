"""Gaussian blur: tabulated powers against torchvision's blur, step by step, and what a blur must keep."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from diffcli.diffusion.degradations import GaussianBlur, Padding
from diffcli.diffusion.noise_levels import linear as linear_levels
from diffcli.diffusion.schedules import constant, cosine, linear

PADDINGS: list[Padding] = ["reflect", "circular", "zero"]


@pytest.fixture(params=PADDINGS)
def blur(request: pytest.FixtureRequest) -> GaussianBlur:
    return GaussianBlur(constant(30, 1.0), (1, 14, 14), padding=request.param)


def at(t: int, images: torch.Tensor) -> torch.Tensor:
    return torch.full((len(images),), t)


@pytest.mark.parametrize("betas", [constant(100, 1.0), linear(60, 0.1, 2.0), cosine(40)], ids=["c", "l", "cos"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 12)])
def test_equals_torchvisions_blurs_one_after_another(betas: torch.Tensor, shape: tuple[int, int, int]) -> None:
    blur = GaussianBlur(betas, shape)
    x0 = torch.rand(4, *shape) - 0.5
    xt = x0
    for t in range(1, blur.T + 1):
        xt = gaussian_blur(xt, [11, 11], [float(betas[t]) ** 0.5])
        assert torch.allclose(blur.degrade(x0, at(t, x0)), xt, atol=1e-5)


def test_powers_compose(blur: GaussianBlur) -> None:
    for s, t in ((0, 5), (1, 1), (7, 12), (10, 20)):
        assert torch.allclose(blur.rows[s] @ blur.rows[t], blur.rows[s + t], atol=1e-6)


@pytest.mark.parametrize("padding", ["reflect", "circular"])
def test_constants_stay(padding: Padding) -> None:
    blur = GaussianBlur(linear(30, 0.1, 3.0), (3, 14, 10), padding=padding)
    flat = torch.full((2, 3, 14, 10), 0.3)
    assert torch.allclose(blur.degrade(flat, at(30, flat)), flat, atol=1e-6)


def test_zero_padding_loses_light() -> None:
    blur = GaussianBlur(constant(30, 1.0), (1, 14, 14), padding="zero")
    flat = torch.ones(1, 1, 14, 14)
    assert float(blur.degrade(flat, at(30, flat)).mean()) < 0.8


def test_flips_and_transposes_commute(blur: GaussianBlur) -> None:
    x0, t = torch.rand(3, 1, 14, 14), torch.tensor([3, 15, 30])
    for move in (lambda x: x.flip(2), lambda x: x.flip(3), lambda x: x.mT):
        assert torch.allclose(blur.degrade(move(x0), t), move(blur.degrade(x0, t)), atol=1e-6)


def test_a_circular_shift_commutes() -> None:
    blur = GaussianBlur(constant(10, 1.0), (1, 12, 12), padding="circular")
    x0 = torch.rand(2, 1, 12, 12)
    shift = blur.degrade(x0.roll(5, dims=3), at(10, x0))
    assert torch.allclose(shift, blur.degrade(x0, at(10, x0)).roll(5, dims=3), atol=1e-6)


def test_surviving_modes_are_those_of_the_design() -> None:
    # Measured on 28 pixels, beta 1, T 100, kernel 11, reflect: a handful of modes is all that is left.
    eigenvalues = torch.linalg.eigvals(GaussianBlur(constant(100, 1.0), (1, 28, 28)).rows[100].double()).real
    assert eigenvalues.sort(descending=True).values[:4].tolist() == pytest.approx([1, 0.508, 0.067, 0.0023], rel=0.02)


def test_draws_nothing(blur: GaussianBlur) -> None:
    x0 = torch.rand(1, 1, 14, 14)
    assert not blur.stochastic
    assert not blur.noise_from(x0, at(3, x0), x0 + 1).any()
    assert torch.equal(blur.degrade(x0, at(3, x0), torch.randn_like(x0)), blur.degrade(x0, at(3, x0)))


def test_a_blur_with_noise_gives_the_noise_back(blur: GaussianBlur) -> None:
    blur.sigmas = linear_levels(blur.T, 0.3)
    x0, noise, t = torch.rand(4, 1, 14, 14) - 0.5, torch.randn(4, 1, 14, 14), torch.tensor([1, 5, 20, 30])
    xt = blur.degrade(x0, t, noise)
    assert torch.allclose(xt - blur.signal(x0, t), (0.3 * t / 30).view(-1, 1, 1, 1) * noise, atol=1e-6)
    assert torch.allclose(blur.noise_from(xt, t, x0), noise, atol=1e-3)
    assert torch.equal(blur.degrade(x0, at(0, x0), noise), x0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"kernel_size": 17}, "too wide for 8x8 images padded by reflect; use at most 15"),
        ({"kernel_size": 19, "padding": "circular"}, "use at most 17"),
        ({"betas": constant(3, 1e6)}, "square pixels"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianBlur(**({"betas": constant(3, 1.0), "image_shape": (1, 8, 8)} | arguments))  # type: ignore[arg-type]
