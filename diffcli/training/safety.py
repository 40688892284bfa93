"""Interrupts, and losses that are not finite."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from diffcli.training.agreement import Agreement
from diffcli.utils.errors import RunError, failed_write

STEPS_BETWEEN_CHECKS = 50


class Diverged(RunError):
    """The loss is NaN or infinite."""


@contextmanager
def silent_writers() -> Iterator[None]:
    """Inside the block a thread that cannot write prints no traceback: TensorBoard's hands its failure to its
    caller."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if failed_write(arguments.exc_value) is None:
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _in_finalizer(frame: FrameType | None) -> bool:
    """Whether a frame is of an object's end, where Python prints what is raised and goes on."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


class Interrupts(Callback):
    """SIGINT and SIGTERM become the KeyboardInterrupt on which Lightning stops; a second SIGINT stops at once.

    Within the steps of an epoch the step is finished first, and saved by
    :class:`~diffcli.training.checkpoint_callbacks.LastCheckpoint`; elsewhere one process stops where it is. Several
    agree on a step: one that left alone would leave the others waiting. A signal that comes while an object is
    finalized waits for the next step, or the epoch's end.

    SIGUSR1, with which SLURM announces the end of the time, waits for the same step: Lightning's answer to it saves.

    Attributes:
        signals: the signals so far that stop the training.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.signals: list[int] = []
        self.agreement = agreement
        self._is_alone = True
        self._stepping = False
        self._announced = False
        self._requeue: Callable[..., Any] | None = None
        agreement.numbers["interrupted"] = lambda: float(bool(self.signals))
        agreement.numbers["announced"] = lambda: float(self._announced)

    @property
    def stop_agreed(self) -> bool:
        """Whether the processes agreed to stop at the step that was just done."""
        return self.agreement.values["interrupted"] > 0

    def requeue(self) -> None:
        """Saves and puts the job back into SLURM's queue where the processes agreed on that."""
        if self.agreement.values["announced"] and self._requeue is not None:
            self._announced = False
            self._requeue(signal.SIGUSR1, None)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Signals come here inside the block."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # where Python lets nobody listen
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        is_repeat = bool(self.signals)
        self.signals.append(number)
        if is_repeat and number == signal.SIGINT:
            os.write(2, b"stopped at once; the last checkpoint is whole\n")
            os._exit(128 + number)
        if not is_repeat and self._is_alone and not self._stepping and not _in_finalizer(frame):
            raise KeyboardInterrupt

    def _announce(self, number: int, frame: FrameType | None) -> None:
        self._announced = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._is_alone = trainer.world_size == 1
        # Lightning's handlers talk to the other processes and save, whatever any of them is at.
        self._listen()
        answer = signal.getsignal(signal.SIGUSR1)
        if callable(answer):
            self._requeue = answer
            signal.signal(signal.SIGUSR1, self._announce)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._stepping = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_steps()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_steps()

    def _leave_steps(self) -> None:
        self._stepping = False
        if self.signals and self._is_alone:
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.finite = self.finite.to(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.finite = self.finite & outputs["loss"].detach().isfinite()
        if trainer.global_step % STEPS_BETWEEN_CHECKS == 0:
            self._check(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        # Asked of all processes: none may wait for one that has left.
        if not trainer.strategy.reduce_boolean_decision(bool(self.finite), all=True):
            raise Diverged(f"the loss is not a finite number any more, at or before step {trainer.global_step}")
