"""The pace of a training: its learning rate over the steps, and a budget of time."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from diffcli.config.schema import Training
from diffcli.training.agreement import Agreement


def lr_factor(step: int, progress: float, warmup: int, decay: bool) -> float:
    """The factor of the learning rate at step ``step`` (from 0), in [0, 1].

    Args:
        progress: the share of the training that is done, in [0, 1].
        warmup: steps of a straight line up to 1.
        decay: half a cosine from 1 to 0 over the training.
    """
    warmup_factor = min(1.0, (step + 1) / (warmup + 1))
    return warmup_factor * (0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) if decay else 1.0)


class TimeBudget(Callback):
    """Ends the training after a time, of which fitting the priors and what was spent before a resume are a part.

    Attributes:
        share: of the time that is spent; the same on every rank, so that all take the same learning rate.
    """

    def __init__(self, seconds: float, agreement: Agreement) -> None:
        self.seconds = seconds
        self.share = 0.0
        self._agreement = agreement
        self._earlier = 0.0
        self._at_first_step = 0.0
        self._start = time.monotonic()
        agreement.numbers["elapsed"] = self.elapsed

    def elapsed(self) -> float:
        """Seconds spent so far."""
        return self._earlier + time.monotonic() - self._start

    @property
    def stretch(self) -> float:
        """The number of all steps at the same speed, over those since the start or the last resume."""
        return (self.seconds - self._at_first_step) / max(self.elapsed() - self._at_first_step, 1e-9)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._at_first_step = self.elapsed()
        self._follow()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow()  # what is spent by now ends the training after one step more: no epoch is without one

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._follow()
        if self.share >= 1:
            trainer.should_stop = True

    def _follow(self) -> None:
        self.share = self._agreement.values["elapsed"] / self.seconds

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {"train": self.elapsed()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._earlier = float(state_dict["time_elapsed"]["train"])


def ending(budget: TimeBudget, training: Training, epochs: float) -> str:
    """A line on the limit that ended a training that has one of time.

    Args:
        epochs: that are done.
    """
    if epochs < training.epochs:
        return f"ended by max_time {training.max_time}, in epoch {math.floor(epochs) + 1} of {training.epochs}"
    return (
        f"ended after all {training.epochs} epochs, {budget.elapsed():.0f} of the {budget.seconds:.0f} seconds of "
        "max_time "
        f"{training.max_time}; with more training.epochs it would use the rest"
    )


def time_spent(checkpoint: dict[str, Any]) -> float:
    """The seconds of training that a checkpoint's time budget counted; 0 where it had none."""
    state = checkpoint.get("callbacks", {}).get(TimeBudget.__qualname__, {})
    return float(state.get("time_elapsed", {}).get("train", 0.0))
