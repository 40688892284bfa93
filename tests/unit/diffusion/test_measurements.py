"""Linear measurements: adjoints, inverses in closed form and by conjugate gradients, and what is refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixtures import matrix_of
from torch import Tensor
from torch.nn import functional as F

from diffcli.diffusion.degradations import (
    DEGRADATIONS,
    Degradation,
    Fade,
    GaussianBlur,
    GaussianNoise,
    Heat,
    Mask,
    Pixelate,
)
from diffcli.diffusion.measurements import (
    DENSE,
    Axes,
    Dense,
    Differentiated,
    Measurement,
    Operator,
    Pixelwise,
    check_adjoint,
    conjugate_gradients,
    constant_of,
    dot,
    measurement_at,
    operator_of,
)
from diffcli.diffusion.testing import betas

GREY, COLOUR = (1, 8, 8), (3, 7, 11)
T = 6


class Swirl(Degradation):
    """A plug-in's: rows shifted by t against each other, and blurred; neither separable nor pixelwise."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.T, self.image_shape = T, image_shape

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        out = []
        for image, step in zip(x0, t.tolist(), strict=True):
            rows = [row.roll(step * i, dims=-1) for i, row in enumerate(image.unbind(dim=1))]
            rotation = torch.stack(rows, dim=1)
            out.append(rotation if step == 0 else 0.5 * rotation + 0.5 * rotation.roll(1, dims=1))
        return torch.stack(out)


class Clamped(Swirl):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0.clamp(-0.1, 0.1).where(t.view(-1, 1, 1, 1) > 0, x0)


class OfNumPy(Swirl):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return super().signal(torch.from_numpy(x0.detach().numpy()), t)


class Narrow(Swirl):
    """Multiplies by a matrix that it makes anew each time, in float32."""

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        side = x0.shape[3]
        near = torch.eye(side) + 0.2 * torch.ones(side, side).triu()
        return torch.stack(
            [image @ torch.linalg.matrix_power(near, int(step)) for image, step in zip(x0, t, strict=True)]
        )


class Brighter(Heat):
    """A blur's subclass whose signal is its own."""

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return super().signal(x0, t) + 0.1 * t.view(-1, 1, 1, 1)


def degradation_of(name: str, shape: tuple[int, int, int]) -> Degradation:
    kinds: dict[str, Degradation] = {
        "gaussian-noise": GaussianNoise(betas(T)),
        "gaussian-blur": GaussianBlur(betas(T), shape, kernel_size=5),
        "heat": Heat(betas(T), shape),
        "pixelate": Pixelate(shape, T=T, grid=2),
        "mask": Mask(shape, T=T),
        "fade": Fade(shape, T=T),
        "fade to a colour": Fade(shape, T=T, colour=0.9),
        "fade to grey": Fade(COLOUR, T=T, colour="own"),
        "plug-in": Swirl(shape),
        "float32 alone": Narrow(shape),
        "subclass": Brighter(betas(T), shape),
    }
    kinds[name].image_shape = COLOUR if name == "fade to grey" else shape
    return kinds[name]


NAMES = [*DEGRADATIONS, "fade to a colour", "fade to grey", "plug-in", "float32 alone", "subclass"]
KINDS: dict[str, type[Operator]] = {
    "gaussian-noise": Pixelwise,
    "gaussian-blur": Axes,
    "heat": Axes,
    "pixelate": Axes,
    "mask": Pixelwise,
    "fade": Pixelwise,
    "fade to a colour": Pixelwise,
    "fade to grey": Dense,
    "plug-in": Dense,
    "float32 alone": Dense,
    "subclass": Dense,
}


