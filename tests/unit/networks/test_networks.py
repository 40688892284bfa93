"""The networks: the report's CNN (2.1.2) and UNet (3.1), and what all of them promise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from diffcli.networks import NETWORKS
from diffcli.networks.cnn import CNN
from diffcli.networks.compact import CompactUNet, ResidualBlock, SelfAttention
from diffcli.networks.embeddings import FourierTimeEncoding, SinusoidalTimeEmbedding
from diffcli.networks.testing import check_network
from diffcli.networks.unet import ConvNextBlock, LinearAttention, UNet


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_cnn_has_the_reports_parameter_count() -> None:
    assert parameters(CNN((1, 28, 28))) == 274_705


def test_cnn_has_the_reports_layers() -> None:
    convolutions = [module for module in CNN((1, 28, 28)).modules() if isinstance(module, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (1, 16),
        (16, 32),
        (32, 32),
        (32, 16),
        (16, 1),
    ]
    assert [c.kernel_size[0] for c in convolutions] == [7, 7, 7, 7, 3]


def test_cnn_output_is_signed_at_the_start() -> None:
    # A GELU on the last layer could not answer noise: its output never goes below -0.17.
    torch.manual_seed(0)
    network = CNN((1, 28, 28))
    nn.init.constant_(network.head.bias, -5.0)
    assert float(network(torch.randn(2, 1, 28, 28), torch.rand(2)).max().detach()) < -1


def test_unet_has_the_reports_shape() -> None:
    unet = UNet((1, 28, 28))
    assert parameters(unet) == 3_736_980
    # 32 feature maps first, doubled by each of the two downsamplings (report 3.4).
    assert [level.first.main[2].out_channels for level in unet.down] == [32, 64, 128]
    assert [shrink.stride for shrink in unet.shrink] == [(2, 2), (2, 2)]


def test_unet_adds_the_time_in_every_block() -> None:
    blocks = [module for module in UNet((1, 8, 8)).modules() if isinstance(module, ConvNextBlock)]
    assert len(blocks) == 13
    for block in blocks:
        x = torch.randn(2, block.depthwise.in_channels, 4, 4)
        assert not torch.allclose(block(x, torch.zeros(2, 32)), block(x, torch.ones(2, 32)))


def test_convnext_block_normalises_before_the_residual() -> None:
    block = ConvNextBlock(8, 8, 4)
    x = torch.randn(3, 8, 5, 5)
    branch = block(x, torch.randn(3, 4)) - x
    assert torch.allclose(branch.mean(dim=1), torch.zeros(3, 5, 5), atol=1e-5)
    assert torch.allclose(branch.var(dim=1, unbiased=False), torch.ones(3, 5, 5), atol=0.05)


def test_linear_attention_equals_its_sum() -> None:
    attention = LinearAttention(6, heads=2, head_width=3)
    x = torch.randn(1, 6, 2, 2)
    q, k, v = attention.to_qkv(attention.norm(x)).reshape(3, 2, 3, 4)
    out = torch.zeros(2, 3, 4)
    for head in range(2):
        weights = k[head].softmax(dim=1)
        for pixel in range(4):
            for other in range(4):
                out[head, :, pixel] += v[head, :, other] * (weights[:, other] * q[head, :, pixel]).sum() / 3**0.5
    assert torch.allclose(attention(x), x + attention.out(out.reshape(1, 6, 2, 2)), atol=1e-5)


def test_unet_refuses_sides_that_it_cannot_halve() -> None:
    with pytest.raises(ValueError, match="must be divisible by 4, got 30x30"):
        UNet((1, 30, 30))
    assert UNet((1, 30, 20), downsamplings=1)(torch.zeros(1, 1, 30, 20), torch.ones(1)).shape == (1, 1, 30, 20)


def test_sinusoidal_embedding_tells_neighbouring_steps_apart() -> None:
    embedding = SinusoidalTimeEmbedding(32, 1000)
    steps = embedding(torch.arange(1, 1001) / 1000)
    assert torch.allclose(steps[41, :16], torch.sin(42.0 * 10_000 ** (-torch.arange(16) / 15)), atol=1e-4)
    assert float((steps[1:] - steps[:-1]).norm(dim=1).min()) > 0.1


def test_time_encoding_frequencies() -> None:
    encoding = FourierTimeEncoding()
    assert encoding.frequencies.tolist() == pytest.approx([0.0] + [2 * math.pi * 1.5**i for i in range(15)], rel=1e-6)
    assert torch.equal(encoding(torch.zeros(1)), torch.zeros(1, 32))
    half = encoding(torch.tensor([0.5]))
    assert half.shape == (1, 32)
    assert float(half[0, 1]) == pytest.approx(math.sin(math.pi), abs=1e-6)
    assert float(half[0, 17]) == pytest.approx(math.cos(math.pi) - 1, abs=1e-6)


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"diffusers-unet"}))  # whose library may be missing
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 8), (1, 16, 16)])
def test_networks_keep_the_shape_and_use_the_time(name: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](image_shape=shape).eval()
    # A zero-initialised last layer would hide whether time matters.
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.05)
    xt = torch.randn(2, *shape)
    early, late = network(xt, torch.tensor([0.1, 0.1])), network(xt, torch.tensor([0.9, 0.9]))
    assert early.shape == xt.shape
    assert not torch.allclose(early, late)


@pytest.mark.parametrize("attention", [False, True])
def test_compact_unet_is_compact(attention: bool) -> None:
    network = CompactUNet((1, 28, 28), width=32, blocks=2, middle=4, attention=attention)
    assert sum(weight.numel() for weight in network.parameters()) < 1_000_000
    assert network(torch.randn(2, 1, 28, 28), torch.rand(2)).shape == (2, 1, 28, 28)


def test_self_attention_is_its_sum_and_starts_as_the_identity() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(64).double()
    hidden = torch.randn(2, 64, 3, 3, dtype=torch.float64)
    assert torch.equal(attention(hidden), hidden)
    nn.init.normal_(attention.out.weight)
    q, k, v = attention.to_qkv(attention.norm(hidden)).flatten(2).chunk(3, dim=1)
    output = torch.zeros_like(q)
    for head in (slice(0, 32), slice(32, 64)):
        scores = (q[:, head].mT @ k[:, head] / math.sqrt(32)).softmax(dim=-1)
        output[:, head] = (scores @ v[:, head].mT).mT
    expected = hidden + attention.out(output.view_as(hidden))
    assert torch.allclose(attention(hidden), expected)


@pytest.mark.parametrize(
    "bad",
    [
        {"width": 12},
        {"width": 0},
        {"blocks": 0},
        {"middle": 0},
        {"blocks": 10**9},
        {"patch": 0},
        {"patch": 10**9},
        {"levels": 1},
        {"levels": 10**9},
    ],
)
def test_compact_unet_refuses_bad_sizes(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CompactUNet((1, 8, 8), **bad)


@pytest.mark.parametrize(("patch", "levels", "divisor"), [(2, 2, 4), (4, 2, 8), (2, 3, 8), (4, 3, 16), (3, 2, 6)])
def test_compact_unet_refuses_sides_that_do_not_divide(patch: int, levels: int, divisor: int) -> None:
    for shape in ((1, divisor + 2, 2 * divisor), (1, 2 * divisor, divisor // 2)):
        line = rf"sides must be divisible by {divisor}, .* patch {patch} and levels {levels}, got {shape[1]}x{shape[2]}"
        with pytest.raises(ValueError, match=line):
            CompactUNet(shape, 8, patch=patch, levels=levels)
    xt = torch.zeros(1, 1, divisor, 2 * divisor)
    assert CompactUNet(xt.shape[1:], 8, patch=patch, levels=levels)(xt, torch.ones(1)).shape == xt.shape


def randomise(network: nn.Module) -> nn.Module:
    """The network with every weight random: those that begin as zeros, too."""
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    return network.eval()


def test_a_patch_of_four_is_a_patch_of_two_of_pixels_unshuffled_before() -> None:
    torch.manual_seed(0)
    once, twice = CompactUNet((12, 8, 8), 16, attention=True), CompactUNet((3, 16, 16), 16, attention=True, patch=4)
    unshuffle = nn.PixelUnshuffle(2)
    channel = torch.arange(48.0).view(1, 48, 1, 1)
    order = unshuffle(unshuffle(nn.functional.pixel_shuffle(channel, 4))).flatten().long()
    weights = randomise(twice).state_dict()
    weights["stem.1.weight"] = weights["stem.1.weight"][:, order]
    weights["head.2.weight"], weights["head.2.bias"] = weights["head.2.weight"][order], weights["head.2.bias"][order]
    once.load_state_dict(weights)
    xt, time = torch.randn(2, 3, 16, 16), torch.rand(2)
    expected = nn.functional.pixel_shuffle(once.eval()(unshuffle(xt), time), 2)
    assert torch.allclose(twice(xt, time), expected, atol=1e-5 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_every_level_of_the_compact_unet_has_half_the_side_and_twice_the_width(levels: int) -> None:
    network = randomise(CompactUNet((3, 32, 48), 8, blocks=2, attention=True, levels=levels))
    shapes: list[tuple[int, ...]] = []
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            block.register_forward_hook(lambda _block, _inputs, output: shapes.append(tuple(output.shape[1:])))
    xt = torch.randn(2, 3, 32, 48)
    network(xt, torch.rand(2)).square().mean().backward()
    sides = [(8 * 2**level, 16 // 2**level, 24 // 2**level) for level in range(levels)]
    down = [side for side in sides[:-1] for _ in range(2)]
    assert shapes == [*down, *[sides[-1]] * 3, *reversed(down)]
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_the_compact_unet_attends_at_the_last_level_and_where_it_is_cheap() -> None:
    def positions(side: int, **sizes: int) -> list[int]:
        network, counts = CompactUNet((1, side, side), 8, attention=True, **sizes), list[int]()
        for attention in network.modules():
            if isinstance(attention, SelfAttention):
                attention.register_forward_hook(lambda _layer, _inputs, output: counts.append(output[0, 0].numel()))
        network(torch.zeros(1, 1, side, side), torch.ones(1))
        return counts

    assert positions(64, patch=4) == [64, 64]
    assert positions(64, levels=3) == [256, 64, 64, 256]
    assert positions(128, levels=4) == [256, 64, 64, 256]  # none at 32x32 = 1,024
    assert positions(128) == [1024, 1024]


@pytest.mark.parametrize("sizes", [{"patch": 1}, {"patch": 4}, {"levels": 3}], ids=str)
def test_the_compact_unet_keeps_the_rules_at_every_size(sizes: dict[str, int]) -> None:
    check_network(CompactUNet, width=8, attention=True, **sizes)


@pytest.mark.parametrize("bad", [{"channels": []}, {"channels": [0]}, {"kernel_size": 4}, {"time_width": 0}])
def test_cnn_refuses_bad_sizes(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CNN((1, 8, 8), **bad)  # type: ignore[arg-type]
