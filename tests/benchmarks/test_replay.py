"""The CUDA graphs of ``benchmarks/replay.py``: off a GPU nothing is recorded, on one a replay computes what an eager
pass does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.replay import NETWORKS, RECORDINGS, Race, installation

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("build", NETWORKS)
def test_off_a_gpu_networks_are_what_they_were(build: type[nn.Module]) -> None:
    network = build((1, 28, 28))
    inputs = torch.randn(2, 1, 28, 28), torch.rand(2)
    own, plain = build.forward, network(*inputs)
    with installation():
        assert all(torch.equal(network(*inputs), plain) for _ in range(3))
        assert network not in RECORDINGS
    assert build.forward is own


@on_a_gpu
@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("precision", [torch.bfloat16, None])
def test_on_a_gpu_replays_compute_the_same(build: type[nn.Module], precision: torch.dtype | None) -> None:
    torch.manual_seed(0)
    race = Race(build((1, 28, 28)), precision)
    assert max(race.errors()) < 1e-2
    assert RECORDINGS[race.network].recordings
