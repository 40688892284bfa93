"""Several processes talk rarely, and at the same steps."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffcli.training import agreement
from diffcli.training.agreement import Agreement
from diffcli.training.pace import TimeBudget


class Steps:
    """Steps of given seconds, of several processes that all know what this one knows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
        self.now = 100.0
        self.messages: list[int] = []
        for module in (agreement, sys.modules[TimeBudget.__module__]):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.trainer: Any = SimpleNamespace(
            world_size=world_size,
            strategy=SimpleNamespace(root_device="cpu", reduce=self._reduce),
            fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()),
            num_training_batches=1000,
            global_step=0,
            should_stop=False,
        )

    def _reduce(self, vector: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "max"
        self.messages.append(self.trainer.global_step)
        return vector

    def run(self, callbacks: list[Any], seconds: float, count: int) -> None:
        if not self.trainer.global_step:
            for hook in ("on_fit_start", "on_train_start"):
                for callback in callbacks:
                    getattr(callback, hook)(self.trainer, None)
        for _ in range(count):
            if self.trainer.should_stop:
                return
            self.now += seconds
            self.trainer.global_step += 1
            for callback in callbacks:
                callback.on_train_batch_end(self.trainer, None, None, None, self.trainer.global_step - 1)


@pytest.mark.parametrize(("seconds", "every"), [(0.01, 10), (0.3, 3), (5.0, 1)])
def test_slow_steps_are_agreed_on_more_often(monkeypatch: pytest.MonkeyPatch, seconds: float, every: int) -> None:
    steps = Steps(monkeypatch, 2)
    callback = Agreement()
    callback.numbers["now"] = lambda: steps.now
    steps.run([callback], seconds, 100)
    gaps = {b - a for a, b in zip(steps.messages[2:], steps.messages[3:], strict=False)}
    assert gaps == {every}
    assert callback.values["now"] == pytest.approx(100 + steps.messages[-1] * seconds)


def test_one_process_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, 1)
    callback = Agreement()
    callback.numbers["now"] = lambda: steps.now
    steps.run([callback], 0.5, 20)
    assert (steps.messages, callback.values["now"]) == ([], 110.0)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("seconds", [0.01, 0.4, 7.0])
def test_a_budget_is_not_overrun_by_slow_steps(
    monkeypatch: pytest.MonkeyPatch, seconds: float, world_size: int
) -> None:
    steps = Steps(monkeypatch, world_size)
    callback = Agreement()
    budget = TimeBudget(20.0, callback)
    steps.run([callback, budget], seconds, 10_000)
    assert steps.trainer.should_stop
    assert 20.0 <= steps.now - 100 < 20.0 + max(seconds, 1.0) + 1e-6
    assert budget.share >= 1


def test_steps_that_become_slow_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, 2)
    callback = Agreement()
    steps.run([callback], 0.001, 100)
    steps.messages.clear()
    steps.run([callback], 2.0, 40)
    assert steps.messages[1:] == list(range(steps.messages[1], 141))
