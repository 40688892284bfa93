"""Several processes talk rarely, and at the same steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import TINY

from diffcli.training import agreement
from diffcli.training.agreement import Agreement
from diffcli.training.pace import TimeBudget

COUNTING = """\
import sys
from torch import distributed
from diffcli.cli import main
from diffcli.training import agreement, module

agreement.SECONDS_BETWEEN = 1e9  # steps count as fast, however busy the machine
messages = []
for name in ("all_reduce", "broadcast", "broadcast_object_list", "all_gather", "all_gather_object", "barrier", "reduce"):
    def counted(*arguments, name=name, before=getattr(distributed, name), **options):
        messages.append(name)
        return before(*arguments, **options)
    setattr(distributed, name, counted)
step = module.DiffusionModule.training_step
def training_step(self, *arguments):
    if self.global_step in (15, 65) and self.trainer.is_global_zero:
        print(self.global_step, len(messages), file=open("counted.txt", "a"))
    return step(self, *arguments)
module.DiffusionModule.training_step = training_step
main(sys.argv[1:])
"""


def test_two_processes_exchange_a_message_every_ten_steps(workplace: Path) -> None:
    preset = TINY.replace("batch_size: 128", "batch_size: 16, max_time: 1h, ema: 0.9, lr_decay: true")
    (workplace / "tiny.yaml").write_text(preset)
    (workplace / "counting.py").write_text(COUNTING)
    command = [sys.executable, "counting.py", "train", "--preset", "tiny.yaml", "--epochs", "1", "--out", "run", "-q"]
    finished = subprocess.run(
        [*command, "--devices", "2", "--strategy", "ddp", "--accelerator", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    (_, before), (_, after) = (line.split() for line in (workplace / "counted.txt").read_text().splitlines())
    # In fifty steps five agreements, and one question whether the losses are finite: each a barrier and a reduction.
    assert int(after) - int(before) == 2 * 6


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
    agreed = Agreement()
    agreed.numbers["now"] = lambda: steps.now
    steps.run([agreed], seconds, 100)
    gaps = {b - a for a, b in zip(steps.messages[2:], steps.messages[3:], strict=False)}
    assert gaps == {every}
    assert agreed.values["now"] == pytest.approx(100 + steps.messages[-1] * seconds)


def test_one_process_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, 1)
    agreed = Agreement()
    agreed.numbers["now"] = lambda: steps.now
    steps.run([agreed], 0.5, 20)
    assert (steps.messages, agreed.values["now"]) == ([], 110.0)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("seconds", [0.01, 0.4, 7.0])
def test_a_budget_is_not_overrun_by_slow_steps(
    monkeypatch: pytest.MonkeyPatch, seconds: float, world_size: int
) -> None:
    steps = Steps(monkeypatch, world_size)
    agreed = Agreement()
    budget = TimeBudget(20.0, agreed)
    steps.run([agreed, budget], seconds, 10_000)
    assert steps.trainer.should_stop
    assert 20.0 <= steps.now - 100 < 20.0 + max(seconds, 1.0) + 1e-6
    assert budget.share >= 1


def test_steps_that_become_slow_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, 2)
    agreed = Agreement()
    steps.run([agreed], 0.001, 100)
    steps.messages.clear()
    steps.run([agreed], 2.0, 40)
    assert steps.messages[1:] == list(range(steps.messages[1], 141))
