"""``diffcli train``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcli import peers
from diffcli.assembly import load_source, resolve, with_classes
from diffcli.checkpoints import check_weights, read_checkpoint
from diffcli.config import Preset, seconds, validate
from diffcli.data.datasets import Inventory, split
from diffcli.data.module import ImageDataModule, batch_sizes
from diffcli.devices import silence
from diffcli.errors import DiffcliError, RunError, UserError, explain
from diffcli.evaluation.fingerprints import of_images
from diffcli.output import is_text
from diffcli.presets import load_preset, to_yaml, with_overrides
from diffcli.progress import console
from diffcli.runs import Run, claimed, locked, record_run, run_preset, runs_root
from diffcli.training.agreement import Agreement
from diffcli.training.checkpoints import remove_leftovers, run_of
from diffcli.training.module import DiffusionModule
from diffcli.training.pace import time_spent
from diffcli.training.resuming import check_changes
from diffcli.training.safety import Diverged, Interrupts, silent_writers
from diffcli.training.trainer import Hardware, build_trainer, check_compiler, compile_in_place

DEFAULT_DATA = "data"


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
    data_dir: Path
    skipped: tuple[str, ...] = ()
    """Files of the data set that were left out, each with the reason."""
    inventory: Inventory | None = None
    """What was read of a folder of images."""

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(weight.numel() for weight in self.module.parameters() if weight.requires_grad)

    def describe(self) -> str:
        """The resolved preset as YAML, with the sizes that follow from it as comments."""
        sizes = {
            "parameters": self.parameters,
            "batches per epoch": self.data.batches_per_epoch,
            "training images": len(self.data.train),
            "validation images": len(self.data.val),
        }
        read = f"# {self.inventory}\n" if self.inventory else ""
        return to_yaml(self.preset) + "".join(f"# {key}: {value:,}\n" for key, value in sizes.items()) + read


def plan(name: str, preset: Preset, data_dir: Path, limit_batches: int | None, download: bool = True) -> Plan:
    """Loads the data and builds the model of a preset; writes nothing into run folders.

    Raises:
        UserError: the preset or its data are not usable.
    """
    preset = resolve(preset)
    if limit_batches is not None and limit_batches < 1:
        raise UserError(f"--limit-batches must be at least 1, got {limit_batches}")
    source = load_source(preset, data_dir, download)
    preset = with_classes(preset, source.classes)
    images = source.development
    training = preset.training
    train, val = split(images, training.val_share, training.seed)
    if not len(train) or not len(val):
        raise UserError(f"training.val_share {training.val_share} leaves no images on one side of {len(images)}")
    import torch

    torch.manual_seed(training.seed)  # the network's initial weights
    module = DiffusionModule(preset.model_dump(), name, list(images.image_shape))
    data = ImageDataModule(train, val, training.batch_size, training.seed, limit_batches)
    return Plan(name, preset, module, data, data_dir, source.skipped, source.inventory)


def plan_new(preset: str, overrides: list[str], data_dir: Path, limit_batches: int | None, download: bool) -> Plan:
    """The plan of a new run of a preset, given by name or path."""
    name, values = load_preset(preset, overrides)
    return plan(name, values, data_dir, limit_batches, download)


def plan_resumed(run: Run, overrides: list[str], data_dir: Path, limit_batches: int | None) -> Plan:
    """The plan that goes on with a run, ``--set`` changes applied to its own preset.

    A run that was killed before its first checkpoint starts from its beginning.

    Raises:
        UserError: it is done, a change is none that a resume can make, or the images are not those of its beginning.
    """
    recorded = run_preset(run)
    after = validate(with_overrides(recorded.model_dump(), overrides), str(run.folder))
    content = read_checkpoint(run.last) if run.last.is_file() else None
    # The checkpoint says what was trained, whatever was written into the preset's file since.
    before = validate(content["hyper_parameters"]["preset"], f"checkpoint {run.last}") if content else recorded
    info = run.info()
    name = content["hyper_parameters"]["preset_name"] if content else info.get("preset", run.folder.name)
    if "limit_batches" in info:
        if limit_batches not in (None, info["limit_batches"]):
            began = info["limit_batches"] or "all"
            raise UserError(f"--limit-batches {limit_batches}: the run began with {began}, and its epochs stay as long")
        limit_batches = info["limit_batches"]
    resumed = plan(name, after, data_dir, limit_batches)
    check_changes(resolve(before), resumed.preset)
    _check_images(run, resumed)
    if content is not None:
        _check_resumable(run, resumed, content)
    return resumed


def _check_images(run: Run, resumed: Plan) -> None:
    then, now = run.info(), _images(resumed.data)
    if any(key in then and then[key] != value for key, value in now.items()):
        images = "training_images", "validation_images"
        counts = [sum(int(facts.get(key, 0)) for key in images) for facts in (then, now)]
        raise UserError(
            f"the images of data {resumed.preset.data.name} are not those that the run began with "
            f"({counts[0]:,} then, {counts[1]:,} now): a new split would validate on what was trained on; "
            "put them back as they were, or train a new run"
        )


def _images(data: ImageDataModule) -> dict[str, Any]:
    """What tells the images of a run, and how they were split, from any others."""
    return {
        "training_images": len(data.train),
        "validation_images": len(data.val),
        "training_sha256": of_images(data.train),
        "validation_sha256": of_images(data.val),
    }


def _check_resumable(run: Run, resumed: Plan, content: dict[str, Any]) -> None:
    check_weights(run.last, content["state_dict"], resumed.module)
    epochs, batches = resumed.preset.training.epochs, resumed.data.batches_per_epoch
    if content["global_step"] >= epochs * batches:
        done = content["global_step"] // batches
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
    first = peers.is_first()
    if not first:
        silence()
    if not quiet:
        for line in (*(f"skipped: {file}" for file in plan.skipped), plan.inventory):
            if line is not None:
                console.print(str(line), soft_wrap=True)
    with _folder_of(plan, run, out, first) as claimed_run:
        return _train_in(claimed_run, plan, hardware, compile_network, first, quiet)


def _folder_of(plan: Plan, run: Run | None, out: Path | None, first: bool) -> AbstractContextManager[Run]:
    """The run to train in, for no other process to write into; of several processes only the first one writes."""
    if not first:
        return nullcontext(run or Run(out or runs_root()))
    return claimed(plan.name, out) if run is None else locked(run)


def _check_names(*names: str) -> None:
    for name in names:
        if not is_text(name):  # TensorBoard's files hold text alone
            encoding = sys.getfilesystemencoding()
            hint = "" if encoding == "utf-8" else ", or set PYTHONUTF8=1"
            raise UserError(f"{name} is not text in {encoding}, the encoding of file names here; name another{hint}")


def _train_in(run: Run, plan: Plan, hardware: Hardware, compile_network: bool, first: bool, quiet: bool) -> Run:
    _check_names(plan.name, str(run.folder))
    resumed = run.preset_file.is_file()
    checkpoint = run.last if run.last.is_file() else None
    step = int(read_checkpoint(checkpoint)["global_step"]) if checkpoint else 0
    interrupts = Interrupts(Agreement())
    trainer = build_trainer(run, plan.preset, hardware, plan.data, interrupts, step, quiet)
    peers.check_count(trainer.num_devices * trainer.num_nodes)
    batch_sizes(len(plan.data.train), plan.preset.training.batch_size, trainer.world_size)
    if compile_network:
        check_compiler(trainer.strategy.root_device)
        compile_in_place(plan.module.denoiser.network, trainer.strategy.root_device)
    if first:
        if resumed:
            remove_leftovers(run)
        record_run(run, plan.name, plan.preset, _facts(plan, resumed))
    peers.watched(lambda: _saved(run))
    with interrupts.handled(), silent_writers():
        try:
            trainer.fit(plan.module, datamodule=plan.data, ckpt_path=checkpoint, weights_only=True)
        except (SystemExit, KeyboardInterrupt):
            if not first:  # the first process tells; the others' exit codes would make it be killed
                raise SystemExit(0) from None
            raise _interrupted(run, plan.data_dir, (interrupts.received or [signal.SIGINT])[0]) from None
        except Exception as error:
            if not first and isinstance(error, Diverged):  # all processes have found that; see above
                raise SystemExit(0) from None
            explained = _explained(error, _saved(run_of(trainer)))
            if explained is None:
                raise
            raise RunError(explained) from error
    return run


def _saved(run: Run) -> str:
    kept = next((file for file in (run.last, run.best) if file.is_file()), None)
    return f"the last good checkpoint is {kept}" if kept else "nothing was saved yet"


def _interrupted(run: Run, data_dir: Path, number: int) -> Interrupted:
    saved = "the work so far is saved" if run.last.is_file() else "nothing was done yet"
    command = ["diffcli", "train", "--resume", str(run.folder)]
    if str(data_dir) not in (DEFAULT_DATA, os.environ.get("DIFFCLI_DATA")):
        command += ["--data-dir", str(data_dir)]
    return Interrupted(f"interrupted; {saved}. Go on with: {shlex.join(command)}", number)


def _explained(error: Exception, saved: str) -> str | None:
    """What a user is told of a failure; None where it is a bug that shows itself."""
    if isinstance(error, Diverged):
        what, hint = str(error), "a lower --lr or training.clip_norm may help"
    elif isinstance(error, DiffcliError):
        what, hint = str(error), ""
    elif peers.is_loss(error):
        what, hint = peers.explain_loss(error), ""
    elif explained := explain(error):
        what, hint = explained
    else:
        return None
    return f"{what}; {saved}" + (f". {hint[0].upper()}{hint[1:]}" if hint else "")


def _facts(plan: Plan, resumed: bool) -> dict[str, Any]:
    return {
        "image_shape": list(plan.data.train.image_shape),
        **_images(plan.data),
        "limit_batches": plan.data.limit_batches,
        "parameters": plan.parameters,
        "resumed": resumed,
    }
