"""Training: a plan, carried out in a run folder."""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

from diffcli.checkpoints.images import data_place
from diffcli.checkpoints.model_file import read_checkpoint
from diffcli.checkpoints.records import new_session, sessions
from diffcli.checkpoints.runs import Run, lock_run, new_run, record_run, runs_root
from diffcli.config.registry import failure_of_plugin
from diffcli.data.datamodule import batch_sizes
from diffcli.training.agreement import Agreement
from diffcli.training.checkpoint_callbacks import remove_leftovers, run_of
from diffcli.training.loggers import LoggedRun, build_loggers
from diffcli.training.options import TrainOptions
from diffcli.training.pace import TimeBudget, ending
from diffcli.training.plan import Plan, images_of, plan
from diffcli.training.safety import Diverged, Interrupts, silent_writers
from diffcli.training.trainer import Setting, build_trainer
from diffcli.utils import distributed as peers
from diffcli.utils.compile import check_compiler, compile_in_place, use_fast_products
from diffcli.utils.console import is_text, note
from diffcli.utils.devices import silence
from diffcli.utils.errors import DiffcliError, RunError, UserError, explain
from diffcli.utils.files import user_path
from diffcli.utils.options import called_with, options_of


class Interrupted(RunError):
    """SIGINT or SIGTERM ended a training after its work was saved; the exit code is the signal's."""

    def __init__(self, message: str, run: Run, signal_number: int) -> None:
        super().__init__(message)
        self.run = run
        self.exit_code = 128 + signal_number


@called_with(TrainOptions)
def train(*args: Any, **arguments: Any) -> Run:
    """Trains a preset's model into a new run folder, or goes on with a run; returns the run.

    An interrupt (Ctrl-C) ends it after the current step, the work saved.

    Raises:
        UserError: the preset, its data or an option is not usable.
        Interrupted: by SIGINT or SIGTERM, the work saved.
        RunError: the loss is not finite, memory or the disk is full, or the folder is gone.
    """
    return run_plan(plan(options_of(TrainOptions, *args, **arguments)))


def run_plan(plan: Plan) -> Run:
    """Carries out the plan of a training. Of several processes, the first one alone makes the folder and writes into
    it."""
    first = peers.is_first()
    if not first:
        silence()
    with _folder_of(plan, first) as run:
        return _train_in(run, plan, first)


def _folder_of(plan: Plan, first: bool) -> AbstractContextManager[Run]:
    """The run to train in, for no other process to write into; of several processes only the first one writes."""
    out = None if plan.options.out is None else Path(plan.options.out)
    if not first:
        return nullcontext(plan.run or Run(out or runs_root()))
    return new_run(plan.name, out) if plan.run is None else lock_run(plan.run)


def _check_names(*names: str) -> None:
    for name in names:
        if not is_text(name):  # TensorBoard's files hold text alone
            encoding = sys.getfilesystemencoding()
            hint = "" if encoding == "utf-8" else ", or set PYTHONUTF8=1"
            raise UserError(f"{name} is not text in {encoding}, the encoding of file names here; name another{hint}")


