"""The transformer: what its attention and its modulation compute, and that it begins as nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffcli.networks.dit import DiT, TransformerBlock, positions_of
from diffcli.networks.testing import check_network


def randomise(network: nn.Module) -> Any:
    """The network with every weight random: those that begin as zeros, too."""
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.2)
    return network.eval()


def inputs(*shape: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(*shape), torch.linspace(0.1, 0.9, shape[0])


def plain_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()


def plain_attention(block: TransformerBlock, x: Tensor) -> Tensor:
    """For each head, the softmax of all products of normalised queries and keys, times the values."""
    parts = []
    for q, k, v in zip(*(part.chunk(block.heads, dim=-1) for part in block.to_qkv(x).chunk(3, dim=-1)), strict=True):
        scores = plain_norm(q) @ plain_norm(k).mT / math.sqrt(q.shape[-1])
        parts.append(scores.softmax(dim=-1) @ v)
    return block.out(torch.cat(parts, dim=-1))


def plain_block(block: TransformerBlock, x: Tensor, condition: Tensor) -> Tensor:
    parts = block.modulation(condition).view(len(x), 6, 1, -1).unbind(dim=1)
    x = x + parts[2] * plain_attention(block, plain_norm(x) * (1 + parts[0]) + parts[1])
    first, _, second = block.mlp
    return x + parts[5] * second(F.gelu(first(plain_norm(x) * (1 + parts[3]) + parts[4])))


def plain_dit(dit: DiT, xt: Tensor, time: Tensor, labels: Tensor) -> Tensor:
    """Patch by patch, pixel by pixel."""
    assert dit.label.table is not None
    condition = F.silu(dit.time(time) + dit.label.table(labels + 1))
    size, (batch, channels, height, width) = dit.patch, xt.shape
    places = [(top, left) for top in range(0, height, size) for left in range(0, width, size)]
    tokens = [dit.embed(xt[:, :, top : top + size, left : left + size].flatten(1)) for top, left in places]
    hidden = torch.stack(tokens, dim=1) + dit.positions
    for block in dit.blocks:
        assert isinstance(block, TransformerBlock)
        hidden = plain_block(block, hidden, condition)
    scale, shift = dit.modulation(condition)[:, None].chunk(2, dim=-1)
    answers = dit.head(plain_norm(hidden) * (1 + scale) + shift)
    output = torch.empty_like(xt)
    for index, (top, left) in enumerate(places):
        patch = answers[:, index].view(batch, channels, size, size)
        output[:, :, top : top + size, left : left + size] = patch
    return output


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 8, 8), {}),
        ((3, 8, 12), {"heads": 3, "bottleneck": 5}),
        ((8, 6, 4), {"patch": 2, "heads": 1}),
        ((2, 5, 3), {"patch": 1, "heads": 12}),
    ],
)
def test_the_transformer_equals_its_textbook_formulation(shape: tuple[int, int, int], sizes: dict[str, int]) -> None:
    dit = randomise(DiT(shape, 12, 2, classes=3, **sizes)).double()  # type: ignore[arg-type]
    xt, time = inputs(3, *shape)
    arguments = xt.double(), time.double(), torch.tensor([-1, 0, 2])
    output, plain = dit(*arguments), plain_dit(dit, *arguments)
    assert float(plain.detach().std()) > 0.1
    torch.testing.assert_close(output, plain, rtol=1e-9, atol=1e-10)
    ours, reference = (torch.autograd.grad(answer.square().sum(), dit.parameters()) for answer in (output, plain))
    torch.testing.assert_close(ours, reference, rtol=1e-7, atol=1e-8)


def test_it_begins_as_nothing_and_its_blocks_as_the_identity() -> None:
    torch.manual_seed(0)
    dit = DiT((3, 8, 8), 16, 2, classes=4)
    xt, time = inputs(2, 3, 8, 8)
    assert torch.equal(dit(xt, time, torch.tensor([0, 3])), torch.zeros_like(xt))
    hidden = torch.randn(2, 4, 16)
    for block in dit.blocks:
        assert torch.equal(block(hidden, torch.randn(2, 16)), hidden)


def test_a_few_steps_move_every_weight_and_then_labels_and_times_matter() -> None:
    torch.manual_seed(0)
    dit = DiT((1, 8, 8), 16, 2, classes=4, bottleneck=4, noise_levels=True)
    before = {name: weight.detach().clone() for name, weight in dit.named_parameters()}
    optimizer = torch.optim.AdamW(dit.parameters(), lr=1e-2, weight_decay=0)
    xt, time = inputs(5, 1, 8, 8)
    labels, level = torch.tensor([-1, 0, 1, 2, 3]), torch.linspace(0, 1, 5)
    for _ in range(4):  # the head first, then the gates, and all else behind them
        optimizer.zero_grad()
        (dit(xt, time, labels, level) - xt).square().mean().backward()
        optimizer.step()
    still = [name for name, weight in dit.named_parameters() if torch.equal(weight, before[name])]
    assert not still
    one, at = xt[:1].expand(2, -1, -1, -1), torch.full((2,), 0.5)
    for arguments in (
        (at, torch.tensor([0, 1])),
        (torch.tensor([0.2, 0.8]),),
        (at, torch.zeros(2, dtype=torch.int64), torch.tensor([0.0, 1.0])),
    ):
        first, second = dit(one, *arguments).detach()
        assert float((first - second).abs().max()) > 1e-4


def test_without_a_level_there_is_none() -> None:
    dit = randomise(DiT((1, 8, 8), 16, 1, noise_levels=True))
    xt, time = inputs(2, 1, 8, 8)
    torch.testing.assert_close(dit(xt, time), dit(xt, time, level=torch.zeros(2)))


def test_every_patch_has_a_position_of_its_own_on_a_grid_of_any_size() -> None:
    wide, square = positions_of(4, 40, 16).view(4, 40, 16), positions_of(64, 64, 16).view(64, 64, 16)
    assert torch.equal(wide, square[:4, :40])
    rows = square.view(-1, 16)
    assert float((torch.cdist(rows, rows) + 9 * torch.eye(len(rows))).min()) > 0.1
    phases = [3 / 10_000 ** (index / 4) for index in range(4)]
    expected = [*map(math.sin, phases), *map(math.cos, phases)]
    assert square[3, 0, :8].tolist() == pytest.approx(expected, abs=1e-6)
    assert square[0, 3, 8:].tolist() == pytest.approx(expected, abs=1e-6)
    assert square[3, 0, 8:].tolist() == pytest.approx([0] * 4 + [1] * 4)


def test_patches_are_told_apart_by_their_positions_alone() -> None:
    dit = randomise(DiT((1, 8, 12), 16, 2))
    xt, time = inputs(2, 1, 8, 12)
    shift = xt.roll((4, 4), dims=(2, 3))
    assert float((dit(shift, time) - dit(xt, time).roll((4, 4), dims=(2, 3))).detach().abs().max()) > 1e-2
    dit.positions.zero_()
    torch.testing.assert_close(dit(shift, time), dit(xt, time).roll((4, 4), dims=(2, 3)), rtol=1e-4, atol=1e-5)


def test_attention_keeps_no_table_of_all_pairs() -> None:
    block, sizes = randomise(TransformerBlock(8, 2)), list[int]()

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(torch.randn(1, 1024, 8), torch.randn(1, 8))
    assert max(sizes) <= 4 * 8 * 1024  # of the MLP; a table would have 2 * 1024^2


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"patch": 3}, "the image's sides must be divisible by patch 3, got 8x12"),
        ({"patch": 8}, "the image's sides must be divisible by patch 8, got 8x12"),
        ({"patch": 0}, "patch must be in 1..64, got 0"),
        ({"patch": 10**9}, "patch must be in 1..64, got 1000000000"),
        ({"width": 0}, "width must be a multiple of 4, got 0"),
        ({"width": 30}, "width must be a multiple of 4, got 30"),
        ({"heads": 5}, "heads must be a divisor of width 128, got 5"),
        ({"heads": 0}, "heads must be a divisor of width 128, got 0"),
        ({"heads": 256}, "heads must be a divisor of width 128, got 256"),
        ({"depth": 0}, "depth must be in 1..100, got 0"),
        ({"depth": 10**9}, "depth must be in 1..100, got 1000000000"),
        ({"bottleneck": 0}, "bottleneck must be at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(bad: dict[str, int], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        DiT((1, 8, 12), **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "heads"), [(4, 1), (32, 1), (36, 1), (64, 2), (72, 2), (128, 4), (192, 6), (100, 2)])
def test_heads_are_about_32_wide_unless_a_preset_says_otherwise(width: int, heads: int) -> None:
    block = DiT((1, 8, 8), width, 1).blocks[0]
    assert isinstance(block, TransformerBlock)
    assert block.heads == heads


def test_in_bfloat16_it_is_near_float32_and_so_are_its_gradients() -> None:
    dit = randomise(DiT((1, 16, 16), 32, 2))
    xt, time = inputs(4, 1, 16, 16)
    exact = dit(xt, time)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = dit(xt, time).float()
    assert float((half - exact).detach().norm()) < 0.05 * float(exact.detach().norm())
    ours, reference = (torch.autograd.grad(answer.square().sum(), dit.parameters()) for answer in (half, exact))
    for gradient, other in zip(ours, reference, strict=True):
        assert gradient.dtype == torch.float32
        assert float((gradient - other).norm()) < 0.1 * float(other.norm())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_a_block_compiles_as_one_graph(precision: torch.dtype) -> None:
    block = randomise(TransformerBlock(8, 2))
    hidden, condition = torch.randn(2, 6, 8), torch.randn(2, 8)
    graph = torch.compile(block, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        pairs = [
            torch.autograd.grad(call(hidden, condition).square().sum(), block.parameters()) for call in (block, graph)
        ]
    torch.testing.assert_close(*pairs)


@pytest.mark.parametrize("sizes", [{"patch": 1}, {"patch": 2, "heads": 1}, {"bottleneck": 2}], ids=str)
def test_the_transformer_keeps_the_rules_at_every_size(sizes: dict[str, int]) -> None:
    check_network(DiT, width=8, depth=2, **sizes)
