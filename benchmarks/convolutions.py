"""diffcli with the float32 convolutions of ``convolutions.cpp``, in which docs/trainings was made on a processor without bfloat16.

python -m benchmarks.convolutions train --preset ddpm-const-lowbeta    any command of diffcli
python -m benchmarks.convolutions                                      errors and speed beside PyTorch's own, a table

It needs a C++ compiler, and an x86 processor with AVX2 and FMA. What the library does not cover is left to PyTorch: other devices,
precisions, sides, kernels, and channels that are no multiple of eight.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import c_long, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from benchmarks.rounds import alternate, machine, rate_of, ratios, spread, table
from diffcli.networks import unet
from diffcli.networks.cnn import CNN

SOURCE = Path(__file__).with_suffix(".cpp")
GROUP, PAD = 16, 16
"""As in the source."""
WIDTHS = {28: (3, 7), 14: (3,), 7: (3,)}
"""Of dense kernels, by the side of the images: N points hold the side and half the kernel."""
BATCH = 128


class Images(ctypes.Structure):
    """Where pixels lie, in floats from one to the next."""

    _fields_ = [("data", c_void_p), ("image", c_long), ("channel", c_long), ("pixel", c_long)]


@functools.cache
def library() -> ctypes.CDLL:
    """``convolutions.cpp``, compiled for this processor."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "convolutions.so"
        options = ["-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-signed-zeros", "-shared", "-fPIC"]
        subprocess.run(["c++", *options, str(SOURCE), "-o", str(file)], check=True)
        return ctypes.CDLL(str(file))