def _train_in(run: Run, plan: Plan, first: bool) -> Run:
    _check_names(plan.name, str(run.folder))
    options = plan.options
    is_resume = run.preset_file.is_file()
    checkpoint = run.last if run.last.is_file() else None
    step = int(read_checkpoint(checkpoint)["global_step"]) if checkpoint else 0
    interrupts = Interrupts(Agreement())
    identity = run.info().get("id") or uuid4().hex[:12]
    loggers = build_loggers(plan.loggers, LoggedRun(run, plan.name, identity, step)) if first else []
    trainer = build_trainer(Setting(run, plan.preset, options.devices, plan.data, loggers, options.quiet), interrupts)
    peers.check_count(trainer.num_devices * trainer.num_nodes)
    batch_sizes(len(plan.data.train), plan.preset.training.batch_size, trainer.world_size)
    use_fast_products(trainer.strategy.root_device)
    if options.devices.compile:
        check_compiler(trainer.strategy.root_device)
        compile_in_place(plan.module.denoiser.network, trainer.strategy.root_device)
    if first:
        if is_resume:
            remove_leftovers(run)
        session = new_session(step, trainer.strategy.root_device, str(trainer.precision))
        facts = _facts(run, plan, is_resume) | {"precision": session["precision"], "id": identity}
        facts["sessions"] = [*sessions(run.info()), session]
        record_run(run, plan.name, plan.preset, facts)
    if first and not options.quiet:  # when nothing is left to be refused: an error stands alone
        is_alone = trainer.world_size == 1 and not options.devices.compile
        for line in (*(f"skipped: {file}" for file in plan.skipped), *plan.first_notes, *_prospects(plan, is_alone)):
            note(line)
    peers.watch_processes(lambda: _last_checkpoint(run))
    with interrupts.handle_signals(), silent_writers():
        try:
            trainer.fit(plan.module, datamodule=plan.data, ckpt_path=checkpoint, weights_only=True)
        except (SystemExit, KeyboardInterrupt):
            if not first:  # the first process tells; the others' exit codes would make it be killed
                raise SystemExit(0) from None
            state = "the work so far is saved" if run.last.is_file() else "nothing was done yet"
            number = (interrupts.signals or [signal.SIGINT])[0]
            raise Interrupted(f"interrupted; {state} in {run.folder}", run, number) from None
        except Exception as error:
            if not first and isinstance(error, Diverged):  # all processes have found that; see above
                raise SystemExit(0) from None
            message = _failure_message(error, _last_checkpoint(run_of(trainer)))
            if message is None:
                raise
            raise RunError(message) from error
    budget = next((one for one in trainer.callbacks if isinstance(one, TimeBudget)), None)  # type: ignore[attr-defined]
    if first and budget is not None and not options.quiet:
        note(ending(budget, plan.preset.training, trainer.global_step / plan.data.batches_per_epoch))
    return run


def _prospects(plan: Plan, is_alone: bool) -> list[str]:
    """Notes on what a user may not expect of the training; for a folder of pictures its time and memory before that.

    Args:
        is_alone: whether the process trains by itself, and as it is: what is estimated is that.
    """
    estimate = plan.forecast() if is_alone and plan.pictures is not None else None
    return [*plan.notes] if estimate is None else [estimate.in_a_line(), *plan.notes_after(estimate.steps_done)]


def _last_checkpoint(run: Run) -> str:
    last = next((file for file in (run.last, run.best) if file.is_file()), None)
    return f"the last good checkpoint is {last}" if last else "nothing was saved yet"


def _failure_message(error: Exception, state: str) -> str | None:
    """The message about a failure; None where it is a bug that shows itself."""
    if isinstance(error, Diverged):
        problem, hint = str(error), "a lower `training.lr` or training.clip_norm may help"
    elif isinstance(error, DiffcliError):
        problem, hint = str(error), ""
    elif peers.is_loss(error):
        problem, hint = peers.explain_loss(error), ""
    elif reason := explain(error):
        problem, hint = reason
    elif failure := failure_of_plugin(error):
        problem, hint = failure, ""
    else:
        return None
    return f"{problem}; {state}" + (f". {hint[0].upper()}{hint[1:]}" if hint else "")


def _facts(run: Run, plan: Plan, is_resume: bool) -> dict[str, Any]:
    path, images = plan.preset.data.parameters.get("path"), plan.images
    has_images = isinstance(path, str) and images is not None and user_path(images).exists()
    place = {"data_path": data_place(run, str(path), str(images))} if has_images else {}
    return {
        **place,
        **({} if plan.beginning is None else {"init": plan.beginning.facts}),
        "image_shape": list(plan.data.train.image_shape),
        **images_of(plan.data),
        "test_images": plan.test_images,
        "limit_batches": plan.data.limit_batches,
        "parameters": plan.parameters,
        "plugins": plan.module.hparams["plugins"] or {},
        "resumed": is_resume,
        "loggers": plan.loggers,
    }
