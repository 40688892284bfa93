"""The Lightning Trainer: loggers, checkpoints, devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from diffcli.checkpoints.runs import Run
from diffcli.config.schema import Preset, seconds
from diffcli.data.datamodule import ImageDataModule
from diffcli.training.averaging import EarlyAverage, ExponentialAverage
from diffcli.training.callbacks import EpochSamples, History, TrainingProgress
from diffcli.training.checkpoint_callbacks import AtomicCheckpointIO, BestCheckpoint, KeptCheckpoints, LastCheckpoint
from diffcli.training.pace import TimeBudget
from diffcli.training.safety import FiniteLoss, Interrupts
from diffcli.utils import distributed as peers
from diffcli.utils.compile import precision_of
from diffcli.utils.devices import Devices, device_setting, hush_lightning
from diffcli.utils.errors import UserError


@dataclass(frozen=True)
class Setting:
    """The setting that a Trainer is built for: the run that it writes into, on which devices, and where its curves
    go."""

    run: Run
    preset: Preset
    devices: Devices
    data: ImageDataModule
    loggers: Sequence[Logger] = ()
    quiet: bool = False


def _placement(devices: Devices) -> dict[str, Any]:
    """The arguments of Lightning's Trainer that say where it computes."""
    return {
        "accelerator": devices.accelerator,
        "devices": device_setting(devices.devices),
        "num_nodes": devices.num_nodes,
        "strategy": devices.strategy,
    }


def build_trainer(setting: Setting, interrupts: Interrupts) -> Trainer:
    """The Trainer of a training.

    Raises:
        UserError: Lightning does not accept the devices.
    """
    run, devices, training = setting.run, setting.devices, setting.preset.training
    with _lightnings_errors(devices):
        trainer = Trainer(
            **_placement(devices),
            precision=precision_of(devices, training.precision),
            max_epochs=training.epochs,
            check_val_every_n_epoch=training.val_every,
            gradient_clip_val=training.clip_norm,
            limit_train_batches=setting.data.limit_batches,
            limit_val_batches=setting.data.limit_batches if setting.preset.validates else 0,
            callbacks=_callbacks(setting, interrupts),
            plugins=[AtomicCheckpointIO(run)],
            default_root_dir=run.folder,
            logger=list(setting.loggers) or False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if environment is not None:  # Lightning asks when the training starts, after its folder was made
            environment.validate_settings(num_devices=trainer.num_devices, num_nodes=trainer.num_nodes)
        return trainer


def check_processes(devices: Devices) -> None:
    """Checks that the processes of a training can be started, before there is anything of it.

    Raises:
        UserError: Lightning does not accept the devices, or this program cannot be started again for each process.
    """
    if peers.came_from_a_file():
        return
    with _lightnings_errors(devices):
        trainer = Trainer(
            **_placement(devices),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    peers.check_program(trainer.strategy.launcher)


@contextmanager
def _lightnings_errors(devices: Devices) -> Iterator[None]:
    """Turns what Lightning raises on devices that are not usable into one line."""
    if "spawn" in devices.strategy:
        raise UserError(f"`strategy` {devices.strategy}: a training cannot be copied into other processes; use ddp")
    hush_lightning()
    try:
        yield
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        message = str(error).strip().splitlines()[0]
        raise UserError(f"`accelerator`, `devices`, `num_nodes`, `strategy` or `precision`: {message}") from error


def _callbacks(setting: Setting, interrupts: Interrupts) -> list[Callback]:
    """The callbacks, in the order in which Lightning calls them."""
    run, training = setting.run, setting.preset.training
    agreement = interrupts.agreement
    average = ExponentialAverage(training.ema) if training.ema is not None else None
    budget = TimeBudget(seconds(training.max_time), agreement) if training.max_time is not None else None
    progress = TrainingProgress(setting.quiet, budget)
    callbacks: list[Callback | None] = [
        agreement,
        interrupts,
        FiniteLoss(),
        average,
        budget,
        EarlyAverage(training.guide_at, average) if training.guide_at is not None else None,
        History(run.metrics_file, progress.show),
        progress,
        EpochSamples(run.samples, average),
        KeptCheckpoints(run, training.sample_epochs),
        BestCheckpoint(run.best),
        LastCheckpoint(run.last, interrupts),
    ]
    return [callback for callback in callbacks if callback is not None]
