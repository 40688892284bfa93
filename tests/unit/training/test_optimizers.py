"""Muon: what it orthogonalises, which weights it takes, and that its state is whole."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from diffcli.networks import NETWORKS
from diffcli.training.optimizers import MUON_LR, OPTIMIZERS, hidden_matrices, orthogonalise


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16), (1, 9)])
def test_newton_schulz_brings_the_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalise(matrix)
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert 0.3 < float(values.min()) <= float(values.max()) < 1.3
    assert float((result * (u @ vt)).sum() / result.norm() / (u @ vt).norm()) > 0.95
    assert torch.equal(orthogonalise(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_its_direction_is_that_of_pytorchs_muon() -> None:
    torch.manual_seed(0)
    kernel = nn.Conv2d(8, 16, 3)
    ours, theirs = kernel.weight, nn.Parameter(kernel.weight.detach().flatten(1).clone())
    network = nn.Sequential(nn.Conv2d(1, 8, 1), kernel, nn.Conv2d(16, 1, 1))
    optimizer = OPTIMIZERS["muon"](network, 1e-3, 0.1, False)
    reference = torch.optim.Muon([theirs], lr=MUON_LR, weight_decay=0.1)
    for _ in range(3):
        before = ours.detach().flatten(1).clone()
        ours.grad = torch.randn_like(ours)
        theirs.grad = ours.grad.flatten(1).clone()
        optimizer.step()
        reference.step()
        step = ours.detach().flatten(1) - before
        assert torch.allclose(ours.detach().flatten(1), theirs.detach(), atol=0.05 * float(step.abs().max()))


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"diffusers-unet"}))  # whose library may be missing
def test_muon_takes_the_hidden_matrices(name: str) -> None:
    network = NETWORKS[name](image_shape=(1, 8, 8), classes=3)
    hidden = {id(weight) for weight in hidden_matrices(network)}
    names = [key for key, weight in network.named_parameters() if id(weight) in hidden]
    assert names
    assert all(weight.ndim == (2 if name == "dit" else 4) for weight in network.parameters() if id(weight) in hidden)
    outer = [
        "head",
        "stem",
        "depthwise",
        "label",
        "time",
        "embed",
        "modulation",
        *([] if name == "dit" else ["blocks.0."]),
    ]
    assert not any(part in key for key in names for part in outer)
    optimizer = OPTIMIZERS["muon"](network, 1e-3, 0.0, False)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def steps(network: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        network(torch.ones(1, 1, 8, 8), torch.ones(1)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("fused", [False, True])
def test_a_restored_optimizer_goes_on_where_it_was(name: str, fused: bool) -> None:
    torch.manual_seed(0)
    build = NETWORKS["compact-unet"]
    network, copy = (build(image_shape=(1, 8, 8), width=8) for _ in range(2))
    optimizer = OPTIMIZERS[name](network, 1e-2, 0.01, fused)
    before = [weight.detach().clone() for weight in network.parameters()]
    steps(network, optimizer, 3)
    changes = [not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True)]
    assert sum(changes) > 0.9 * len(changes)
    copy.load_state_dict(network.state_dict())
    other = OPTIMIZERS[name](copy, 1e-2, 0.01, fused)
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    steps(network, optimizer, 2)
    steps(copy, other, 2)
    for ours, theirs in zip(network.parameters(), copy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
