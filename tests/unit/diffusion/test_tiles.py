"""Tiles: what is estimated pixel by pixel is estimated alike in tiles, there are no seams, and memory goes by tile."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.schedules import linear
from diffcli.diffusion.tiles import TiledDenoiser, starts, tiled


class Doubling(nn.Module):
    """Twice the input, and the label."""

    def forward(self, xt: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        return 2 * xt + labels.view(-1, 1, 1, 1)


def shrunk(xt: Tensor, t: Tensor) -> Tensor:
    return xt / t.view(-1, 1, 1, 1)


@pytest.mark.parametrize(("length", "side", "stride"), [(32, 32, 16), (33, 32, 16), (100, 32, 16), (427, 64, 64)])
def test_tiles_cover_an_axis_evenly(length: int, side: int, stride: int) -> None:
    firsts = starts(length, side, stride)
    gaps = [b - a for a, b in pairwise(firsts)]
    assert (firsts[0], firsts[-1]) == (0, length - side)
    assert all(0 < gap <= stride for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert len(firsts) == -(-(length - side) // stride) + 1


@pytest.mark.parametrize(("length", "stride", "line"), [(31, 16, "smaller than a tile of 32"), (40, 0, "in 1..32")])
def test_tiles_that_cannot_be(length: int, stride: int, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        starts(length, 32, stride)


@pytest.mark.parametrize("stride", [None, (5, 6), (8, 2)])
def test_an_estimate_of_pixels_is_that_of_the_picture(stride: tuple[int, int] | None) -> None:
    xt, t = torch.randn(3, 2, 19, 30), torch.tensor([1, 2, 5])
    estimate = tiled(lambda count: shrunk, (8, 6), stride=stride, tiles=7)
    torch.testing.assert_close(estimate(xt, t), shrunk(xt, t))


def test_each_tile_gets_the_label_of_its_picture() -> None:
    labels = torch.tensor([1.0, 7.0])
    counts: list[int] = []

    def estimate_of(count: int):
        counts.append(count)
        return lambda xt, t: labels.repeat(count).view(-1, 1, 1, 1).expand_as(xt)

    x0_hat = tiled(estimate_of, (4, 4), tiles=6)(torch.zeros(2, 1, 8, 12), torch.tensor([1, 1]))
    torch.testing.assert_close(x0_hat, labels.view(2, 1, 1, 1).expand(2, 1, 8, 12))
    assert counts == [3, 3, 3, 3, 3]  # fifteen places of two pictures, six tiles at a time


def test_tiles_that_disagree_leave_no_seam() -> None:
    """Two estimates that are wrong by 1 and by -1 in neighbouring tiles pass into each other."""
    signs = iter([1.0, -1.0, 1.0])
    estimate = tiled(lambda count: lambda xt, t: torch.full_like(xt, next(signs)), (16, 16), tiles=1)
    steps = estimate(torch.zeros(1, 1, 16, 32), torch.tensor([1]))[0, 0].diff(dim=1).abs()
    assert float(steps.max()) < 0.5


def test_a_denoiser_of_tiles_is_one_of_the_picture_where_pixels_are_on_their_own() -> None:
    def denoiser(shape: tuple[int, int, int]) -> Denoiser:
        degradation = GaussianNoise(linear(10, 1e-3, 0.3))
        degradation.image_shape = shape
        return Denoiser(Doubling(), degradation, "x0", classes=3)

    tile, picture = denoiser((1, 8, 8)), denoiser((1, 12, 20))
    xt, t, labels = torch.randn(2, 1, 12, 20), torch.tensor([3, 9]), torch.tensor([2, -1])
    torch.testing.assert_close(TiledDenoiser(tile, picture.degradation)(xt, t, labels), picture(xt, t, labels))
    with pytest.raises(ValueError, match="a picture of 12 pixels is smaller than a tile of 16"):
        TiledDenoiser(denoiser((1, 16, 8)), picture.degradation)
    with pytest.raises(ValueError, match="pictures have 1 channels, tiles 3"):
        TiledDenoiser(denoiser((3, 8, 8)), picture.degradation)


def test_a_gradient_is_that_of_all_tiles_at_once() -> None:
    weights = torch.randn(3, 1, 3, 3, generator=torch.Generator().manual_seed(0))

    def local(xt: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(torch.nn.functional.conv2d(xt, weights, padding=1, groups=3))

    gradients = []
    for tiles in (1, 1000):
        xt = torch.linspace(-1, 1, 3 * 20 * 20).view(1, 3, 20, 20).clone().requires_grad_()
        x0_hat = tiled(lambda count: local, (8, 8), tiles=tiles)(xt, torch.tensor([1]))
        gradients.append(torch.autograd.grad(x0_hat.square().sum(), xt)[0])
    torch.testing.assert_close(*gradients)
