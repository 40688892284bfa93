"""Rebuilds Lightning's loop counters from the number of steps done, on a resume.

Lightning stores the state of its loops as it was at the moment of saving, and takes a different path on a resume for
each such moment; some of them skip a validation or repeat the end of an epoch. The number of steps says all there is to
say.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer


def loops_at(step: int, batches_per_epoch: int) -> dict[str, Any]:
    """The entries of a fit loop's state that say how far it is, after ``step`` steps in epochs of so many batches."""
    epoch, batch = divmod(step, batches_per_epoch)
    begun_epochs = epoch + (batch > 0)
    epochs = {"ready": begun_epochs, "started": begun_epochs, "processed": epoch, "completed": epoch}
    nothing = dict.fromkeys(epochs, 0)
    return {
        "epoch_progress": {"total": dict(epochs), "current": dict(epochs)},
        "epoch_loop.batch_progress": {
            "total": dict.fromkeys(epochs, step),
            "current": dict.fromkeys(epochs, batch),
            "is_last_batch": False,
        },
        "epoch_loop.val_loop.batch_progress": {
            "total": dict(nothing),
            "current": dict(nothing),
            "is_last_batch": False,
        },
        "epoch_loop.state_dict": {"_batches_that_stepped": step},
    }


def resume_at(trainer: Trainer, step: int) -> None:
    """Lets a trainer that was restored between two epochs begin the next one as any other.

    As a restart in the middle of an epoch Lightning would take up the validation of the epoch before.
    """
    if step % int(trainer.num_training_batches) == 0:
        trainer.fit_loop.restarting = False
