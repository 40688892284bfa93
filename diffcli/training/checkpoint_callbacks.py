"""Writes checkpoints, whole or not at all.

A checkpoint is written after a step or after an epoch, never in the middle of either, so that everything in it is of
the same moment.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from diffcli.checkpoints.model_file import FIELDS_OF_KEY
from diffcli.checkpoints.runs import Run
from diffcli.training.agreement import steps_left
from diffcli.training.safety import Interrupts
from diffcli.utils.errors import RunError
from diffcli.utils.files import written_whole

SECONDS_BETWEEN = 300.0
SECONDS_BEFORE_EPOCH_END = 5.0
"""The most that an interrupted validation may cost: the last step of an epoch is repeated then, with what
came before a save."""


WEIGHTS_ALONE = "weights alone"
"""The storage option of a checkpoint that nothing is resumed from."""
MODEL_KEYS = frozenset({*FIELDS_OF_KEY, "global_step"})
"""The keys that a model is loaded from, and the step that it is of; the rest of a checkpoint is the training's."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, to the disk itself, and then renames it: a kill leaves the one before.

    Raises:
        RunError: the run's folder is gone; it is not made anew without its preset.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if not self.run.preset_file.is_file():
            raise RunError(f"{self.run.folder} has vanished while it was trained in")
        if storage_options == WEIGHTS_ALONE:
            checkpoint = {key: value for key, value in checkpoint.items() if key in MODEL_KEYS}
        with written_whole(Path(path)) as part, part.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, _: storage, weights_only: Any = None
    ) -> Any:
        # Lightning takes some names of files, such as file:/run, for addresses.
        return torch.load(Path(path), map_location=map_location, weights_only=True)


class BestCheckpoint(Checkpoint):
    """``best.ckpt``: the epoch with the lowest validation loss.

    Attributes:
        lowest: validation loss so far.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lowest = math.inf
        self._has_validation = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._has_validation = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._has_validation and (loss := float(trainer.callback_metrics["val_loss"])) < self.lowest:
            self.lowest = loss
            trainer.save_checkpoint(self.file)
        self._has_validation = False

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest = float(state_dict["lowest"])


class KeptCheckpoints(Checkpoint):
    """``epoch-005.ckpt``: the weights, or their average, after some epochs, so that they can be measured beside the
    best.

    Args:
        epochs: counted from 1.
    """

    def __init__(self, run: Run, epochs: Sequence[int]) -> None:
        self.run = run
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch in self.epochs:
            trainer.save_checkpoint(self.run.milestone_file(epoch), storage_options=WEIGHTS_ALONE)


class LastCheckpoint(Checkpoint):
    """``last.ckpt``: after every epoch, every five minutes, before a validation, and when the training is interrupted.

    Of an interrupt outside the steps of an epoch, in a validation for example, nothing is saved: the checkpoint before
    the epoch's last step is what a resume goes on from, and it does that epoch's end again.
    """

    def __init__(self, file: Path, interrupts: Interrupts) -> None:
        self.file = file
        self._interrupts = interrupts
        self._agreement = interrupts.agreement
        self._saved_at = time.monotonic()
        self._agreement.numbers["unsaved"] = lambda: time.monotonic() - self._saved_at

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.file = Path(trainer.strategy.broadcast(str(self.file)))  # the first process has chosen the folder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._agreement.fresh:
            return
        steps, unsaved_seconds = steps_left(trainer, batch_idx), self._agreement.values["unsaved"]
        due = unsaved_seconds >= (SECONDS_BEFORE_EPOCH_END if steps == 1 else SECONDS_BETWEEN)
        # After the last step the epoch's end is due, which a checkpoint of here would skip.
        if steps and (due or self._interrupts.stop_agreed):
            self._save(trainer)
        if steps:
            self._interrupts.requeue()
        if self._interrupts.stop_agreed:
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.file)
        self._saved_at = time.monotonic()


def run_of(trainer: Trainer) -> Run:
    """The run that a trainer's first process writes into."""
    last = next(callback.file for callback in trainer.callbacks if isinstance(callback, LastCheckpoint))  # type: ignore[attr-defined]
    return Run(last.parent.parent)


def remove_leftovers(run: Run) -> None:
    """Removes what a kill left half written, and a SLURM checkpoint that later work has overtaken: Lightning would
    prefer it to ``last.ckpt``."""
    for scratch in run.checkpoints.glob(".*.ckpt.*"):
        for file in scratch.iterdir():
            file.unlink()
        scratch.rmdir()
    for file in run.folder.glob("hpc_ckpt_*.ckpt"):
        if run.last.is_file() and run.last.stat().st_mtime >= file.stat().st_mtime:
            file.unlink()
