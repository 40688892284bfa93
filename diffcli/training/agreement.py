"""Decisions that several processes have to make alike: when to stop, when to save, how much of the time budget is
spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

STEPS_BETWEEN = 10
SECONDS_BETWEEN = 1.0


class Agreement(Callback):
    """Shares a few numbers between the processes every few steps, and keeps the largest of each: whether to stop, to
    save, the time spent.

    One process agrees with itself after every step. Several exchange their numbers in one message every ten steps, more
    often where ten steps take longer than a second, and at the last two steps of an epoch.

    Attributes:
        numbers: by name, what each process knows by itself.
        values: the numbers as they were agreed last.
        fresh: whether they were agreed at the step that was just done.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, Callable[[], float]] = {}
        self.values: dict[str, float] = {}
        self.fresh = False
        self._every = 1
        self._steps = 0
        self._start = 0.0
        self._step_seconds = SECONDS_BETWEEN  # steps are slow until one was not

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning sends a message at each step that says whether SIGTERM came, which here is one of the numbers.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        self._start = time.monotonic()
        self._agree(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agree(trainer)  # a validation or drawing samples may have taken minutes

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._steps += 1
        self.fresh = steps_left(trainer, batch_idx) < 2 or trainer.global_step % self._every == 0
        if self.fresh:
            self._agree(trainer)

    def _agree(self, trainer: Trainer) -> None:
        numbers = [number() for number in self.numbers.values()]
        if trainer.world_size > 1:
            if self._steps:
                self._step_seconds = (time.monotonic() - self._start) / self._steps
            vector = torch.tensor([*numbers, self._step_seconds], device=trainer.strategy.root_device)
            maxima = trainer.strategy.reduce(vector, reduce_op="max")
            assert isinstance(maxima, torch.Tensor)
            *numbers, slowest_seconds = maxima.tolist()
            self._every = max(1, min(STEPS_BETWEEN, int(SECONDS_BETWEEN / max(slowest_seconds, 1e-6))))
            self._start, self._steps = time.monotonic(), 0
        self.values = dict(zip(self.numbers, numbers, strict=True))


def steps_left(trainer: Trainer, batch_idx: int) -> int:
    """Steps of the epoch that come after batch ``batch_idx``, counted from 0."""
    return int(trainer.num_training_batches) - batch_idx - 1
