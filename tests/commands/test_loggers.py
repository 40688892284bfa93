"""Experiment loggers: each gets the curves, a resume goes on with them, and what is missing costs one line."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import Cli

from diffcli.checkpoints.runs import Run
from diffcli.training import loggers

TRAIN = ["train", "--accelerator", "cpu", "-q", "--limit-batches", 2]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def trained_in_two_parts(cli: Cli, tiny: Path, *names: str) -> Path:
    """A run of two epochs, resumed for two more."""
    flags = [word for name in names for word in ("--logger", name)]
    first = cli(*TRAIN, "--preset", tiny, "--out", "run", *flags)
    assert (first.code, first.err) == (0, "")
    result = cli("train", "--resume", "run", "--epochs", 4, "--accelerator", "cpu", "-q")
    assert (result.code, result.err) == (0, "")
    return Path("run")


def expected_losses(run: Path) -> list[float]:
    return [float(row["val_loss"]) for row in rows_of(Run(run).metrics_file)]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "wanb"])
def test_what_is_missing_costs_one_line_and_nothing_else(
    cli: Cli, workplace: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda package: None if package in ("wandb", "mlflow") else package)
    result = cli(*TRAIN, "--preset", tiny, "--logger", "csv", "--logger", name)
    assert (result.code, result.err.count("\n")) == (2, 1)
    expected = "did you mean 'wandb'" if name == "wanb" else f"install it with: pip install 'diffcli[{name}]'"
    assert f"--logger {name} needs" in result.err or "--logger: unknown logger 'wanb'" in result.err
    assert expected in result.err
    assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]


def test_a_resume_without_the_runs_logger_says_so(cli: Cli, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(*TRAIN, "--preset", tiny, "--out", "run", "--logger", "csv").code == 0
    info = json.loads(Run(Path("run")).info_file.read_text())
    assert info["loggers"] == ["csv"]
    Run(Path("run")).info_file.write_text(json.dumps(info | {"loggers": ["mlflow"]}))
    monkeypatch.setattr(loggers, "find_spec", lambda package: None if package == "mlflow" else package)
    resume = ["train", "--resume", "run", "--epochs", 3, "--accelerator", "cpu", "-q"]
    refusal = cli(*resume)
    assert (refusal.code, refusal.err.count("\n")) == (2, 1)
    assert "diffcli[mlflow]" in refusal.err
    assert cli(*resume, "--logger", "csv").code == 0
    assert Run(Path("run")).info()["loggers"] == ["csv"]


def test_the_table_goes_on_after_a_resume(cli: Cli, tiny: Path) -> None:
    run = trained_in_two_parts(cli, tiny, "csv")
    rows = rows_of(run / "logs" / "csv" / "metrics.csv")
    assert [float(row["val_loss"]) for row in rows if row["val_loss"]] == pytest.approx(expected_losses(run))
    assert [int(row["step"]) for row in rows if row["val_loss"]] == [1, 3, 5, 7]
    assert not list((run / "logs").glob("events.out*"))


def test_rows_after_the_checkpoint_of_a_resume_come_again_once(tmp_path: Path) -> None:
    table = loggers.Table(tmp_path / "csv", 0)
    for step in range(4):
        table.log_metrics({"loss": float(step)}, step)
    again = loggers.Table(tmp_path / "csv", 2)
    again.log_metrics({"loss": 20.0, "other": 1.0}, 2)
    rows = rows_of(tmp_path / "csv" / "metrics.csv")
    assert [(row["step"], row["loss"], row["other"]) for row in rows] == [
        ("0", "0.0", ""),
        ("1", "1.0", ""),
        ("2", "20.0", "1.0"),
    ]


def test_curves_of_a_resume_in_the_second_of_its_training_stay(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    time.sleep(1 - time.time() % 1)  # both begin in one second
    for values in ([5.0], [3.0, 2.0]):
        log = loggers.EventLog(tmp_path, name="logs", version="", default_hp_metric=False, purge_step=0)
        for step, value in enumerate(values):
            log.log_metrics({"loss": value}, step)
        log.finalize("success")
        if len(values) == 1:  # as the tenth file of a process stands before its second one
            [file] = (tmp_path / "logs").iterdir()
            file.rename(file.with_name(".".join(file.name.split(".")[:4]) + ".~.9.9"))
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 3.0), (1, 2.0)]


def test_tensorboard_is_what_is_written_unless_told_otherwise(cli: Cli, tiny: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained_in_two_parts(cli, tiny)
    events = EventAccumulator(str(run / "logs"))
    events.Reload()
    assert [event.value for event in events.Scalars("val_loss")] == pytest.approx(expected_losses(run))
    assert Run(run).info()["loggers"] == ["tensorboard"]


class StandIn:
    """What is used of wandb, and what it was given."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.rows: list[dict[str, float]] = []
        self.ends = 0

    def module(self) -> ModuleType:
        """A module ``wandb`` that keeps what it is given."""
        owner = self

        class OneRun:
            def __init__(self, **options: Any) -> None:
                owner.starts.append(options)
                self.id, self.name = options["id"], options["name"]
                self.config = SimpleNamespace(update=lambda *values, **options: None)

            def define_metric(self, *names: str, **options: Any) -> None: ...

            def log(self, values: dict[str, float]) -> None:
                owner.rows.append(values)

            def finish(self, exit_code: int) -> None:
                owner.ends += 1

        module = ModuleType("wandb")
        lib, of_runs = ModuleType("wandb.sdk.lib"), ModuleType("wandb.wandb_run")
        lib.RunDisabled = of_runs.Run = OneRun  # type: ignore[attr-defined]
        module.run, module.init = None, OneRun  # type: ignore[attr-defined]
        module.Settings = SimpleNamespace  # type: ignore[attr-defined]
        sys.modules |= {"wandb.sdk": ModuleType("wandb.sdk"), "wandb.sdk.lib": lib, "wandb.wandb_run": of_runs}
        return module


