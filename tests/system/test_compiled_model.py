"""A model that is compiled for a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcli.inference.loading import load
from diffcli.utils.devices import Devices

pytestmark = pytest.mark.usefixtures("rounded")


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
