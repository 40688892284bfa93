"""The report's UNet computes what its textbook formulation does: outputs, gradients, names of weights, precisions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from diffcli.networks.depthwise import depthwise_conv
from diffcli.networks.unet import ChannelNorm, ConvNextBlock, Level, LinearAttention, UNet


def plain_norm(norm: ChannelNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    values = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    return values * norm.weight[:, None, None] + norm.bias[:, None, None]


def plain_block(block: ConvNextBlock, x: Tensor, time: Tensor) -> Tensor:
    first, activation, second, norm = block.main
    hidden = block.depthwise(x) + block.time(time)[:, :, None, None]
    return plain_norm(norm, second(activation(first(hidden)))) + block.residual(x)


def plain_attention(attention: LinearAttention, x: Tensor) -> Tensor:
    """Every pixel's query times the softmax of the keys over all pixels, the weight of every pixel's value (b heads c
    n)."""
    qkv = attention.to_qkv(plain_norm(attention.norm, x)).flatten(2)
    q, k, v = (part.unflatten(1, (attention.heads, -1)) for part in qkv.chunk(3, dim=1))
    scores = torch.einsum("bhcn,bhcm->bhnm", q / math.sqrt(q.shape[2]), k.softmax(dim=3))
    output = torch.einsum("bhnm,bhcm->bhcn", scores, v)
    return x + attention.out(output.reshape(len(x), -1, *x.shape[2:]))


def plain_level(level: Level, hidden: Tensor, time: Tensor) -> Tensor:
    hidden = plain_block(level.second, plain_block(level.first, hidden, time), time)
    return plain_attention(level.attention, hidden)


def plain_unet(unet: UNet, xt: Tensor, t_fraction: Tensor) -> Tensor:
    time = unet.time(t_fraction)
    hidden, skips = plain_level(unet.down[0], xt, time), []
    for shrink, level in zip(unet.shrink, unet.down[1:], strict=True):
        hidden = plain_level(level, shrink(hidden), time)
        skips.append(hidden)
    hidden = plain_level(unet.middle, hidden, time)
    for level, grow in zip(unet.up, unet.grow, strict=True):
        hidden = grow(plain_level(level, torch.cat([hidden, skips.pop()], dim=1), time))
    return unet.head(plain_block(unet.last, hidden, time))


def gradients(output: Tensor, xt: Tensor, unet: UNet) -> dict[str, Tensor]:
    names = ["xt", *dict(unet.named_parameters())]
    target = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    loss = (output - target).square().sum()
    return dict(zip(names, torch.autograd.grad(loss, [xt, *unet.parameters()]), strict=True))


def unet_and_input(
    shape: tuple[int, int, int], batch: int, dtype: torch.dtype, **sizes: int
) -> tuple[UNet, Tensor, Tensor]:
    torch.manual_seed(0)
    unet = UNet(shape, **sizes).to(dtype)
    for norm in unet.modules():
        if isinstance(norm, ChannelNorm):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return unet, torch.randn(batch, *shape, dtype=dtype, requires_grad=True), torch.rand(batch, dtype=dtype)


@pytest.mark.parametrize(
    ("shape", "batch", "sizes"),
    [
        ((1, 12, 8), 2, {}),
        ((3, 12, 8), 1, {"width": 6}),
        ((2, 7, 5), 3, {"width": 10, "downsamplings": 0}),
        ((1, 1, 1), 1, {"width": 4, "downsamplings": 0}),
    ],
)
def test_unet_equals_its_textbook_formulation(shape: tuple[int, int, int], batch: int, sizes: dict[str, int]) -> None:
    unet, xt, t = unet_and_input(shape, batch, torch.float64, **sizes)
    output, plain = unet(xt, t), plain_unet(unet, xt, t)
    torch.testing.assert_close(output, plain, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradients(output, xt, unet), gradients(plain, xt, unet), rtol=1e-7, atol=1e-8)


def test_unet_in_float32_is_within_1e_5_of_its_textbook_formulation() -> None:
    torch.manual_seed(0)
    unet, xt, t = UNet((1, 28, 28)), torch.randn(4, 1, 28, 28, requires_grad=True), torch.rand(4)
    output, plain = unet(xt, t), plain_unet(unet, xt, t)
    assert float((output - plain).detach().abs().max()) < 1e-5
    ours, reference = gradients(output, xt, unet), gradients(plain, xt, unet)
    for name, gradient in reference.items():
        assert float((ours[name] - gradient).norm()) < 1e-4 * float(gradient.norm()), name


def test_unet_does_not_depend_on_the_memory_format_of_its_input() -> None:
    torch.manual_seed(0)
    unet, xt, t = UNet((3, 8, 8)), torch.randn(2, 3, 8, 8), torch.rand(2)
    assert torch.equal(unet(xt, t), unet(xt.contiguous(memory_format=torch.channels_last), t))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_unet_keeps_its_channels_last(channels: int, bfloat16: bool) -> None:
    torch.manual_seed(0)
    unet, first = UNet((channels, 8, 8)), []
    for name, module in unet.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda _, __, out, name=name: first.append(name) if out.is_contiguous() else None
            )
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        unet(torch.randn(2, channels, 8, 8), torch.rand(2))
    assert not [name for name in first if name != "head"]


def test_unet_keeps_the_names_and_shapes_of_its_weights() -> None:
    def block(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "time.1.weight": (before, 32),
            "depthwise.weight": (before, 1, 7, 7),
            "main.0.weight": (2 * after, before, 3, 3),
            "main.2.weight": (after, 2 * after, 3, 3),
            "main.3.weight": (after,),
        }
        if before != after:
            shapes["residual.weight"] = (after, before, 1, 1)
        biases = {key.replace("weight", "bias"): shape[:1] for key, shape in shapes.items()}
        return {f"{name}.{key}": shape for key, shape in (shapes | biases).items()}

    def level(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
        return {
            **block(f"{name}.first", before, after),
            **block(f"{name}.second", after, after),
            f"{name}.attention.norm.weight": (after,),
            f"{name}.attention.norm.bias": (after,),
            f"{name}.attention.to_qkv.weight": (384, after, 1, 1),
            f"{name}.attention.out.weight": (after, 128, 1, 1),
            f"{name}.attention.out.bias": (after,),
        }

    expected = level("down.0", 1, 32) | level("down.1", 32, 64) | level("down.2", 64, 128) | level("middle", 128, 128)
    expected |= level("up.0", 256, 64) | level("up.1", 128, 32) | block("last", 32, 32)
    for index, width in enumerate((32, 64)):
        expected |= {f"shrink.{index}.weight": (width, width, 4, 4), f"shrink.{index}.bias": (width,)}
        expected |= {f"grow.{1 - index}.weight": (width, width, 4, 4), f"grow.{1 - index}.bias": (width,)}
    expected |= {"time.1.weight": (128, 32), "time.1.bias": (128,), "time.3.weight": (32, 128), "time.3.bias": (32,)}
    expected |= {"head.weight": (1, 32, 1, 1), "head.bias": (1,)}
    torch.manual_seed(0)
    weights = UNet((1, 28, 28)).state_dict()
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == expected
    # Drawn in the same order as ever.
    assert float(sum(weight.double().abs().sum() for weight in weights.values())) == pytest.approx(
        70123.34495465049, rel=1e-9
    )


def test_unet_in_bfloat16_is_near_float32_and_its_gradients_are_float32() -> None:
    torch.manual_seed(0)
    unet, xt, t = UNet((1, 28, 28)), torch.randn(8, 1, 28, 28, requires_grad=True), torch.rand(8)
    exact = unet(xt, t)
    reference = gradients(exact, xt, unet)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = unet(xt, t)
    ours = gradients(output.float(), xt, unet)
    assert float((output - exact).detach().norm()) < 0.05 * float(exact.detach().norm())
    for name, gradient in reference.items():
        assert ours[name].dtype == torch.float32
        assert float((ours[name] - gradient).norm()) < 0.1 * float(gradient.norm()), name


def test_channel_norm_sums_the_gradients_of_many_pixels_exactly_in_bfloat16() -> None:
    torch.manual_seed(0)
    norm, x, weights = ChannelNorm(4), torch.randn(32, 4, 28, 28), torch.rand(32, 4, 28, 28).bfloat16()
    exact = torch.autograd.grad((norm(x) * weights).sum(), norm.parameters())
    coarse = torch.autograd.grad((norm(x.bfloat16()) * weights).sum(), norm.parameters())
    for gradient, reference in zip(coarse, exact, strict=True):
        assert float((gradient - reference).norm()) < 0.01 * float(reference.norm())


@pytest.mark.parametrize(
    ("batch", "channels", "height", "width", "side"), [(2, 3, 5, 4, 3), (1, 2, 3, 6, 7), (3, 1, 1, 1, 3)]
)
def test_depthwise_conv_has_the_gradients_of_its_definition(
    batch: int, channels: int, height: int, width: int, side: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, channels, height, width, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(channels, 1, side, side, dtype=torch.float64, requires_grad=True)
    assert torch.equal(depthwise_conv(x, kernel), F.conv2d(x, kernel, padding=side // 2, groups=channels))
    assert gradcheck(depthwise_conv, (x, kernel))
    assert gradcheck(depthwise_conv, (x.detach(), kernel))
    assert gradgradcheck(depthwise_conv, (x, kernel))


def test_depthwise_conv_is_the_plain_operator_where_nothing_is_learnt() -> None:
    x, kernel = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(2, 1, 3, 3)
    for answer in (depthwise_conv(x, kernel), depthwise_conv(x, kernel.requires_grad_())):
        assert answer.grad_fn is not None
    assert type(depthwise_conv(x, kernel.detach()).grad_fn).__name__ == "ConvolutionBackward0"
    with torch.no_grad():
        assert depthwise_conv(x, kernel).grad_fn is None


def test_convnext_block_compiles_as_one_graph() -> None:
    torch.manual_seed(0)
    block, x, time = ConvNextBlock(4, 6, 8), torch.randn(2, 4, 6, 5), torch.randn(2, 8)
    graph = torch.compile(block, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = [torch.autograd.grad(call(x, time).square().sum(), block.parameters()) for call in (block, graph)]
    torch.testing.assert_close(*pairs)
