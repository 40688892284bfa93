"""A model that is compiled for a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from diffcli.inference.loading import load
from diffcli.utils.devices import Devices


@pytest.fixture(autouse=True)
def rounded() -> Iterator[None]:
    """Products may be rounded, as they may on a GPU; afterwards that is still so."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sampler", ["ancestral", "dpm-solver++", "heun", "{name: ddim, eta: 0.5}"])
def test_a_compiled_model_samples_the_same_on_a_gpu(trained: Path, sampler: str) -> None:
    images = [
        load(trained, devices=Devices("cuda", "1", compile=compiled)).sample(
            7, sampler=sampler, batch_size=4, quiet=True
        )
        for compiled in (False, True)
    ]
    assert int((images[0].int() - images[1].int()).abs().max()) <= 2