def test_wandb_is_given_the_curves_offline_and_the_same_run_on_a_resume(
    cli: Cli, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name in ("wandb.sdk", "wandb.sdk.lib", "wandb.wandb_run"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "wandb", stand_in.module())
    monkeypatch.setattr(loggers, "find_spec", lambda package: package)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    run = trained_in_two_parts(cli, tiny, "wandb")
    first, second = stand_in.starts
    assert first["id"] == second["id"] == Run(run).info()["id"]
    assert (first["mode"], first["name"], first["project"]) == ("offline", "tiny/run", "diffcli")
    assert stand_in.ends == 2
    losses = [values["val_loss"] for values in stand_in.rows if "val_loss" in values]
    assert losses == pytest.approx(expected_losses(run))


def test_wandb_itself_writes_offline_runs(cli: Cli, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = trained_in_two_parts(cli, tiny, "wandb")
    offline = sorted((run / "logs" / "wandb").glob("offline-run-*"))
    assert len(offline) == 2
    assert all(folder.name.endswith(Run(run).info()["id"]) and list(folder.glob("*.wandb")) for folder in offline)


def test_mlflow_keeps_one_run_in_a_local_store(cli: Cli, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from mlflow.tracking import MlflowClient

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    run = trained_in_two_parts(cli, tiny, "mlflow", "csv")
    client = MlflowClient(f"sqlite:///{run.absolute()}/logs/mlflow.db")
    experiment = client.get_experiment_by_name("diffcli")
    (record,) = client.search_runs([experiment.experiment_id])
    assert record.info.status == "FINISHED"
    assert record.data.params["preset/network/name"] == "cnn"
    history = client.get_metric_history(record.info.run_id, "val_loss")
    assert [metric.value for metric in history] == pytest.approx(expected_losses(run))
    assert (run / "logs" / "csv" / "metrics.csv").is_file()


def test_a_server_that_does_not_answer_costs_one_line(
    cli: Cli, workplace: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(entry: loggers.LoggedRun) -> Any:
        (entry.run.folder / "logs").mkdir()
        raise ConnectionError("no server at http://127.0.0.1:1\nlong story")

    monkeypatch.setitem(loggers.LOGGERS, "mlflow", ("lightning", refuse))
    result = cli(*TRAIN, "--preset", tiny, "--logger", "mlflow")
    assert (result.code, result.err) == (
        2,
        "error: --logger mlflow cannot start: no server at http://127.0.0.1:1\n",
    )
    assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]
