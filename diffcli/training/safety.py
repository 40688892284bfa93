"""What keeps the work of a night: checkpoints that are whole or not there, a stop that saves, none of a training that
diverged."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from diffcli.errors import RunError, failed_write
from diffcli.runs import Run, written_whole

STEPS_BETWEEN_CHECKS = 50
STEPS_BETWEEN_AGREEMENTS = 10


class Diverged(RunError):
    """The loss is NaN or infinite."""


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
        with written_whole(Path(path)) as part, part.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())


class EventLog(TensorBoardLogger):
    """TensorBoard's event files, without Lightning's copy of the hyperparameters: the run has its ``preset.yaml``."""

    def save(self) -> None:
        self.experiment.flush()


@contextmanager
def silent_writers() -> Iterator[None]:
    """Inside the block a thread that cannot write prints no traceback: TensorBoard's hands its failure to its caller."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if failed_write(failed.exc_value) is None:
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


class LastCheckpoint(ModelCheckpoint):
    """A checkpoint that an interrupt saves too, but no failure: what failed may have spoilt the weights."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            super().on_exception(trainer, pl_module, exception)


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


class Interrupts(Callback):
    """SIGINT and SIGTERM become the KeyboardInterrupt on which Lightning saves and stops; a second SIGINT stops at once.

    One process stops where it is. Several agree on a step first: one that left alone would leave the others waiting.

    Attributes:
        received: the signals so far.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.alone = True

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Signals come here inside the block."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._listen()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = bool(self.received)
        self.received.append(number)
        if again and number == signal.SIGINT:
            os.write(2, b"stopped at once; the last checkpoint is whole\n")
            os._exit(128 + number)
        if not again and self.alone:
            raise KeyboardInterrupt

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.alone = trainer.world_size == 1
        # Lightning has put a handler before ours that talks to the other processes, whatever they are at.
        self._listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.alone or trainer.global_step % STEPS_BETWEEN_AGREEMENTS:
            return
        if trainer.strategy.reduce_boolean_decision(bool(self.received), all=False):
            raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._listen()  # Lightning ignores SIGINT from here on


class FiniteLoss(Callback):
    """Stops a training whose loss is NaN or infinite, before a checkpoint is made of it.

    The losses are watched where they are, and asked for at every 50th step and whenever a checkpoint is due: asking for
    them each time would make an accelerator wait.

    Raises:
        Diverged: in a hook of the training; the last checkpoint is of before.
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
        # Asked of all processes: none may wait for one that has left.
        if not trainer.strategy.reduce_boolean_decision(bool(self.finite), all=True):
            raise Diverged(f"the loss is not a finite number any more, at or before step {trainer.global_step}")
