"""``diffcli study``: trains the report's four models and lays them side by side, in one command that can be interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcli.checkpoints import read_checkpoint
from diffcli.devices import fabric_of
from diffcli.errors import UserError, unknown
from diffcli.experiments.compare import Comparison, Settings, compare
from diffcli.experiments.protocol import Request
from diffcli.experiments.train import Plan, plan_new, train
from diffcli.files import written_whole
from diffcli.peers import is_first
from diffcli.progress import console
from diffcli.report.claims import BLUR, HIGH, LOW, NOISE
from diffcli.runs import Run
from diffcli.training.trainer import Hardware


@dataclass(frozen=True)
class Effort:
    """How long a model is trained; None is what its preset says, or all batches."""

    epochs: int | None = None
    limit_batches: int | None = None


@dataclass(frozen=True)
class Budget:
    """How long each model of a study is trained and on how much it is evaluated."""

    description: str
    efforts: dict[str, Effort]
    n_test: int
    n_fid: int
    steps: int | None


MODELS = (LOW, HIGH, BLUR, NOISE)
CNN_QUICK, UNET_QUICK = Effort(epochs=4, limit_batches=50), Effort(epochs=4, limit_batches=16)
BUDGETS = {
    "quick": Budget(
        "half an hour on two cores: short epochs, few samples",
        {LOW: CNN_QUICK, HIGH: CNN_QUICK, BLUR: UNET_QUICK, NOISE: UNET_QUICK},
        n_test=100,
        n_fid=200,
        steps=20,
    ),
    "report": Budget(
        "the report's 50 epochs each, every sampler step: for a GPU, or days",
        {name: Effort() for name in MODELS},
        n_test=1000,
        n_fid=1000,
        steps=None,
    ),
}
STUDIES = ("report",)


def study(
    name: str,
    budget_name: str,
    out: Path,
    data_dir: Path,
    hardware: Hardware,
    extractor: str,
    inception_weights: Path | None,
    quiet: bool,
) -> Comparison:
    """Trains, evaluates and compares the models of a study; goes on where an earlier call with the same ``out`` was.

    Args:
        name: one of ``STUDIES``.
        budget_name: one of ``BUDGETS``.
        out: holds a run folder for each model, and the page ``report.html``.
        hardware: of the trainings; the evaluations run on the same devices, in single precision.

    Raises:
        UserError: the study or budget is unknown, the data are missing, or ``out`` is of another budget.
    """
    if name not in STUDIES:
        raise UserError(unknown("study", name, STUDIES))
    if budget_name not in BUDGETS:
        raise UserError(f"--budget: {unknown('budget', budget_name, BUDGETS)}")
    budget = BUDGETS[budget_name]
    request = Request((), budget.n_test, budget.n_fid, extractor, inception_weights)
    fabric_of(hardware, hardware.precision)  # a bad option is told before hours of training
    plans = {preset: _plan(preset, budget, data_dir) for preset in MODELS}
    marker = out / "budget.txt"
    if marker.is_file() and marker.read_text(encoding="utf-8").strip() != budget_name:
        raise UserError(f"--out {out} holds a study of another budget; name a new folder")
    first = is_first()
    if first:
        with written_whole(marker) as part:
            part.write_text(budget_name + "\n", encoding="utf-8")
    for number, (preset, plan) in enumerate(plans.items(), 1):
        if first and not quiet:
            console.print(f"{number}/{len(plans)} {preset}", soft_wrap=True)
        _train_on(plan, Run(out / preset), hardware, quiet)
    settings = Settings(request, budget.steps, data_dir, hardware)
    return compare([str(out / preset) for preset in MODELS], out / "report.html", settings, quiet)


def _plan(preset: str, budget: Budget, data_dir: Path) -> Plan:
    effort, changes = budget.efforts[preset], []
    if effort.epochs is not None:
        changes += [f"training.epochs={effort.epochs}", f"training.sample_epochs=[1, {effort.epochs}]"]
    if budget.steps is not None:
        changes.append(f"sampler.steps={budget.steps}")
    return plan_new(preset, changes, data_dir, effort.limit_batches, download=True)


def _train_on(plan: Plan, run: Run, hardware: Hardware, quiet: bool) -> None:
    """Trains a plan to its end in ``run``, from where it is."""
    if not run.preset_file.is_file():
        train(plan, None, run.folder, hardware, False, quiet)
        return
    steps = read_checkpoint(run.last)["global_step"] if run.last.is_file() else 0
    if steps < plan.preset.training.epochs * plan.data.batches_per_epoch:
        train(plan, run, None, hardware, False, quiet)
