"""Linear measurements of images, y = A x_0 + c + sigma eps: a degradation at one t, its adjoint A', and what inverts A
A'.

    >>> from diffcli.diffusion.degradations import Pixelate
    >>> from diffcli.diffusion.measurements import operator_of
    >>> A = operator_of(Pixelate((1, 28, 28), T=2, grid=7), 2)  # averages over blocks of 4x4: super-resolution by 4

Rows and columns that one matrix each acts on (blur, heat, pixelation) are inverted in the singular bases of the two
matrices, pixels that are weighed (masks, fading) one by one. All others, of plug-ins too, have A' from autograd; small
images are inverted by A as one matrix, larger ones by conjugate gradients.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation, Pixelate, Separable
from diffcli.utils.compile import full_precision

Linear = Callable[[Tensor], Tensor]
"""A linear map of images (B, C, H, W), each for itself."""

PRECISION = 1e-6
"""The least noise that a measurement is taken to have: pixels in float32 have it, whatever is said of them."""
LINEARITY = 1e-4
"""The largest distance of a linear map from its weights, or from its adjoint, relative to its values."""
ITERATIONS, TOLERANCE = 300, 1e-8
"""Of conjugate gradients where an iteration is cheap: how many at most, and what of the right side may be left."""

DENSE = 1024
"""The most numbers of an image, C H W, for which A is held as one matrix: 8 MB, inverted in a second."""


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The scalar product of each image of ``a`` with that of ``b``, (B, 1, 1, 1)."""
    return (a * b).flatten(1).sum(dim=1).view(-1, 1, 1, 1)


def to_double(x: Tensor) -> Tensor:
    """``x`` in float64, in float32 on a device that has no more (MPS)."""
    return x.float() if x.device.type == "mps" else x.double()


def conjugate_gradients(
    A: Linear,
    H: Linear,
    noise: float,
    b: Tensor,
    *,
    iterations: int | Tensor = ITERATIONS,
    tolerance: float = TOLERANCE,
    preconditioner: Linear | None = None,
) -> tuple[Tensor, Tensor]:
    """(u, H u) with (A H + noise) u = b, float64 (B, C, H, W) each (Hestenes & Stiefel 1952; Saad 2003, Algorithm 9.1).

    Each image has step lengths of its own and stops by itself: those beside it change nothing.

    Args:
        A, H: their product is symmetric and positive; an image stops where it turns out not to be.
        noise: not negative.
        iterations: at most, a number or int64 (B, 1, 1, 1); each asks once for A and once for H.
        tolerance: what of ||b|| may be left of an image for it to stop.
        preconditioner: about the inverse of the matrix, symmetric and positive; None is the identity.
    """
    r = to_double(b)
    u, Hu = torch.zeros_like(r), torch.zeros_like(r)
    goal = tolerance**2 * dot(r, r)
    active = dot(r, r) > 0
    p = torch.zeros_like(r)
    previous = torch.ones_like(goal)
    for count in range(int(torch.as_tensor(iterations).max())):
        active = active & (count < iterations)
        if not bool(active.any()):
            break
        z = r if preconditioner is None else to_double(preconditioner(r))
        rz = dot(r, z)
        p = z + rz / previous * p
        Hp = to_double(H(p))
        Mp = to_double(A(Hp)) + noise * p
        curvature = dot(p, Mp)
        active = active & (curvature > 0) & (rz > 0)
        step = torch.where(active, rz / curvature.where(active, 1), 0)
        u, Hu, r = u + step * p, Hu + step * Hp, r - step * Mp
        active = active & (dot(r, r) > goal)
        previous = rz.where(active, 1)
    return u, Hu