def white(shape: tuple[int, int, int], count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [GREY, COLOUR])
@pytest.mark.parametrize("name", NAMES)
def test_an_operator_is_the_linear_part_of_the_degradation_and_has_its_adjoint(
    name: str, shape: tuple[int, int, int]
) -> None:
    degradation = degradation_of(name, shape)
    x, y = white(degradation.image_shape, 4), white(degradation.image_shape, 4, 1)
    for t in (0, 1, T // 2, T):
        operator = operator_of(degradation, t)
        assert isinstance(operator, KINDS[name]) or t == 0
        signal = degradation._signal(x, torch.full((4,), t))
        torch.testing.assert_close(operator(x) + constant_of(degradation, t), signal, rtol=0, atol=2e-6)
        size = (dot(operator(x), operator(x)) * dot(y, y)).sqrt()
        assert float(((dot(operator(x), y) - dot(x, operator.adjoint(y))) / size).abs().max()) < 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sigma", [1 / 255, 0.05])
def test_closed_forms_and_conjugate_gradients_are_the_dense_solution(name: str, sigma: float) -> None:
    degradation = degradation_of(name, GREY)
    operator, shape = operator_of(degradation, T // 2), degradation.image_shape
    b = operator(0.3 * white(shape, 3)) + sigma * white(shape, 3, 1)
    variance = torch.tensor([0.09, 0.01, 1e-4], dtype=torch.float64).view(-1, 1, 1, 1)
    matrix = matrix_of(operator, degradation.image_shape)
    identity = torch.eye(len(matrix), dtype=torch.float64)
    dense = torch.stack(
        [
            float(r2) * matrix.T @ torch.linalg.solve(float(r2) * matrix @ matrix.T + sigma**2 * identity, one)
            for r2, one in zip(variance.flatten(), b.flatten(1), strict=True)
        ]
    ).view(b.shape)
    for solve in (operator.solve, partial(Operator.solve, operator)):
        solution = variance * operator.adjoint(solve(b, variance, sigma**2))
        assert float((solution - dense).abs().max()) < (1e-5 if name != "float32 alone" else 1e-4)


def test_a_plug_in_of_small_images_is_one_matrix_and_of_larger_ones_is_differentiated() -> None:
    small, large = operator_of(Swirl((1, 32, 32)), 2), operator_of(Swirl((1, 32, 33)), 2)
    assert isinstance(small, Dense)
    assert len(small.matrix) == DENSE
    assert type(large) is Differentiated
    y = white((1, 32, 33), 2)
    torch.testing.assert_close(dot(large(y), y), dot(y, large.adjoint(y)))
    # The same operator by autograd, and by conjugate gradients.
    other = Differentiated(small.function)
    b = 0.3 * white((1, 32, 32), 2)
    torch.testing.assert_close(small.adjoint(b), other.adjoint(b))
    torch.testing.assert_close(small.solve(b, 0.09, 0.01), other.solve(b, 0.09, 0.01))
    assert small.adjoint(b.float()).dtype == torch.float32


def test_conjugate_gradients_stop_image_by_image() -> None:
    operator = operator_of(degradation_of("heat", GREY), T)
    b = white(GREY, 3) * torch.tensor([1.0, 0.0, 1e-8], dtype=torch.float64).view(-1, 1, 1, 1)
    together, image = conjugate_gradients(operator, operator.adjoint, 0.01, b)
    torch.testing.assert_close(image, operator.adjoint(together))
    assert bool((together[1] == 0).all())
    for i in range(3):
        alone, _ = conjugate_gradients(operator, operator.adjoint, 0.01, b[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=0)
    few = conjugate_gradients(operator, operator.adjoint, 0.01, b, iterations=1)[0]
    assert float((few - together).abs().max()) > 0.1
    limits = torch.tensor([1, 5, 3]).view(-1, 1, 1, 1)
    limited = conjugate_gradients(operator, operator.adjoint, 0.01, b, iterations=limits)[0]
    for i, limit in enumerate(limits.flatten().tolist()):
        alone, _ = conjugate_gradients(operator, operator.adjoint, 0.01, b[i : i + 1], iterations=limit)
        torch.testing.assert_close(limited[i : i + 1], alone, rtol=1e-9, atol=0)
    indefinite, _ = conjugate_gradients(operator, lambda u: -operator.adjoint(u), 0.0, b)
    assert bool((indefinite == 0).all())


@pytest.mark.parametrize(("t", "factor"), [(1, 2), (2, 4)])
def test_pixelation_to_a_grid_of_quarters_is_down_sampling_by_two_and_four(t: int, factor: int) -> None:
    """Shown at full size: every pixel of a block has the block's mean."""
    x0 = white((3, 28, 28), 2).float()
    degradation = Pixelate((3, 28, 28), T=2, grid=7)
    small = F.avg_pool2d(x0, factor)
    blocks = small.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    torch.testing.assert_close(degradation.signal(x0, torch.full((2,), t)), blocks, rtol=0, atol=1e-6)
    # A picture of 28 / factor pixels with noise of s each says as much as the one at full size with noise of factor s.
    measurement = measurement_at(degradation, t, blocks, sigma=0.1 * factor)
    estimate = 0.09 * measurement.operator.adjoint(measurement.operator.solve(blocks, 0.09, measurement.noise))
    prior = 0.09 / factor**2  # variance of a block's mean
    of_means = prior / (prior + 0.1**2) * blocks
    torch.testing.assert_close(estimate.float(), of_means, rtol=1e-5, atol=1e-6)


def test_a_measurement_knows_what_it_does_not_explain() -> None:
    degradation = degradation_of("fade to a colour", GREY)
    x0, noise = white(GREY, 5) * 0.2, white(GREY, 5, 1)
    y = degradation._signal(x0, torch.full((5,), 4)) + 0.02 * noise
    measurement = measurement_at(degradation, 4, y, sigma=0.02)
    torch.testing.assert_close(measurement.residual(x0), 0.02 * noise, rtol=0, atol=1e-6)
    torch.testing.assert_close(measurement.misfit(x0), noise.square().flatten(1).mean(dim=1).sqrt(), rtol=1e-4, atol=0)
    noisy = degradation_of("heat", GREY)
    noisy.sigmas = torch.linspace(0, 0.3, T + 1).double()
    assert measurement_at(noisy, 4, y).sigma == pytest.approx(0.2)


def test_what_cannot_be_measured_is_refused() -> None:
    heat = degradation_of("heat", GREY)
    y = white(GREY, 2)
    for t in (-1, T + 1):
        with pytest.raises(ValueError, match=rf"^t must be in 0\.\.6 \(T of Heat\), got {t}$"):
            operator_of(heat, t)
    for sigma in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"^sigma must be a number of at least 0"):
            measurement_at(heat, 1, y, sigma=sigma)
    with pytest.raises(ValueError, match=r"^y must be of shape \(B, 1, 8, 8\), got \(2, 3, 7, 11\)"):
        measurement_at(heat, 1, white(COLOUR, 2))
    with pytest.raises(ValueError, match="finite float"):
        Measurement(torch.full((1, *GREY), torch.nan), operator_of(heat, 1), 0.0)
    with pytest.raises(ValueError, match=r"shape \(3, 1, 8, 8\) cannot explain measurements of \(2, 1, 8, 8\)"):
        measurement_at(heat, 1, y).residual(white(GREY, 3))
    with pytest.raises(ValueError, match=r"^Clamped cannot be inverted at t = 2: .* A is not linear$"):
        operator_of(Clamped(GREY), 2)
    with pytest.raises(ValueError, match=r"^OfNumPy cannot be inverted at t = 2: .*grad"):
        operator_of(OfNumPy(GREY), 2)
    with pytest.raises(ValueError, match="not linear"):
        check_adjoint(Pixelwise(torch.ones(1)), GREY, tolerance=-1)


def test_some_images_of_a_measurement_are_one_too() -> None:
    weights = torch.stack([torch.full(GREY, float(number)) for number in range(4)])
    measurement = Measurement(white(GREY, 4), Pixelwise(weights), 0.1)
    rows = torch.tensor([3, 0, 3])
    some = measurement.of(rows)
    x = white(GREY, 4, 1)
    torch.testing.assert_close(some.residual(x[rows]), measurement.residual(x)[rows])
    shared = measurement_at(degradation_of("heat", GREY), 2, white(GREY, 4), sigma=0.1)
    assert shared.of(rows).operator is shared.operator
    torch.testing.assert_close(shared.of(rows).residual(x[rows]), shared.residual(x)[rows])


@pytest.mark.parametrize("block", [2, 4])
def test_down_sampling_is_pixelation_to_blocks_of_a_size(block: int) -> None:
    shape = (3, 8, 12)
    x0 = white(shape, 2).float()
    degradation = Pixelate(shape, T=1, block=block)
    blocks = F.avg_pool2d(x0, block).repeat_interleave(block, dim=2).repeat_interleave(block, dim=3)
    torch.testing.assert_close(degradation.signal(x0, torch.ones(2, dtype=torch.int64)), blocks, rtol=0, atol=1e-6)
    degradation.image_shape = shape
    assert isinstance(operator_of(degradation, 1), Axes)
    for wrong in (3, 8, 16):
        with pytest.raises(ValueError, match=r"^block must be a power of two that divides both sides of 8x12 images"):
            Pixelate(shape, T=1, block=wrong)
    with pytest.raises(ValueError, match="grid and block both say"):
        Pixelate(shape, T=1, block=2, grid=2)
