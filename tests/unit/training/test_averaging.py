"""The average of the weights: its decay, where it is, and that checkpoints bring it back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from diffcli.training.averaging import ExponentialAverage

TRAINER: Any = SimpleNamespace()


class Model(LightningModule):
    """One layer, and another one with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2)
        self.tied.weight = self.layer.weight
        self.register_buffer("seen", torch.tensor(0.0))


def average_of(model: Model, decay: float = 0.9) -> ExponentialAverage:
    average = ExponentialAverage(decay)
    average.on_fit_start(TRAINER, model)
    return average


def steps(average: ExponentialAverage, model: Model, numbers: range) -> None:
    for number in numbers:
        nn.init.constant_(model.layer.weight, float(number))
        average.on_train_batch_end(TRAINER, model, None, None, number)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_step_reads_from_the_device(device: str) -> None:
    # Reading from the meta device raises; an accelerator would be waited for.
    model = Model().to(device)
    average = average_of(model)
    steps(average, model, range(1, 5))
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
    average.on_save_checkpoint(TRAINER, model, checkpoint)
    assert int(checkpoint["averaging_state"]["n_averaged"]) == 4
    assert {weight.device.type for weight in average.averages} == {device}


def test_the_decay_grows_with_the_steps() -> None:
    model = Model()
    average = average_of(model, 0.5)
    expected = torch.zeros(2, 2)
    for number in range(1, 20):
        steps(average, model, range(number, number + 1))
        decay = min(0.5, number / (9 + number)) if number > 1 else 0.0
        expected = decay * expected + (1 - decay) * number
    torch.testing.assert_close(average.averages[0], expected)


def test_a_checkpoint_brings_back_the_average_and_the_weights() -> None:
    model = Model()
    average = average_of(model)
    steps(average, model, range(1, 5))
    model.seen.fill_(3.0)
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
    average.on_save_checkpoint(TRAINER, model, checkpoint)
    for name in ("layer.weight", "tied.weight"):
        assert torch.equal(checkpoint["state_dict"][name], average.averages[0])
        assert float(checkpoint["current_model_state"][name][0, 0]) == 4
    assert float(checkpoint["state_dict"]["seen"]) == 3
    other, copy = Model(), ExponentialAverage(0.9)
    other.load_state_dict(checkpoint["state_dict"])  # as Lightning does
    copy.on_load_checkpoint(TRAINER, other, checkpoint)
    copy.on_fit_start(TRAINER, other)
    for these, those in ((average, model), (copy, other)):
        steps(these, those, range(5, 8))
    assert copy.count == 7
    assert all(torch.equal(a, b) for a, b in zip(average.averages, copy.averages, strict=True))


def test_the_weights_come_back_after_the_average_was_in_use() -> None:
    model = Model()
    average = average_of(model)
    steps(average, model, range(1, 5))
    mean = average.averages[0].clone()
    with average.in_use():
        assert torch.equal(model.layer.weight, mean)
    assert float(model.layer.weight.detach()[0, 0]) == 4
    average.on_validation_epoch_start(TRAINER, model)
    average.on_exception(TRAINER, model, KeyboardInterrupt())
    average.on_exception(TRAINER, model, KeyboardInterrupt())
    assert float(model.layer.weight.detach()[0, 0]) == 4
    assert torch.equal(average.averages[0], mean)
    average.on_train_end(TRAINER, model)
    assert torch.equal(model.layer.weight, mean)
