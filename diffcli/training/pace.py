"""How fast a training goes: its learning rate over the steps, and a budget of time."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer


def lr_factor(step: int, progress: float, warmup: int, decay: bool) -> float:
    """What to multiply the learning rate of step ``step`` (from 0) with, in [0, 1].

    Args:
        progress: the share of the training that is done, in [0, 1].
        warmup: steps of a straight line up to 1.
        decay: half a cosine from 1 to 0 over the training.
    """
    up = min(1.0, (step + 1) / (warmup + 1))
    return up * (0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) if decay else 1.0)


class TimeBudget(Timer):
    """Ends the training after a time, of which fitting the priors and what was spent before a resume are a part.

    Attributes:
        share: of the time that is spent; the same on every rank, so that all take the same learning rate.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(timedelta(seconds=seconds), verbose=False)
        self.seconds = seconds
        self.share = 0.0
        self._before = 0.0

    @property
    def stretch(self) -> float:
        """How many times the steps since the start, or the last resume, will be done in all at the same speed."""
        return (self.seconds - self._before) / max(self.time_elapsed() - self._before, 1e-9)

    def on_fit_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        super().on_train_start(trainer, *args)  # the clock starts
        super().on_fit_start(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = self.time_elapsed()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.share = float(trainer.strategy.broadcast(self.time_elapsed() / self.seconds))


def time_spent(checkpoint: dict[str, Any]) -> float:
    """The seconds of training that a checkpoint's time budget counted; 0 where it had none."""
    state = checkpoint.get("callbacks", {}).get(TimeBudget.__qualname__, {})
    return float(state.get("time_elapsed", {}).get("train", 0.0))
