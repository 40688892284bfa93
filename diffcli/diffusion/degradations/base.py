"""The form of every degradation: x_t = A_t x_0 + sigma_t eps, with A_t linear and eps standard normal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from diffcli.utils.compile import full_precision

IDENTITY_TOLERANCE = 1e-4
"""The largest distance of A_0 x from x, for pixels of unit size."""
SMALLEST_SIGMA = 1e-12
"""The least standard deviation of noise that is not 0: a division by less may overflow float32."""

Steps = Annotated[int, Field(ge=1, le=10_000)]
"""T of a degradation that has no schedule."""
Share = Annotated[float, Field(gt=0, lt=1)]
"""The share of an image, or of a part of it, that is left: neither all nor nothing."""


class Degradation(nn.Module, ABC):
    """x_t = A_t x_0 + sigma_t eps: what is done to a clean image at step t.

    A new degradation sets ``T``, writes :meth:`signal`, and sets ``sigmas`` where it draws noise; the rest follows from
    these. Its tables may be plain tensors or buffers: both follow the module to another device, and no cast of the
    module rounds them.

    Images are float (B, C, H, W), about [-0.5, 0.5]; ``t`` is int64 (B,) in 0..T, one step for each image; t = 0 is the
    clean image.
    """

    T: int
    """Number of steps, at least 1."""
    image_shape: tuple[int, int, int] = (1, 28, 28)
    """(C, H, W) of the images that it is used for; set by what builds it from a preset."""
    host_tables: tuple[str, ...] = ("sigmas",)
    """Plain float64 tensors that stay on the CPU, where samplers and figures read them."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        """The device that its tables are on."""
        self.name = type(self).__name__
        """The name that messages call it by; what builds it from a preset sets the name that it is registered under."""
        self._noise_levels: Tensor | None = None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Tables that a degradation registers need no annotation."""

    @cached_property
    def sigmas(self) -> Tensor:
        """Standard deviation of the noise at each t, (T + 1,), ``sigmas[0] = 0``; all 0 where it is not set."""
        return torch.zeros(self.T + 1, dtype=torch.float64)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Registers a buffer, as any module does; but ``sigmas`` becomes a plain table, whichever way it is given."""
        if name == "sigmas":
            self.sigmas = torch.empty(0) if tensor is None else tensor
        else:
            super().register_buffer(name, tensor, persistent)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.device = fn(torch.empty(0)).device
        self._noise_levels = None

        def move(table: Tensor) -> Tensor:
            narrow = self.device.type == "mps" and table.dtype == torch.float64  # which MPS has not
            return (table.float() if narrow else table).to(self.device)

        for name, value in list(self.__dict__.items()):
            if isinstance(value, Tensor) and name not in self.host_tables:
                setattr(self, name, move(value))
        return super()._apply(move, recurse)

    @abstractmethod
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        """A_t x_0: what is left of float32 images at step t, (B, C, H, W)."""

    @property
    def stochastic(self) -> bool:
        """Whether noise is drawn at any t."""
        return bool((self.sigmas > 0).any())

    def sigma(self, t: Tensor) -> Tensor:
        """sigma_t, float32 (B, 1, 1, 1), on the device of ``t``."""
        if self._noise_levels is None or self._noise_levels.device != t.device:
            with torch.inference_mode(False):  # so that a table made while sampling serves in training
                self._noise_levels = self.sigmas.to(torch.float32).to(t.device)
        return self._noise_levels[t].view(-1, 1, 1, 1)

    def _signal(self, x0: Tensor, t: Tensor) -> Tensor:
        # Networks read modes that lower precisions round away.
        with full_precision(x0.device):
            return self.signal(x0.float(), t).to(x0.dtype)

    def degrade(self, x0: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t = A_t x_0 + sigma_t noise, (B, C, H, W).

        Args:
            noise: eps (B, C, H, W); None draws it from PyTorch's global generator. Not used where nothing is drawn.
        """
        signal = self._signal(x0, t)
        if not self.stochastic:
            return signal
        return signal + self.sigma(t) * (torch.randn_like(x0) if noise is None else noise)

    def noise_from(self, xt: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """eps = (x_t - A_t x_0) / sigma_t, the noise that turns ``x0`` into ``xt``; 0 where sigma_t is 0."""
        if not self.stochastic:
            return torch.zeros_like(xt)
        sigma = self.sigma(t)
        return (xt - self._signal(x0, t)) / sigma.where(sigma > 0, torch.inf)

    def snr(self, t: Tensor) -> Tensor | None:
        """Signal-to-noise ratio a_t^2 / sigma_t^2, (B,), for t >= 1; None unless A_t is a number a_t for every
        pixel."""
        return None

    def step_norms(self) -> Tensor | None:
        """Bounds on how step t enlarges a difference of images: ||A_t x|| <= norm_t ||A_{t-1} x|| for
        all x.

        Float64 (T + 1,), norm_0 = 1; None where that is not known. Only the bound on the likelihood asks for it, and is
        the tighter for it: :mod:`diffcli.diffusion.likelihood`.
        """
        return None

    def _white_noise(self) -> Tensor:
        """One image of white noise, always the same, uniform in the range of pixels, (1, C, H, W)."""
        return torch.rand(1, *self.image_shape, generator=torch.Generator().manual_seed(0)).to(self.device) - 0.5

    def white_noise_left(self, t: Tensor) -> Tensor:
        """The signal of one image of white noise of unit variance, always the same, float32 (B, C, H, W).

        A constant part of the signal, such as a colour that it fades to, is left out.
        """
        x0 = self._white_noise()
        images = torch.cat([x0, torch.zeros_like(x0)]).repeat_interleave(len(t), dim=0)
        signal, constant = self._signal(images, t.repeat(2)).chunk(2)
        return (signal - constant) / x0.square().mean().sqrt()

    def power(self, t: Tensor) -> Tensor:
        """The mean square of :meth:`white_noise_left`, float32 (B,): a_t^2 where A_t is a number a_t."""
        return self.white_noise_left(t).flatten(1).square().mean(dim=1)

    def describe(self) -> dict[str, Tensor]:
        """Curves over t = 1..T that a plot of the schedule shows, float64 (T,) each.

        Here, measured on one image of white noise: ``signal``, the root mean square of A_t x_0, and ``change``, that of
        A_t x_0 - x_0, both relative to x_0's; ``sigma`` where noise is drawn.
        """
        x0 = self._white_noise()
        size = x0.square().mean().sqrt()
        rows = []
        for t in torch.split(torch.arange(1, self.T + 1, device=self.device), 100):
            signals = self._signal(x0.expand(len(t), *self.image_shape), t)
            rows.append(
                torch.stack([part.flatten(1).square().mean(dim=1).sqrt() for part in (signals, signals - x0)]) / size
            )
        signal, change = torch.cat(rows, dim=1).double().cpu()
        noise = {"sigma": self.sigmas[1:].double().cpu()} if self.stochastic else {}
        return {"signal": signal, "change": change, **noise}

    @torch.no_grad()
    def ends_in_noise(self) -> bool:
        """Whether x_T is close to standard normal, so that sampling can start from N(0, I).

        That is where sigma_T is within 0.5 of 1, and exceeds what is left of the brightest flat image and of an image
        of white noise. A schedule whose alpha_T is 0.135 passes, one of 0.8 does not.
        """
        sigma = float(self.sigmas[self.T])
        flat = torch.full((1, *self.image_shape), 0.5)
        white = torch.rand(flat.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        signal = self._signal(torch.cat([flat, white]).to(self.device), torch.full((2,), self.T, device=self.device))
        return abs(sigma - 1) <= 0.5 and float(signal.flatten(1).square().mean(dim=1).sqrt().max()) <= sigma


def check_tables(degradation: Degradation) -> None:
    """Checks T and ``sigmas``.

    Raises:
        ValueError: one is not as it must be.
    """
    T = getattr(degradation, "T", None)
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T must be a whole number of at least 1, got {T}")
    sigmas = degradation.sigmas
    valid = torch.isfinite(sigmas) & ((sigmas == 0) | (sigmas >= SMALLEST_SIGMA))
    if sigmas.shape != (T + 1,) or not bool(valid.all()) or float(sigmas[0]) != 0:
        raise ValueError(
            f"sigmas must be {T + 1} numbers (t = 0..T), each 0 or at least {SMALLEST_SIGMA}, the first of them 0"
        )


@torch.no_grad()
def check_basics(degradation: Degradation) -> None:
    """Checks what a model cannot do without, on one image of its shape; :mod:`diffcli.diffusion.testing` has the whole
    set of rules.

    Raises:
        ValueError: T or ``sigmas`` is not as it must be, A_0 is not the identity, or A_T x is of another shape or not
            finite.
    """
    check_tables(degradation)
    x0 = torch.rand(2, *degradation.image_shape, generator=torch.Generator().manual_seed(0)) - 0.5
    x0 = x0.to(degradation.device)
    for t in (0, degradation.T):
        signals = degradation._signal(x0, torch.full((2,), t, device=x0.device))
        if signals.shape != x0.shape or not bool(torch.isfinite(signals).all()):
            raise ValueError(f"signal(x0, t) must be finite and of x0's shape {tuple(x0.shape)}; it is not at t = {t}")
        if t == 0 and float((signals - x0).abs().max()) > IDENTITY_TOLERANCE:
            raise ValueError("signal(x0, t) must be x0 at t = 0")
