"""The CNN decoder of the report's section 2.1.2."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from diffcli.networks import NETWORKS
from diffcli.networks.cnn import CNN
from diffcli.networks.embeddings import FourierTimeEncoding


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
    assert float(network(torch.randn(2, 1, 28, 28), torch.rand(2)).max()) < -1


def test_time_encoding_frequencies() -> None:
    encoding = FourierTimeEncoding()
    assert encoding.frequencies.tolist() == pytest.approx([0.0] + [2 * math.pi * 1.5**i for i in range(15)], rel=1e-6)
    assert torch.equal(encoding(torch.zeros(1)), torch.zeros(1, 32))
    half = encoding(torch.tensor([0.5]))
    assert half.shape == (1, 32)
    assert float(half[0, 1]) == pytest.approx(math.sin(math.pi), abs=1e-6)
    assert float(half[0, 17]) == pytest.approx(math.cos(math.pi) - 1, abs=1e-6)


@pytest.mark.parametrize("name", sorted(NETWORKS))
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


@pytest.mark.parametrize("bad", [{"channels": []}, {"channels": [0]}, {"kernel_size": 4}, {"time_width": 0}])
def test_cnn_refuses_bad_sizes(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CNN((1, 8, 8), **bad)  # type: ignore[arg-type]
