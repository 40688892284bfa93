"""The convolutions that docs/trainings was made with, beside PyTorch's."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.convolutions import WIDTHS, Dense, Depthwise, gradients, installed
from diffcli.networks.cnn import CNN
from diffcli.networks.unet import UNet

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None or not torch.backends.cpu.get_cpu_capability().startswith(("AVX2", "AVX512")),
    reason="needs a C++ compiler and a processor with AVX2",
)


def values(call: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The output, and the gradients of all inputs for one weighting of the outputs."""
    given = [tensor.detach().requires_grad_() for tensor in inputs]
    output = call(*given)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).sin().view(output.shape)
    return [output, *torch.autograd.grad((output * weights).sum(), given)]


def assert_same(found: list[Tensor], exact: list[Tensor]) -> None:
    for a, b in zip(found, exact, strict=True):
        assert (a - b).norm() / b.norm() < 1e-5


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("side", "width"), [(side, width) for side, widths in WIDTHS.items() for width in widths])
@pytest.mark.parametrize("batch", [1, 37])
def test_dense(side: int, width: int, batch: int, order: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, 16, side, side).contiguous(memory_format=order)
    kernel, bias = torch.randn(24, 16, width, width), torch.randn(24)
    exact = values(lambda *t: F.conv2d(*t, padding=width // 2), x.double(), kernel.double(), bias.double())
    assert_same(values(Dense.apply, x, kernel, bias), exact)


@pytest.mark.parametrize("side", [28, 14, 7])
def test_depthwise(side: int) -> None:
    torch.manual_seed(0)
    x, kernel = torch.randn(5, 16, side, side), torch.randn(16, 1, 7, 7)
    exact = values(lambda *t: F.conv2d(*t, padding=3, groups=16), x.double(), kernel.double())
    assert_same(values(Depthwise.apply, x, kernel), exact)


@pytest.mark.parametrize("build", [CNN, UNet])
def test_networks(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = build((1, 28, 28))
    inputs = torch.randn(3, 1, 28, 28), torch.rand(3)

    def outcome() -> list[Tensor]:
        network.zero_grad()
        output = network(*inputs)
        output.square().mean().backward()
        return [output.detach(), gradients(network)]

    plain = outcome()
    with installed():
        ours = outcome()
    assert_same(ours, plain)
    assert not torch.equal(ours[0], plain[0])  # it was really the others that computed
