"""``diffcli train``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from diffcli.assembly import load_source, resolve
from diffcli.config import Preset, load_preset, seconds, to_yaml, with_overrides
from diffcli.data.datasets import split
from diffcli.data.module import ImageDataModule
from diffcli.errors import RunError, UserError
from diffcli.runs import Run, check_weights, new_run_folder, read_checkpoint, record_run, run_preset
from diffcli.training.module import DiffusionModule
from diffcli.training.pace import time_spent
from diffcli.training.trainer import Hardware, build_trainer, compile_in_place


class Interrupted(RunError):
    """SIGINT or SIGTERM ended the training after its work was saved; the exit code is the signal's."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


@dataclass(frozen=True)
class Plan:
    """A checked training, before anything is written."""

    name: str
    preset: Preset
    module: DiffusionModule
    data: ImageDataModule
    limit_batches: int | None

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(weight.numel() for weight in self.module.parameters() if weight.requires_grad)

    @property
    def batches_per_epoch(self) -> int:
        """Training batches per epoch."""
        batches = len(self.data.train_dataloader())
        return min(batches, self.limit_batches or batches)

    def describe(self) -> str:
        """The resolved preset as YAML, with the sizes that follow from it as comments."""
        sizes = {
            "parameters": self.parameters,
            "batches per epoch": self.batches_per_epoch,
            "training images": len(self.data.train),
            "validation images": len(self.data.val),
        }
        return to_yaml(self.preset) + "".join(f"# {key}: {value:,}\n" for key, value in sizes.items())


def plan(name: str, preset: Preset, data_dir: Path, limit_batches: int | None, download: bool = True) -> Plan:
    """Loads the data and builds the model of a preset; writes nothing into run folders.

    Raises:
        UserError: the preset or its data are not usable.
    """
    preset = resolve(preset)
    if limit_batches is not None and limit_batches < 1:
        raise UserError(f"--limit-batches must be at least 1, got {limit_batches}")
    images = load_source(preset, data_dir, download).development
    training = preset.training
    train, val = split(images, training.val_share, training.seed)
    if not len(train) or not len(val):
        raise UserError(f"training.val_share {training.val_share} leaves no images on one side of {len(images)}")
    import torch

    torch.manual_seed(training.seed)  # the network's initial weights
    module = DiffusionModule(preset.model_dump(), name, list(images.image_shape))
    return Plan(name, preset, module, ImageDataModule(train, val, training.batch_size, training.seed), limit_batches)


def plan_new(preset: str, overrides: list[str], data_dir: Path, limit_batches: int | None, download: bool) -> Plan:
    """The plan of a new run of a preset, given by name or path."""
    name, values = load_preset(preset, overrides)
    return plan(name, values, data_dir, limit_batches, download)


def plan_resumed(run: Run, overrides: list[str], data_dir: Path, limit_batches: int | None) -> Plan:
    """The plan that goes on with a run, ``--set`` changes applied to its own preset.

    Raises:
        UserError: it has nothing to go on from, or a change does not fit its weights.
    """
    from diffcli.config import validate

    if not run.last.is_file():
        raise UserError(f"{run.folder} has no checkpoints/last.ckpt to resume from; start again with --preset")
    values = with_overrides(run_preset(run).model_dump(), overrides)
    content = read_checkpoint(run.last)
    resumed = plan(
        content["hyper_parameters"]["preset_name"], validate(values, str(run.folder)), data_dir, limit_batches
    )
    check_weights(run.last, content["state_dict"], resumed.module)
    done = int(content["epoch"]) + 1
    if done >= resumed.preset.training.epochs and content["global_step"] >= done * resumed.batches_per_epoch:
        raise UserError(
            f"{run.folder} is done: {done} epochs; train on with --resume {run.folder} --epochs {done + 10}"
        )
    budget = resumed.preset.training.max_time
    if budget is not None and time_spent(content) >= seconds(budget):
        raise UserError(f"{run.folder} is done: its {budget} are spent; train on with a longer --max-time")
    return resumed


def train(plan: Plan, run: Run | None, out: Path | None, hardware: Hardware, compile_network: bool, quiet: bool) -> Run:
    """Trains into a new run folder, or goes on with ``run``; returns the run.

    Raises:
        UserError: the hardware options are not usable, or the run folder cannot be written.
        Interrupted: by SIGINT or SIGTERM, the work saved.
        RunError: the loss is not finite, or memory ran out.
    """
    resumed = run is not None
    run = run or Run(new_run_folder(plan.name, out))
    trainer = build_trainer(run, plan.preset, hardware, plan.data.val.images, plan.limit_batches, quiet)
    if trainer.is_global_zero:
        record_run(run, plan.name, plan.preset, _facts(plan, resumed))
    if compile_network:
        compile_in_place(plan.module.denoiser.network, trainer.strategy.root_device)
    with _signals_kept_in_mind() as received:
        try:
            trainer.fit(plan.module, datamodule=plan.data, ckpt_path=run.last if resumed else None, weights_only=True)
        except (SystemExit, KeyboardInterrupt):
            received.append(signal.SIGINT)
        except RunError as error:
            saved = f"the last good checkpoint is {run.last}" if run.last.is_file() else "nothing was saved yet"
            raise RunError(f"{error}; {saved}. A lower --lr or training.clip_norm may help") from error
    if received:
        saved = "the work so far is saved" if run.last.is_file() else "nothing was done yet"
        raise Interrupted(f"interrupted; {saved}. Go on with: diffcli train --resume {run.folder}", received[0])
    return run


def _facts(plan: Plan, resumed: bool) -> dict[str, Any]:
    return {
        "image_shape": list(plan.data.train.image_shape),
        "training_images": len(plan.data.train),
        "validation_images": len(plan.data.val),
        "parameters": plan.parameters,
        "resumed": resumed,
    }


@contextmanager
def _signals_kept_in_mind() -> Iterator[list[int]]:
    """Turns SIGTERM into the KeyboardInterrupt on which Lightning saves and stops, and notes which signal came."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
