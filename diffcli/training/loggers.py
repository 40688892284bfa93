"""Experiment loggers, Lightning's own: where the curves of a training go besides the run's ``metrics.csv``."""

from __future__ import annotations

import csv
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from diffcli.checkpoints.runs import Run
from diffcli.utils.errors import DiffcliError, UserError, unknown_name

PROJECT = "diffcli"
"""The name of a project of Weights & Biases, or of an experiment of MLflow; WANDB_PROJECT and MLFLOW_EXPERIMENT_NAME
change it."""
TAG = "diffcli.run"


@dataclass(frozen=True)
class LoggedRun:
    """The run that a logger writes for: its preset's name, its id at the service, and the step that it resumes from."""

    run: Run
    preset_name: str
    id: str
    step: int = 0

    @property
    def name(self) -> str:
        """The name that people see: preset and run folder."""
        return f"{self.preset_name}/{self.run.folder.name}"


class EventLog(TensorBoardLogger):
    """TensorBoard's event files, without Lightning's copy of the hyperparameters: the run has its ``preset.yaml``."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            wait_for_a_later_second(Path(self.log_dir))
        return super().experiment

    def save(self) -> None:
        self.experiment.flush()


def wait_for_a_later_second(folder: Path) -> None:
    """Waits until no event file in a folder is of the present second.

    TensorBoard reads event files in the order of their names, which begin with the second, and forgets what it has read
    of the steps from which a later file goes on. Two files of one second, a training stopped at once and its resume,
    may be read the wrong way round: then the curves of the resume would be forgotten.
    """
    while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)


class Table(CSVLogger):
    """Every logged value in ``metrics.csv``; a resume goes on below the rows of its checkpoint.

    Args:
        folder: of the file.
        step: of the checkpoint that is gone on with.
    """

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(folder.parent, name=folder.name, version="", flush_logs_every_n_steps=1)
        self.step = step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            rows = self._rows()
            writer = super().experiment  # removes what was there
            writer.metrics = rows
            writer.save()
        return super().experiment

    def _rows(self) -> list[dict[str, Any]]:
        with suppress(OSError), (Path(self.log_dir) / "metrics.csv").open(newline="", encoding="utf-8") as stream:
            return [row for row in csv.DictReader(stream) if int(row["step"]) < self.step]
        return []

    def log_hyperparams(self, params: Any = None) -> None:
        """Logs nothing: the run has its ``preset.yaml``."""


class Wandb(WandbLogger):
    """A run of Weights & Biases that ends with the training, so that the next one in this process begins its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._wandb_init.pop("anonymous", None)  # newer releases of wandb warn of it, whatever its value

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status == "failed"))
            self._experiment = None


class MLflow(MLFlowLogger):
    """A run of MLflow; a resumed one keeps its first parameters, which MLflow does not change."""

    def log_hyperparams(self, params: Any) -> None:
        if not self._goes_on:
            super().log_hyperparams(params)

    def __init__(self, run_id: str | None, **options: Any) -> None:
        super().__init__(run_id=run_id, **options)
        self._goes_on = run_id is not None


def _tensorboard(logged_run: LoggedRun) -> Logger:
    # What was logged after the checkpoint of a resume is hidden from the curves: it comes again.
    return EventLog(logged_run.run.folder, name="logs", version="", default_hp_metric=False, purge_step=logged_run.step)


def _csv(logged_run: LoggedRun) -> Logger:
    return Table(logged_run.run.folder / "logs" / "csv", logged_run.step)


def _wandb(logged_run: LoggedRun) -> Logger:
    import wandb

    folder = logged_run.run.folder / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    logger = Wandb(
        name=logged_run.name,
        save_dir=folder,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=logged_run.id,
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(silent=True, console="off"),
    )
    _ = logger.experiment  # what keeps it from starting shows here
    return logger


def _mlflow(logged_run: LoggedRun) -> Logger:
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    folder = logged_run.run.folder.absolute() / "logs" / "mlflow"
    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}.db"
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    folder.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(place)
    experiment = client.get_experiment_by_name(name)
    runs = (
        client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{logged_run.id}'", max_results=1)
        if experiment is not None
        else []
    )
    run_id = runs[0].info.run_id if runs else None
    if run_id is not None:
        client.update_run(run_id, status="RUNNING")
    logger = MLflow(
        run_id, experiment_name=name, run_name=logged_run.name, tracking_uri=place, tags={TAG: logged_run.id}
    )
    _ = logger.experiment
    return logger


LOGGERS: dict[str, tuple[str, Callable[[LoggedRun], Logger]]] = {
    "tensorboard": ("tensorboard", _tensorboard),
    "csv": ("lightning", _csv),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
}
"""The package that each logger needs, and the function that builds it, by name; the extra that brings the package
has the logger's name."""


def check_loggers(names: Sequence[str]) -> None:
    """Checks that loggers are known and their packages installed; loads none of them.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"`logger`: {unknown_name('logger', name, LOGGERS)}")
        package, _ = LOGGERS[name]
        if find_spec(package) is None:
            raise UserError(
                f"`logger` {name} needs the package {package}, which is not installed; install it with: "
                f"pip install 'diffcli[{name}]'"
            )


def build_loggers(names: Sequence[str], logged_run: LoggedRun) -> list[Logger]:
    """The loggers by name, started. Where one cannot, a run that has not begun keeps nothing of them.

    Raises:
        UserError: one cannot start: its server does not answer, for example.
    """
    loggers = []
    for name in names:
        _, build = LOGGERS[name]
        try:
            loggers.append(build(logged_run))
        except DiffcliError:
            raise
        except Exception as error:
            if not logged_run.run.preset_file.is_file():
                shutil.rmtree(logged_run.run.folder / "logs", ignore_errors=True)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"`logger` {name} cannot start: {reason}") from error
    return loggers
