"""What is measured of test digits in :mod:`benchmarks.restoring`: operators, noise, the cold models that undo one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.restorers import Problem
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.measurements import Measurement, Operator, Pixelwise, constant_of, operator_of
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.inference.model import Model

SHAPE = (1, 28, 28)
SIGMAS = (0.0, 1 / 255, 0.05)
"""Of the noise on a measurement: none, a level of 8 bits, and 13 of them."""
MOTION = 7
"""Pixels that a moving camera smears a pixel over, along a diagonal."""


class BlockMeans(Operator):
    """Means over blocks of ``size`` x ``size`` pixels, in the first pixel of each block; the others are 0."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, x: Tensor) -> Tensor:
        means = torch.nn.functional.avg_pool2d(x, self.size)
        corner = torch.zeros(self.size, self.size, dtype=x.dtype, device=x.device)
        corner[0, 0] = 1
        return torch.kron(means, corner)

    def adjoint(self, y: Tensor) -> Tensor:
        """Each mean to the pixels of its block, a share each."""
        first = y[..., :: self.size, :: self.size] / self.size**2
        return first.repeat_interleave(self.size, -2).repeat_interleave(self.size, -1)

    def solve(self, b: Tensor, variance: Tensor | float, noise: float) -> Tensor:
        """A A' is 1 / size^2 where there is a mean."""
        means = torch.zeros_like(b.double())
        means[..., :: self.size, :: self.size] = 1 / self.size**2
        return b.double() / (variance * means + noise)


class Motion(Degradation):
    """A camera that moves along a diagonal while the picture is taken; the border is repeated. What a plug-in is."""

    def __init__(self) -> None:
        super().__init__()
        self.T, self.image_shape = 1, SHAPE

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        """x0 at t = 0, smeared at 1."""
        kernel = torch.eye(MOTION, dtype=x0.dtype, device=x0.device)[None, None] / MOTION
        frame = torch.nn.functional.pad(x0, (MOTION // 2,) * 4, mode="replicate")
        return torch.where(t.view(-1, 1, 1, 1) > 0, torch.nn.functional.conv2d(frame, kernel), x0)


@dataclass(frozen=True)
class Row:
    """A way to measure images.

    Args:
        name: its cell.
        operator: A.
        constant: c.
        mask: 1 where something is measured, 0 elsewhere, (1, 1, H, W).
        degradation, t: where A is a degradation at one t, that a cold model may undo.
    """

    name: str
    operator: Operator
    constant: Tensor | float = 0.0
    mask: Tensor | float = 1.0
    degradation: Degradation | None = None
    t: int | None = None

    def measure(self, x0: Tensor, sigma: float, indices: Sequence[int]) -> Measurement:
        """The measurement of images (B, C, H, W), with noise that belongs to their indices."""
        noise = randn_images(image_generators(0, Stream.DISTURBANCE, indices), tuple(x0.shape[1:]))
        y = (self.operator(x0) + self.constant + sigma * self.mask * noise).to(x0.dtype)
        return Measurement(y, self.operator, sigma, self.constant)

    def misfit(self, measurement: Measurement, x: Tensor) -> Tensor:
        """The root mean square of what images do not explain, over sigma, or over a level of 8 bits where there is no
        noise, (B,): of what was measured alone."""
        squares = (measurement.residual(x) * self.mask).square().flatten(1).sum(dim=1)
        count = torch.as_tensor(self.mask).expand(1, *measurement.y.shape[1:]).sum()
        return (squares / count).sqrt() / (measurement.sigma or 1 / 255)

    def undone_by(self, model: Model) -> bool:
        """Whether a cold model undoes this very operator."""
        own = model.denoiser.degradation
        if self.degradation is None or self.t is None or type(own) is not type(self.degradation) or self.t > own.T:
            return False
        white, at = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.tensor([self.t])
        return bool(torch.allclose(own._signal(white, at), self.degradation._signal(white, at), rtol=0, atol=1e-5))


def of_model(name: str, model: Model, t: int) -> Row:
    """What a cold model's degradation does at t."""
    degradation = model.denoiser.degradation
    return Row(name, operator_of(degradation, t), constant_of(degradation, t), degradation=degradation, t=t)


def rows(models: Callable[[str], Model]) -> dict[str, Row]:
    """The rows by name.

    Args:
        models: the ready model of a name.
    """
    half = (torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    corners = torch.zeros(1, *SHAPE)
    corners[..., ::4, ::4] = 1
    every = [
        of_model("blur, t = 20", models("blur-fast"), 20),
        of_model("blur, t = 60", models("blur-fast"), 60),
        of_model("pixelate, t = 60", models("pixelate-fast"), 60),
        Row("mask, half of the pixels", Pixelwise(half), mask=half),
        Row("down-sampling by 4", BlockMeans(4), mask=corners),
        Row(f"motion over {MOTION} pixels", operator_of(Motion(), 1)),
    ]
    return {row.name: row for row in every}


def problem(
    row: Row, x0: Tensor, labels: Tensor, prior: Model, *, sigma: float, indices: Sequence[int], samples: int = 1
) -> Problem:
    """Images measured once and asked for ``samples`` times, image by image."""
    once = row.measure(x0, sigma, indices)
    measurement = Measurement(once.y.repeat_interleave(samples, 0), row.operator, sigma, row.constant)
    return Problem(measurement, labels.repeat_interleave(samples), prior, row.t)