class Operator(ABC):
    """A: the linear part of what is done to images (B, C, H, W), with its adjoint A'."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """A x, (B, C, H, W)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A' y, (B, C, H, W): <A x, y> = <x, A' y> for all x and y."""

    def solve(self, b: Tensor, variance: Tensor | float, noise: float) -> Tensor:
        """(r^2 A A' + sigma^2)^-1 b, float64 (B, C, H, W).

        Args:
            variance: r^2, a number or (B, 1, 1, 1).
            noise: sigma^2, positive.
        """
        return conjugate_gradients(self, lambda u: variance * self.adjoint(u), noise, b)[0]

    def of(self, rows: Tensor) -> Operator:
        """A of some images of the batch, where each may have its own."""
        return self


class Axes(Operator):
    """A x = R x C', with R along the rows' axis and C along the columns': inverted in the singular bases of R and C.

    Args:
        rows: R, (H, H).
        columns: C, (W, W).
    """

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        self.rows, self.columns = to_double(rows), to_double(columns)
        (u_rows, s_rows, _), (u_columns, s_columns, _) = (
            torch.linalg.svd(matrix.cpu().double()) for matrix in (rows, columns)
        )
        self.u_rows, self.u_columns = u_rows.to(self.rows), u_columns.to(self.rows)
        self.left = torch.outer(s_rows, s_columns).to(self.rows)
        """The part of each mode that is left, (H, W)."""

    def __call__(self, x: Tensor) -> Tensor:
        return (self.rows @ to_double(x) @ self.columns.mT).to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """R' y C."""
        return (self.rows.mT @ to_double(y) @ self.columns).to(y.dtype)

    def solve(self, b: Tensor, variance: Tensor | float, noise: float) -> Tensor:
        """U (U' b / (r^2 s^2 + sigma^2)), s what is left of a mode and U the left singular bases."""
        modes = self.u_rows.mT @ to_double(b) @ self.u_columns
        return self.u_rows @ (modes / (variance * self.left.square() + noise)) @ self.u_columns.mT


class Pixelwise(Operator):
    """A x = w x, a weight for each pixel: masks, fading, in-painting.

    Args:
        weights: w, that goes with (1, C, H, W), or with (B, C, H, W) where each image has its own.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = to_double(weights)

    def __call__(self, x: Tensor) -> Tensor:
        return (self.weights * to_double(x)).to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """w y."""
        return self(y)

    def solve(self, b: Tensor, variance: Tensor | float, noise: float) -> Tensor:
        """b / (r^2 w^2 + sigma^2)."""
        return to_double(b) / (variance * self.weights.square() + noise)

    def of(self, rows: Tensor) -> Operator:
        """The weights of some images of the batch."""
        return self if len(self.weights) == 1 else Pixelwise(self.weights[rows])


class Differentiated(Operator):
    """Any linear A that PyTorch can differentiate; its adjoint is the product with its Jacobian, transposed.

    Args:
        function: x -> A x, of x as :func:`to_double` makes it.
    """

    def __init__(self, function: Linear) -> None:
        self.function = function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(to_double(x)).to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """J' y, by autograd."""
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros_like(to_double(y)).requires_grad_()
            (product,) = torch.autograd.grad(self.function(x), x, to_double(y).clone())
        return product.to(y.dtype)


class Dense(Differentiated):
    """A linear map of small images: A as one matrix, inverted in the eigenvectors of A A'.

    Args:
        function: x -> A x, of x as :func:`to_double` makes it.
        image_shape: (C, H, W), with C H W = D.
        device: of the images.
    """

    def __init__(self, function: Linear, image_shape: tuple[int, int, int], device: torch.device) -> None:
        super().__init__(function)
        size = math.prod(image_shape)
        with torch.no_grad():
            columns = function(to_double(torch.eye(size, device=device)).view(size, *image_shape)).flatten(1)
        self.matrix = columns.mT
        """A, (D, D)."""
        squares, vectors = torch.linalg.eigh((self.matrix @ columns).cpu().double())
        self.squares, self.vectors = squares.clamp(min=0).to(self.matrix), vectors.to(self.matrix)

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y."""
        return (to_double(y).flatten(1) @ self.matrix).view(y.shape).to(y.dtype)

    def solve(self, b: Tensor, variance: Tensor | float, noise: float) -> Tensor:
        """U (U' b / (r^2 s^2 + sigma^2)), with A A' = U s^2 U'."""
        variances = variance.flatten(1) if isinstance(variance, Tensor) else variance
        modes = to_double(b).flatten(1) @ self.vectors
        return ((modes / (variances * self.squares + noise)) @ self.vectors.mT).view(b.shape)


def check_adjoint(operator: Operator, image_shape: tuple[int, int, int], tolerance: float = LINEARITY) -> None:
    """Checks <A x, y> = <x, A' y> on white noise.

    Raises:
        ValueError: they differ, relative to the sizes of A x and y: A is not linear, or A' not its adjoint.
    """
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 4, *image_shape, generator=generator, dtype=torch.float64).unbind()
    Ax = operator(x)
    errors = (dot(Ax, y) - dot(x, operator.adjoint(y))).abs() / (dot(Ax, Ax) * dot(y, y)).sqrt().clamp(min=1e-12)
    if not bool((errors <= tolerance).all()):
        raise ValueError(f"<A x, y> and <x, A' y> differ by {float(errors.max()):.2g}: A is not linear")


def operator_of(degradation: Degradation, t: int) -> Operator:
    """A_t of a degradation, without its constant part.

    Raises:
        ValueError: ``t`` is outside 0..T, or A_t is of no kind that is known here and PyTorch cannot differentiate it,
            or it is not linear.
    """
    if not 0 <= t <= degradation.T:
        raise ValueError(f"t must be in 0..{degradation.T} (T of {degradation.name}), got {t}")
    at_t = torch.tensor([t], device=degradation.device)
    # A subclass may have a signal of its own.
    signal = type(degradation).signal
    if isinstance(degradation, Separable) and signal is Separable.signal:
        return Axes(degradation.rows[t], degradation.columns[t])
    if isinstance(degradation, Pixelate) and signal is Pixelate.signal:
        return Axes(*(degradation.axis(averages, at_t)[0, 0] for averages in (degradation.rows, degradation.columns)))

    if degradation.snr(at_t) is not None:  # a number for all pixels, whatever the size of the images
        return Pixelwise(degradation._signal(torch.ones(1, 1, 1, 1, device=degradation.device), at_t))

    linear = _linear_part(degradation, at_t)
    # A linear map that does to white noise what weights do is these weights.
    white = to_double(
        torch.randn(1, *degradation.image_shape, generator=torch.Generator().manual_seed(0)).to(degradation.device)
    )
    with torch.no_grad():
        weights = linear(torch.ones_like(white))
        if float((linear(white) - weights * white).abs().max()) <= PRECISION * float(white.abs().max()):
            return Pixelwise(weights)
    operator = Differentiated(linear)
    try:
        check_adjoint(operator, degradation.image_shape)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{degradation.name} cannot be inverted at t = {t}: {error}") from error
    if math.prod(degradation.image_shape) <= DENSE:
        return Dense(linear, degradation.image_shape, degradation.device)
    return operator


def _linear_part(degradation: Degradation, at_t: Tensor) -> Linear:
    """x -> A_t x, with tables in float64: in float32 the constant part's rounding alone would be no linear map."""
    exact = deepcopy(degradation)
    for module in exact.modules():
        for tables in (module.__dict__, module._buffers):
            for name, table in list(tables.items()):
                if isinstance(table, Tensor) and table.is_floating_point():
                    tables[name] = to_double(table)

    def signal(x: Tensor) -> Tensor:
        with full_precision(x.device):
            return exact.signal(x, at_t.expand(len(x)))

    zero = to_double(torch.zeros(1, *degradation.image_shape, device=degradation.device))
    try:
        with torch.no_grad():
            constant = signal(zero)
    except RuntimeError:  # it brings numbers of its own, in float32
        constant = constant_of(degradation, int(at_t))
        return lambda x: degradation._signal(x, at_t.expand(len(x))) - constant
    return lambda x: signal(x) - constant


@torch.no_grad()
def constant_of(degradation: Degradation, t: int) -> Tensor:
    """c of A_t x + c, what becomes of the image 0, (1, C, H, W): not 0 where images fade to another colour than
    mid-grey."""
    zero = torch.zeros(1, *degradation.image_shape, device=degradation.device)
    return degradation._signal(zero, torch.tensor([t], device=degradation.device))


@dataclass(frozen=True, eq=False)
class Measurement:
    """y = A x_0 + c + sigma eps, what is known of a batch of images x_0 in [-0.5, 0.5].

    :func:`measurement_at` makes one of a degradation.

    Args:
        y: (B, C, H, W).
        operator: A.
        sigma: standard deviation of the noise, at least 0.
        constant: c, that goes with y, the same for all images.

    Raises:
        ValueError: ``sigma`` is negative or not finite, or ``y`` is not.
    """

    y: Tensor
    operator: Operator
    sigma: float
    constant: Tensor | float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"sigma must be a number of at least 0, got {self.sigma}")
        if self.y.ndim != 4 or not self.y.is_floating_point() or not bool(torch.isfinite(self.y).all()):
            raise ValueError("y must be finite float images (B, C, H, W)")

    @property
    def noise(self) -> float:
        """sigma^2, not less than numbers in float32 have."""
        return max(self.sigma, PRECISION) ** 2

    def of(self, rows: Tensor) -> Measurement:
        """The measurement of some images of the batch, by their indices, which may repeat."""
        return replace(self, y=self.y[rows], operator=self.operator.of(rows))

    def residual(self, x: Tensor) -> Tensor:
        """y - c - A x, float64 (B, C, H, W): what images x do not explain.

        Raises:
            ValueError: x is not as many images as were measured, or of another size.
        """
        if x.shape != self.y.shape:
            raise ValueError(f"images of shape {tuple(x.shape)} cannot explain measurements of {tuple(self.y.shape)}")
        return to_double(self.y) - self.constant - self.operator(to_double(x))

    def misfit(self, x: Tensor) -> Tensor:
        """The root mean square of (y - c - A x) / sigma, (B,): 1 where x explains y up to its noise, sigma at least
        ``PRECISION``."""
        return (self.residual(x).square().flatten(1).mean(dim=1) / self.noise).sqrt()


def measurement_at(degradation: Degradation, t: int, y: Tensor, *, sigma: float | None = None) -> Measurement:
    """The measurement of x_0 that x_t = y is.

    Args:
        t: in 0..T.
        y: (B, C, H, W), of the degradation's shape, on its device.
        sigma: of the noise that is on y; None is what the degradation adds, sigma_t.

    Raises:
        ValueError: see :func:`operator_of` and :class:`Measurement`; or ``y`` is of another shape.
    """
    operator = operator_of(degradation, t)
    if y.shape[1:] != degradation.image_shape:
        expected = ", ".join(map(str, degradation.image_shape))
        raise ValueError(f"y must be of shape (B, {expected}), got {tuple(y.shape)}")
    sigma_t = float(degradation.sigmas[t])
    return Measurement(y, operator, sigma_t if sigma is None else sigma, constant_of(degradation, t))
