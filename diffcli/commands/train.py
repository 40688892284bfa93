"""``diffcli train``."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from diffcli.assembly import load_source, resolve
from diffcli.config import Preset, load_preset, seconds, to_yaml, validate, with_overrides
from diffcli.data.datasets import split
from diffcli.data.module import ImageDataModule, batch_sizes
from diffcli.errors import DiffcliError, RunError, UserError, explain
from diffcli.processes import silence
from diffcli.progress import console
from diffcli.runs import Run, check_weights, new_run_folder, read_checkpoint, record_run, run_preset, runs_root
from diffcli.training.module import DiffusionModule
from diffcli.training.pace import time_spent
from diffcli.training.safety import Diverged, Interrupts, remove_leftovers, silent_writers
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
    skipped: tuple[str, ...] = ()
    """Files of the data set that were left out, each with the reason."""

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(weight.numel() for weight in self.module.parameters() if weight.requires_grad)

    @property
    def batches_per_epoch(self) -> int:
        """Training batches per epoch."""
        batches = len(batch_sizes(len(self.data.train), self.data.batch_size, 1))
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
    source = load_source(preset, data_dir, download)
    images = source.development
    training = preset.training
    train, val = split(images, training.val_share, training.seed)
    if not len(train) or not len(val):
        raise UserError(f"training.val_share {training.val_share} leaves no images on one side of {len(images)}")
    import torch

    torch.manual_seed(training.seed)  # the network's initial weights
    module = DiffusionModule(preset.model_dump(), name, list(images.image_shape))
    data = ImageDataModule(train, val, training.batch_size, training.seed)
    return Plan(name, preset, module, data, limit_batches, source.skipped)


def plan_new(preset: str, overrides: list[str], data_dir: Path, limit_batches: int | None, download: bool) -> Plan:
    """The plan of a new run of a preset, given by name or path."""
    name, values = load_preset(preset, overrides)
    return plan(name, values, data_dir, limit_batches, download)


def plan_resumed(run: Run, overrides: list[str], data_dir: Path, limit_batches: int | None) -> Plan:
    """The plan that goes on with a run, ``--set`` changes applied to its own preset.

    A run that was killed before its first checkpoint starts from its beginning.

    Raises:
        UserError: it is done, or a change does not fit its weights.
    """
    values = with_overrides(run_preset(run).model_dump(), overrides)
    content = read_checkpoint(run.last) if run.last.is_file() else None
    name = content["hyper_parameters"]["preset_name"] if content else run.info().get("preset", run.folder.name)
    resumed = plan(name, validate(values, str(run.folder)), data_dir, limit_batches)
    if content is not None:
        _check_resumable(run, resumed, content)
    return resumed


def _check_resumable(run: Run, resumed: Plan, content: dict[str, Any]) -> None:
    check_weights(run.last, content["state_dict"], resumed.module)
    done = int(content["epoch"]) + 1
    if done >= resumed.preset.training.epochs and content["global_step"] >= done * resumed.batches_per_epoch:
        raise UserError(
            f"{run.folder} is done: {done} epochs; train on with --resume {run.folder} --epochs {done + 10}"
        )
    budget = resumed.preset.training.max_time
    if budget is not None and time_spent(content) >= seconds(budget):
        raise UserError(f"{run.folder} is done: its {budget} are spent; train on with a longer --max-time")


def train(plan: Plan, run: Run | None, out: Path | None, hardware: Hardware, compile_network: bool, quiet: bool) -> Run:
    """Trains into a new run folder, or goes on with ``run``; returns the run.

    Of several processes, the first one alone makes the folder and writes into it.

    Raises:
        UserError: the hardware options are not usable, or the run folder cannot be written.
        Interrupted: by SIGINT or SIGTERM, the work saved.
        RunError: the loss is not finite, memory or the disk is full, or the folder is gone.
    """
    resumed = run is not None
    checkpoint = run.last if run is not None and run.last.is_file() else None
    first = getattr(rank_zero_only, "rank", 0) == 0
    if not first:
        silence()
    run = run or Run(new_run_folder(plan.name, out) if first else out or runs_root())
    if not quiet:
        for file in plan.skipped:
            console.print(f"skipped: {file}", soft_wrap=True, markup=False)
    interrupts = Interrupts()
    trainer = build_trainer(run, plan.preset, hardware, plan.data.val.images, plan.limit_batches, interrupts, quiet)
    batch_sizes(len(plan.data.train), plan.preset.training.batch_size, trainer.world_size)
    if first:
        if resumed:
            remove_leftovers(run)
        record_run(run, plan.name, plan.preset, _facts(plan, resumed))
    if compile_network:
        compile_in_place(plan.module.denoiser.network, trainer.strategy.root_device)
    with interrupts.handled(), silent_writers():
        try:
            trainer.fit(plan.module, datamodule=plan.data, ckpt_path=checkpoint, weights_only=True)
        except (SystemExit, KeyboardInterrupt):
            if not first:  # the first process tells; the others' exit codes would make it be killed
                raise SystemExit(0) from None
            raise _interrupted(run, (interrupts.received or [signal.SIGINT])[0]) from None
        except Exception as error:
            kept = next((file for file in (run.last, run.best) if file.is_file()), None)
            saved = f"the last good checkpoint is {kept}" if kept else "nothing was saved yet"
            explained = _explained(error, saved)
            if explained is None:
                raise
            raise RunError(explained) from error
    return run


def _interrupted(run: Run, number: int) -> Interrupted:
    saved = "the work so far is saved" if run.last.is_file() else "nothing was done yet"
    return Interrupted(f"interrupted; {saved}. Go on with: diffcli train --resume {run.folder}", number)


def _explained(error: Exception, saved: str) -> str | None:
    """What a user is told of a failure; None where it is a bug that shows itself."""
    if isinstance(error, Diverged):
        what, hint = str(error), "a lower --lr or training.clip_norm may help"
    elif isinstance(error, DiffcliError):
        what, hint = str(error), ""
    elif explained := explain(error):
        what, hint = explained
    else:
        return None
    return f"{what}; {saved}" + (f". {hint[0].upper()}{hint[1:]}" if hint else "")


def _facts(plan: Plan, resumed: bool) -> dict[str, Any]:
    return {
        "image_shape": list(plan.data.train.image_shape),
        "training_images": len(plan.data.train),
        "validation_images": len(plan.data.val),
        "parameters": plan.parameters,
        "resumed": resumed,
    }
