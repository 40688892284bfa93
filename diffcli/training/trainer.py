"""The Lightning Trainer: loggers, checkpoints, devices."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from diffcli.config import Preset, seconds
from diffcli.errors import UserError
from diffcli.processes import device_setting
from diffcli.runs import Run
from diffcli.training.averaging import ExponentialAverage
from diffcli.training.callbacks import EpochSamples, History, TrainingProgress
from diffcli.training.pace import TimeBudget
from diffcli.training.safety import AtomicCheckpointIO, EventLog, FiniteLoss, Interrupts, LastCheckpoint

CONDITIONAL_IMAGES = 8
BETWEEN_CHECKPOINTS = timedelta(minutes=5)


@dataclass(frozen=True)
class Hardware:
    """What Lightning's Trainer is told about devices and precision, in its own words."""

    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"


def hush_lightning() -> None:
    """Keeps Lightning's banners and its hints about settings that are not the user's from the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")


def compile_in_place(network: nn.Module, device: torch.device) -> None:
    """torch.compile, which leaves the names of the weights as they are.

    On CPUs Inductor would turn every convolution to channels last, which is slower for the few channels of small networks.
    """
    network.compile(options={"layout_optimization": device.type != "cpu"})


def checkpoints(run: Run) -> list[Callback]:
    """``best.ckpt`` by validation loss; ``last.ckpt`` every five minutes, after every epoch and on an interrupt."""
    common: dict[str, Any] = {"dirpath": run.checkpoints, "enable_version_counter": False}
    at_epoch_end = {**common, "save_on_train_epoch_end": True}
    return [
        ModelCheckpoint(filename="best", monitor="val_loss", **at_epoch_end),
        LastCheckpoint(filename="last", save_on_exception=True, **at_epoch_end),
        ModelCheckpoint(filename="last", train_time_interval=BETWEEN_CHECKPOINTS, **common),
    ]


def build_trainer(
    run: Run,
    preset: Preset,
    hardware: Hardware,
    shown: Tensor,
    limit_batches: int | None,
    interrupts: Interrupts,
    quiet: bool,
) -> Trainer:
    """A Trainer that writes into ``run``; ``shown`` are the uint8 images that conditional figures reconstruct.

    Raises:
        UserError: Lightning does not accept the hardware options.
    """
    hush_lightning()
    training = preset.training
    history = History(run.metrics_file)
    average = ExponentialAverage(training.ema) if training.ema is not None else None
    budget = TimeBudget(seconds(training.max_time)) if training.max_time is not None else None
    callbacks: list[Callback | None] = [
        interrupts,
        FiniteLoss(),
        average,
        budget,
        history,
        TrainingProgress(history, quiet, budget),
        EpochSamples(run.samples, shown[:CONDITIONAL_IMAGES], average),
        *checkpoints(run),
    ]
    try:
        return Trainer(
            accelerator=hardware.accelerator,
            devices=device_setting(hardware.devices),
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=training.epochs,
            check_val_every_n_epoch=training.val_every,
            gradient_clip_val=training.clip_norm,
            limit_train_batches=limit_batches,
            limit_val_batches=limit_batches,
            callbacks=[callback for callback in callbacks if callback is not None],
            plugins=[AtomicCheckpointIO(run)],
            default_root_dir=run.folder,
            logger=EventLog(run.folder, name="logs", version=""),
            log_every_n_steps=1,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        message = str(error).strip().splitlines()[0]
        raise UserError(f"--accelerator, --devices, --num-nodes, --strategy or --precision: {message}") from error