def in_parallel(call: Callable[[int, int], object], count: int) -> None:
    """``call(from, to)`` over all of ``count``, in as many threads as PyTorch uses."""
    threads = min(torch.get_num_threads(), count)
    if threads < 2:
        call(0, count)
        return
    ends = [count * k // threads for k in range(threads + 1)]
    list(pool(threads).map(call, ends[:-1], ends[1:]))


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Kept, for the library keeps its memory by thread."""
    return ThreadPoolExecutor(threads)


def pointer(tensor: Tensor | None) -> c_void_p:
    return c_void_p(None if tensor is None else tensor.data_ptr())


def images_of(tensor: Tensor | None) -> Any:
    if tensor is None:
        return ctypes.byref(Images(None, 0, 0, 0))
    image, channel, _, pixel = tensor.stride()
    return ctypes.byref(Images(tensor.data_ptr(), image, channel, pixel))


def order_of(x: Tensor) -> torch.memory_format:
    """Channels last in memory, or pixels last."""
    return torch.channels_last if x.stride(1) == 1 else torch.contiguous_format


def ordered(x: Tensor) -> Tensor:
    """The same without gaps."""
    return x.contiguous(memory_format=order_of(x))


class Dense(torch.autograd.Function):
    """As ``F.conv2d`` with zeros around: (B, I, side, side), (O, I, k, k), (O,) -> (B, O, side, side)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        x, kernel = ordered(x), kernel.contiguous()
        y, spectrum = _dense(x, kernel, bias, adjoint=False)
        ctx.save_for_backward(spectrum, kernel)
        assert y is not None
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        spectrum, kernel = ctx.saved_tensors
        grad = ordered(grad)
        side = grad.shape[-1]
        out_channels, in_channels, width, _ = kernel.shape
        grad_x, grads = _dense(grad, kernel, None, adjoint=True, wanted=ctx.needs_input_grad[0])
        product = torch.empty(spectrum.shape[1], 2 * in_channels * out_channels + PAD)
        in_parallel(
            lambda start, end: library().gradient_(
                *(side, pointer(spectrum), pointer(grads), len(spectrum), in_channels, out_channels),
                *(pointer(product), start, end),
            ),
            len(product),
        )
        grad_kernel = torch.empty_like(kernel)
        library().kernel_from_coefficients_(
            side, width, pointer(product), out_channels, in_channels, pointer(grad_kernel)
        )
        # The coefficient of frequency zero is a sum over the pixels.
        sums = grads[:, 0, :-PAD].unflatten(1, (GROUP, out_channels // 8, 2, 8))[:, :, :, 0]
        return grad_x, grad_kernel, sums.sum(dim=(0, 1)).flatten()


def _dense(
    x: Tensor, kernel: Tensor, bias: Tensor | None, adjoint: bool, wanted: bool = True
) -> tuple[Tensor | None, Tensor]:
    """The convolution, or the adjoint one, None if it is not wanted; and the coefficients of ``x``."""
    batch, channels, side, _ = x.shape
    others = kernel.shape[1 if adjoint else 0]
    count, groups = library().coefficients_(side), -(-batch // GROUP)
    y = coefficients = None
    if wanted:
        y = torch.empty(batch, others, side, side, memory_format=order_of(x))
        coefficients = torch.empty(count, 2 * channels * others + PAD)
        library().kernel_to_coefficients_(
            side, kernel.shape[-1], pointer(kernel), *kernel.shape[:2], int(adjoint), pointer(coefficients)
        )
    spectrum = torch.empty(groups, count, 2 * GROUP * channels + PAD)
    in_parallel(
        lambda start, end: library().dense_(
            *(side, images_of(x), images_of(y), batch, channels, others),
            *(pointer(coefficients), pointer(bias), pointer(spectrum), start, end),
        ),
        groups,
    )
    return y, spectrum


class Depthwise(torch.autograd.Function):
    """As :func:`diffcli.networks.depthwise.depthwise_conv` with kernels of 7 x 7."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        x, kernel = x.contiguous(memory_format=torch.channels_last), kernel.contiguous()
        ctx.save_for_backward(x, kernel)
        return _depthwise(x, kernel, adjoint=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, kernel = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_kernel = torch.empty_like(kernel)
        batch, channels, side, _ = x.shape
        library().depthwise_gradient_(side, pointer(x), pointer(grad), batch, channels, pointer(grad_kernel))
        return _depthwise(grad, kernel, adjoint=True), grad_kernel


def _depthwise(x: Tensor, kernel: Tensor, adjoint: bool) -> Tensor:
    batch, channels, side, _ = x.shape
    y = torch.empty_like(x)

    def call(start: int, end: int) -> None:
        library().depthwise_(
            side, pointer(x[start:end]), pointer(kernel), end - start, channels, int(adjoint), pointer(y[start:end])
        )

    in_parallel(call, batch)
    return y


def covered(x: Tensor, kernel: Tensor) -> bool:
    """Whether the library has this convolution, its stride and padding aside."""
    known = x.device.type == "cpu" and x.dtype == kernel.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    sides = x.dim() == 4 and x.shape[-1] == x.shape[-2] and x.shape[-1] in WIDTHS
    return known and sides and all(channels % 8 == 0 for channels in (x.shape[1], len(kernel)))


@contextmanager
def installed() -> Iterator[None]:
    """While it lasts, every network convolves with the library where it can."""
    plain, plain_depthwise = nn.Conv2d._conv_forward, unet.depthwise_conv

    def convolve(self: nn.Conv2d, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        width = kernel.shape[-1]
        same = self.padding == (width // 2, width // 2) and self.padding_mode == "zeros"
        simple = self.groups == 1 and self.stride == self.dilation == (1, 1)
        if same and simple and bias is not None and covered(x, kernel) and width in WIDTHS[x.shape[-1]]:
            return Dense.apply(x, kernel, bias)
        return plain(self, x, kernel, bias)

    def depthwise(x: Tensor, kernel: Tensor) -> Tensor:
        if kernel.shape[-1] == 7 and covered(x, kernel):
            return Depthwise.apply(x, kernel)
        return plain_depthwise(x, kernel)

    nn.Conv2d._conv_forward, unet.depthwise_conv = convolve, depthwise  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Conv2d._conv_forward, unet.depthwise_conv = plain, plain_depthwise  # type: ignore[method-assign]


def compare(rounds: int) -> str:
    """Training steps with PyTorch's convolutions and with these: relative errors of output and gradients, speed."""
    torch.manual_seed(0)
    rows = [[name, *measured(build((1, 28, 28)), rounds)] for name, build in (("CNN", CNN), ("UNet", unet.UNet))]
    header = ["network", "PyTorch, images/s", "these", "ratio", "error of outputs", "of gradients"]
    return f"{machine()}\n\n{table(header, rows)}"


def measured(network: nn.Module, rounds: int) -> list[str]:
    """A network's row of the table, its name aside."""
    inputs = torch.randn(BATCH, 1, 28, 28), torch.rand(BATCH)
    target = torch.randn(BATCH, 1, 28, 28)

    def step() -> Tensor:
        network.zero_grad()
        output = network(*inputs)
        F.mse_loss(output, target).backward()
        return output.detach()

    def step_with_these() -> Tensor:
        with installed():
            return step()

    results = [(run(), gradients(network)) for run in (step, step_with_these)]
    errors = [f"{relative_error(a, b):.1e}" for a, b in zip(*results, strict=True)]
    rates = alternate({"PyTorch": rate_of(step, BATCH), "these": rate_of(step_with_these, BATCH)}, rounds)
    return [*map(spread, rates.values()), spread(ratios(rates, "these", "PyTorch")), *errors]


def relative_error(exact: Tensor, found: Tensor) -> float:
    return ((exact - found).norm() / exact.norm()).item()


def gradients(network: nn.Module) -> Tensor:
    """Those of all parameters that have one, in a row."""
    return parameters_to_vector(p.grad for p in network.parameters() if p.grad is not None)


def main() -> None:
    if len(sys.argv) > 1:
        from diffcli.cli import main as diffcli

        with installed():
            diffcli()
    else:
        print(compare(rounds=3))


if __name__ == "__main__":
    main()
