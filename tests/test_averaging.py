"""The average of the weights never makes an accelerator wait."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from diffcli.training.averaging import ExponentialAverage


class Model(LightningModule):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


def steps(average: ExponentialAverage, model: Model, numbers: range) -> None:
    for number in numbers:
        trainer: Any = SimpleNamespace(global_step=number)
        average.on_train_batch_end(trainer, model, None, None, number)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_step_reads_from_the_device(device: str) -> None:
    # Reading from the meta device raises; an accelerator would be waited for.
    trainer: Any = SimpleNamespace(global_step=0)
    model = Model().to(device)
    average = ExponentialAverage(0.9)
    average.setup(trainer, model, "fit")
    steps(average, model, range(1, 5))
    checkpoint = {"state_dict": model.state_dict()}
    average.on_save_checkpoint(trainer, model, checkpoint)
    assert int(checkpoint["averaging_state"]["n_averaged"]) == 4
    resumed = ExponentialAverage(0.9)
    resumed.setup(trainer, model, "fit")
    resumed.on_load_checkpoint(trainer, model, checkpoint)
    resumed.load_state_dict(average.state_dict())
    steps(resumed, model, range(4, 7))
    assert resumed._average_model is not None
    assert (int(resumed._average_model.n_averaged), resumed._average_model.n_averaged.device.type) == (6, "cpu")


def test_the_decay_grows_with_the_steps() -> None:
    trainer: Any = SimpleNamespace(global_step=0)
    model = Model()
    average = ExponentialAverage(0.5)
    average.setup(trainer, model, "fit")
    expected = torch.zeros(2, 2)
    for number in range(1, 20):
        nn.init.constant_(model.layer.weight, float(number))
        steps(average, model, range(number, number + 1))
        decay = min(0.5, number / (9 + number)) if number > 1 else 0.0
        expected = decay * expected + (1 - decay) * number
    assert average._average_model is not None
    torch.testing.assert_close(average._average_model.module.layer.weight.detach(), expected)
