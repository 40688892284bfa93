"""A model that is compiled for a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcli.inference.loading import load
from diffcli.utils.devices import Devices

pytestmark = pytest.mark.usefixtures("tf32")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sampler", ["ancestral", "dpm-solver++", "heun", "{name: ddim, eta: 0.5}"])
def test_a_compiled_model_samples_the_same_on_a_gpu(hot_run: Path, sampler: str) -> None:
    images = [
        load(hot_run, devices=Devices("cuda", "1", compile=compilation)).sample(
            7, sampler=sampler, batch_size=4, quiet=True
        )
        for compilation in (False, True)
    ]
    assert int((images[0].int() - images[1].int()).abs().max()) <= 2
