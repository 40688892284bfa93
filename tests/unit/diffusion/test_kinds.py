"""What each kind of degradation is: pixelation, heat, masks and fading, at single steps and against their formulas."""

from __future__ import annotations

import inspect
import math
from itertools import pairwise

import pytest
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from diffcli.diffusion.degradations import DEGRADATIONS, GaussianBlur
from diffcli.diffusion.schedules import constant, linear


def block_mean(x0: Tensor, grid: int) -> Tensor:
    """Pixelation by plain loops over the blocks."""
    out = torch.empty_like(x0)
    edges = [[math.floor(j * side / grid + 0.5) for j in range(grid + 1)] for side in x0.shape[2:]]
    for top, bottom in pairwise(edges[0]):
        for left, right in pairwise(edges[1]):
            if bottom > top and right > left:
                out[..., top:bottom, left:right] = x0[..., top:bottom, left:right].mean(dim=(2, 3), keepdim=True)
    return out


@pytest.mark.parametrize(("shape", "grid"), [((1, 28, 28), 4), ((3, 9, 11), 2), ((1, 8, 8), 3), ((2, 31, 31), 1)])
def test_pixelation_is_a_mean_of_blocks_at_each_doubling_and_between_them_its_detail_fades(
    shape: tuple[int, int, int], grid: int
) -> None:
    x0 = torch.rand(2, *shape, dtype=torch.float64) - 0.5
    counts = [grid]
    while counts[-1] < max(shape[1:]):
        counts.append(2 * counts[-1])
    counts.reverse()
    doublings = len(counts) - 1
    pixelate = DEGRADATIONS["pixelate"](image_shape=shape, T=4 * doublings, grid=grid)
    for number, count in enumerate(counts):
        xt = pixelate.degrade(x0.float(), torch.full((2,), 4 * number))
        assert torch.allclose(xt.double(), block_mean(x0, count), atol=1e-6)
    # A quarter of the way to the next size, along one axis: an image that does not vary along the other.
    flat = x0[..., :1].expand_as(x0)
    first, second = block_mean(flat, counts[-2]), block_mean(flat, grid)
    xt = pixelate.degrade(flat.float(), torch.full((2,), 4 * (doublings - 1) + 1))
    assert torch.allclose(xt.double(), 0.75 * first + 0.25 * second, atol=1e-6)


def test_coarser_pixels_hold_nothing_that_finer_ones_lack() -> None:
    pixelate = DEGRADATIONS["pixelate"](image_shape=(1, 13, 28), T=30, grid=3)
    for table in (pixelate.rows, pixelate.columns):
        for fine, coarse in pairwise(table):
            assert torch.allclose(coarse @ fine, coarse, atol=1e-6)
            assert torch.allclose(fine @ coarse, coarse, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 12)])
def test_heat_is_the_decay_of_scipys_cosine_modes(shape: tuple[int, int, int]) -> None:
    widths = torch.logspace(math.log10(0.5), math.log10(20), 30, dtype=torch.float64)
    betas = torch.cat([torch.zeros(1).double(), widths.square()]).diff(prepend=torch.zeros(1).double())
    heat = DEGRADATIONS["heat"](betas=betas, image_shape=shape)
    x0 = torch.rand(2, *shape, dtype=torch.float64) - 0.5
    squares = [(math.pi * torch.arange(n).double() / n) ** 2 for n in shape[1:]]
    for t in (1, 12, 30):
        decay = torch.exp(-(squares[0][:, None] + squares[1]) * widths[t - 1] ** 2 / 2)
        expected = idctn(dctn(x0.numpy(), axes=(2, 3), norm="ortho") * decay.numpy(), axes=(2, 3), norm="ortho")
        xt = heat.degrade(x0.float(), torch.full((2,), t))
        assert torch.allclose(xt.double(), torch.from_numpy(expected), atol=1e-6)
    assert heat.describe()["width"].tolist() == pytest.approx(widths.tolist())


def test_heat_is_what_many_taps_come_to() -> None:
    # Far from the border, where a mirrored image and one mirrored about its last pixel differ.
    x0 = torch.zeros(1, 1, 41, 41)
    x0[..., 18:23, 19:22] = 1
    heat = DEGRADATIONS["heat"](betas=constant(6, 1.0), image_shape=(1, 41, 41))
    blur = GaussianBlur(constant(6, 1.0), (1, 41, 41), kernel_size=15)
    at_T = torch.tensor([6])
    assert torch.allclose(heat.degrade(x0, at_T), blur.degrade(x0, at_T), atol=1e-5)


