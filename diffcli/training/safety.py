"""What keeps the work of a night: checkpoints that are whole or not there, and none of a training that diverged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from diffcli.errors import RunError
from diffcli.runs import written_whole

STEPS_BETWEEN_CHECKS = 50


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, to the disk itself, and then renames it: a kill leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with written_whole(Path(path)) as part, part.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())


class LastCheckpoint(ModelCheckpoint):
    """A checkpoint that an interrupt saves too, but no failure: what failed may have spoilt the weights."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            super().on_exception(trainer, pl_module, exception)


class FiniteLoss(Callback):
    """Stops a training whose loss is NaN or infinite, before a checkpoint is made of it.

    The losses are watched where they are, and asked for at every 50th step and whenever a checkpoint is due: asking for
    them each time would make an accelerator wait.

    Raises:
        RunError: in a hook of the training; the last checkpoint is of before.
    """

    def __init__(self) -> None:
        self.finite = torch.tensor(True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.finite = self.finite.to(pl_module.device) & outputs["loss"].detach().isfinite()
        if trainer.global_step % STEPS_BETWEEN_CHECKS == 0:
            self._check(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if not bool(self.finite):
            raise RunError(f"the loss is not a finite number any more, at or before step {trainer.global_step}")
