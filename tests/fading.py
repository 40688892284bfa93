"""A third degradation, beside noise and blur."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from diffcli.config.schema import Preset, validate
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation

FADING = {
    "description": "a third degradation",
    "data": {"name": "digits"},
    "degradation": {"name": "fading", "T": 6},
    "network": {"name": "cnn", "channels": [4, 4], "kernel_size": 3},
    "prediction": "x0",
    "prior": {"name": "gaussian"},
    "sampler": {"name": "cold"},
    "training": {"epochs": 1, "batch_size": 128, "sample_epochs": [1], "sample_n": 2},
}


class Fading(Degradation):
    """Towards a tenth of the image; knows its own T and no tables."""

    def __init__(self, T: int = 10) -> None:
        super().__init__()
        self.T = T

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return (1 - 0.9 * t / self.T).view(-1, 1, 1, 1) * x0


@pytest.fixture
def fading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered for a test."""
    monkeypatch.setitem(DEGRADATIONS, "fading", Fading)


def preset(**changes: Any) -> Preset:
    return validate(FADING | changes, "test")


LINEAR = {"name": "linear", "sigma_max": 0.3}
