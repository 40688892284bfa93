"""Gaussian mixtures in pixel space with all that is known of them exactly, in float64: what posterior samplers are
compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.measurements import Linear, Measurement, operator_of


def matrix_of(operator: Linear, image_shape: tuple[int, int, int]) -> Tensor:
    """A linear map of images as a matrix, float64 (D, D)."""
    units = torch.eye(torch.Size(image_shape).numel(), dtype=torch.float64)
    return operator(units.view(-1, *image_shape)).flatten(1).T


@dataclass(frozen=True)
class MixturePosterior:
    """The Gaussians of a mixture once y is known: y -> weights (B, K) and means (B, K, D)."""

    y_means: Tensor
    """Of y, (K, D)."""
    precisions: Tensor
    """Of y, (K, D, D)."""
    logs: Tensor
    """Of the weights times the root of the precisions' determinant, (K,)."""
    means: Tensor
    """(K, D)."""
    gains: Tensor
    """(K, D, D)."""
    covariances: Tensor
    """(K, D, D)."""

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        offsets = (y[:, None] - self.y_means).movedim(1, 0)  # (K, B, D)
        squares = ((offsets @ self.precisions) * offsets).sum(dim=2)
        weights = torch.softmax(self.logs - 0.5 * squares.T, dim=1)
        return weights, self.means + (offsets @ self.gains.mT).movedim(0, 1)


@dataclass(frozen=True)
class PixelMixture:
    """Images of N(means_k, covariances_k), k drawn by its weight.

    Args:
        weights: (K,).
        means: (K, D).
        covariances: (K, D, D).
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    image_shape: tuple[int, int, int]

    def posterior_of(self, matrix: Tensor, noise: float) -> MixturePosterior:
        """The Gaussians once y = matrix x + sqrt(noise) eps is known."""
        identity = torch.eye(len(matrix), dtype=torch.float64)
        cross = self.covariances @ matrix.T  # (K, D, D)
        precisions = torch.linalg.inv(matrix @ cross + noise * identity)
        logs = self.weights.log() + 0.5 * torch.linalg.slogdet(precisions)[1]
        return MixturePosterior(
            self.means @ matrix.T,
            precisions,
            logs,
            self.means,
            cross @ precisions,
            self.covariances - cross @ precisions @ cross.mT,
        )

    def denoiser(self, degradation: Degradation) -> X0Function:
        """The exact mean of x_0 given x_t, differentiable; t is the same for all images."""
        posteriors: dict[int, MixturePosterior] = {}

        def estimate(xt: Tensor, t: Tensor) -> Tensor:
            step = int(t[0])
            if step not in posteriors:
                with torch.no_grad():
                    matrix = matrix_of(operator_of(degradation, step), self.image_shape)
                    posteriors[step] = self.posterior_of(matrix, float(degradation.sigmas[step]) ** 2)
            weights, means = posteriors[step](xt.flatten(1))
            return torch.einsum("bk,bki->bi", weights, means).view(xt.shape)

        return estimate

    def conditional_mixture(self, measurement: Measurement) -> PixelMixture:
        """The distribution of images given the first image of a measurement, a mixture again."""
        matrix = matrix_of(measurement.operator, self.image_shape)
        posterior = self.posterior_of(matrix, measurement.noise)
        weights, means = posterior((measurement.y - measurement.constant)[:1].flatten(1).double())
        return PixelMixture(weights[0], means[0], posterior.covariances, self.image_shape)

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(D, D)."""
        offsets = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covariances + offsets[:, :, None] * offsets[:, None, :])

    def draw(self, count: int, seed: int) -> Tensor:
        """Images, float64 (count, C, H, W)."""
        generator = torch.Generator().manual_seed(seed)
        components = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        normal = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        offsets = torch.einsum("bij,bj->bi", torch.linalg.cholesky(self.covariances)[components], normal)
        return (self.means[components] + offsets).view(count, *self.image_shape)


def smooth_mixture(components: int, image_shape: tuple[int, int, int], apart: float, seed: int = 0) -> PixelMixture:
    """Images of pixels that go together, of standard deviation about 0.2, around means ``apart`` times as far from
    0."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(image_shape).numel()
    _, height, width = image_shape
    place = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double().repeat(image_shape[0], 1)
    near = torch.exp(-torch.cdist(place, place))
    shapes = torch.randn(components, size, size, generator=generator, dtype=torch.float64)
    coupling = shapes @ shapes.mT / size
    covariances = 0.04 * (0.8 * near + 0.2 * coupling) + 1e-4 * torch.eye(size, dtype=torch.float64)
    means = apart * 0.2 * torch.randn(components, size, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)[:components]
    return PixelMixture(weights / weights.sum(), means, covariances, image_shape)