@pytest.mark.parametrize("start", ["centre", "border"])
def test_a_mask_is_the_product_of_its_steps_holes(start: str) -> None:
    T, height, width = 12, 9, 8
    mask = DEGRADATIONS["mask"](image_shape=(1, height, width), T=T, width=0.6, left=0.05, start=start)
    one = torch.ones(1, 1, height, width)
    if start == "centre":
        distance = [[math.hypot(y - 4, x - 3.5) for x in range(width)] for y in range(height)]
    else:
        distance = [[min(y, 8 - y, x, 7 - x) for x in range(width)] for y in range(height)]
    farthest = max(map(max, distance))
    sums = [sum(math.exp(-((farthest / farthest) ** 2) / (2 * (0.6 * i / T) ** 2)) for i in range(1, T + 1))]
    rate = math.log(0.05) / sums[0]
    shares = [[1.0] * width for _ in range(height)]
    for t in range(1, T + 1):
        for y in range(height):
            for x in range(width):
                shares[y][x] *= math.exp(
                    rate * math.exp(-((distance[y][x] / farthest) ** 2) / (2 * (0.6 * t / T) ** 2))
                )
        result = mask.degrade(one, torch.tensor([t]))[0, 0]
        assert torch.allclose(result.double(), torch.tensor(shares).double(), atol=1e-6)
    assert float(result.max()) == pytest.approx(0.05, rel=1e-4)


def test_fading_ends_near_its_colour() -> None:
    x0 = torch.rand(2, 3, 5, 4) - 0.5
    at_T = torch.tensor([9, 9])
    for colour, goal in (
        (0.5, torch.zeros(3)),
        ([0, 1, 0.25], torch.tensor([-0.5, 0.5, -0.25])),
        (0, torch.full((3,), -0.5)),
    ):
        fade = DEGRADATIONS["fade"](image_shape=(3, 5, 4), T=9, colour=colour, left=0.1)
        for t in (3, 9):
            share = 1 - 0.9 * t / 9
            expected = share * x0 + (1 - share) * goal.view(1, 3, 1, 1)
            assert torch.allclose(fade.degrade(x0, torch.full((2,), t)), expected, atol=1e-6)
    own = DEGRADATIONS["fade"](image_shape=(3, 5, 4), T=9, colour="own", left=0.001)
    grey = own.degrade(x0, at_T)
    assert float((grey - grey.mean(dim=1, keepdim=True)).abs().max()) < 1e-3
    luma = 0.299 * x0[:, 0] + 0.587 * x0[:, 1] + 0.114 * x0[:, 2]
    assert torch.allclose(grey[:, 0], luma, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        *((name, {}) for name in sorted(DEGRADATIONS)),
        ("fade", {"colour": "own"}),
        ("gaussian-blur", {"padding": "zero"}),
    ],
)
def test_step_norms_are_those_of_the_steps_matrices(name: str, parameters: dict[str, str]) -> None:
    kind = DEGRADATIONS[name]
    context = {"betas": linear(5, 0.05, 0.4), "image_shape": (3, 6, 6), "T": 5, "kernel_size": 5, "grid": 2}
    names = inspect.signature(kind).parameters
    degradation = kind(**{key: value for key, value in context.items() if key in names}, **parameters)
    norms = degradation.step_norms()
    assert norms is not None
    units = torch.eye(108).view(108, 3, 6, 6)
    A = [degradation.signal(units, torch.full((108,), t)).flatten(1).T.double() for t in range(6)]
    for t in range(1, 6):
        norm = float(torch.linalg.matrix_norm(A[t] @ torch.linalg.pinv(A[t - 1], rtol=1e-3), 2))
        # What is stated of a mask, of pixels and of heat is a bound; of the others the norm itself.
        exact = name in ("gaussian-noise", "gaussian-blur", "fade")
        assert float(norms[t]) == pytest.approx(norm, rel=1e-4) if exact else norm <= float(norms[t]) * (1 + 1e-4)


BAD = {
    "grid": (
        "pixelate",
        {"image_shape": (1, 8, 4), "grid": 4},
        "grid must be less than the sides of 8x4 images, got 4",
    ),
    "own": (
        "fade",
        {"image_shape": (1, 8, 8), "colour": "own"},
        "needs images of 3 channels, red, green and blue, got 1",
    ),
    "two colours": ("fade", {"image_shape": (3, 8, 8), "colour": [0.1, 0.2]}, "one intensity or 3, .* got 2"),
    "beta": ("heat", {"image_shape": (1, 8, 8), "betas": constant(3, 1e6)}, "square pixels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(case: str) -> None:
    name, arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        DEGRADATIONS[name](**arguments)
