"""The run folders that docs/trainings keeps: whole tables, weights that load, nothing of the machine that made them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT

import diffcli
from diffcli.checkpoints.model_file import fingerprint
from diffcli.checkpoints.runs import Run, run_preset
from diffcli.config.build import resolve
from diffcli.config.presets import load_preset
from diffcli.studies.members import OF_A_GIVEN_RUN
from diffcli.studies.study_files import load_study
from diffcli.training.resume import changes

TRAININGS = ROOT / "docs" / "trainings"
RUNS = [Run(file.parent) for file in sorted(TRAININGS.glob("*/run.json"))]
WHOLE = {"ddpm-const-lowbeta", "ddpm-const-highbeta"}
"""With all their epochs, and every weight that was kept along the training."""
each_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.folder.name)


def test_there_are_runs() -> None:
    assert {run.folder.name for run in RUNS} >= WHOLE


@each_run
def test_a_published_run_has_an_unbroken_table_and_the_weights_of_its_best_epoch(run: Run) -> None:
    rows = run.history()
    settings = run_preset(run).training
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    assert 10 <= len(rows) <= (settings.epochs or 0)
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert torch.load(run.best, weights_only=True)["global_step"] == int(best["step"])
    assert set(run.milestones()) <= set(settings.sample_epochs)
    if run.folder.name in WHOLE:
        assert (len(rows), list(run.milestones())) == (settings.epochs, settings.sample_epochs)
    for epoch, file in run.milestones().items():
        assert torch.load(file, weights_only=True)["global_step"] == int(rows[epoch - 1]["step"])


@each_run
def test_the_table_of_trainings_says_how_many_epochs_of_how_many(run: Run) -> None:
    (cell,) = re.findall(
        rf"^\| `{run.folder.name}/` \| (.*?) \|", (TRAININGS / "README.md").read_text(), flags=re.MULTILINE
    )
    assert cell == f"{len(run.history())} of {run_preset(run).training.epochs}"


def test_nothing_is_called_trained_in_full_while_a_training_of_the_report_is_not() -> None:
    ended_early = [run.folder.name for run in RUNS if len(run.history()) < (run_preset(run).training.epochs or 0)]
    root = TRAININGS.parents[1]
    pages = [
        root / "README.md",
        *root.glob("docs/**/*.md"),
        *root.glob("diffcli/studies/*.yaml"),
        *root.glob("diffcli/studies/templates/*"),
    ]
    claims = [
        str(page)
        for page in pages
        if re.search(r"trained\s+in\s+full|fully\s+trained|whole\s+trainings", page.read_text())
    ]
    assert not (ended_early and claims), (ended_early, claims)


@each_run
def test_the_evaluations_of_a_published_run_are_of_its_weights(run: Run) -> None:
    evaluations = run.evaluations()
    assert evaluations
    for evaluation in evaluations:
        settings = evaluation["settings"]
        file = run.checkpoints / Path(settings["checkpoint"]).name
        if file.is_file():
            assert fingerprint(file) == settings["checkpoint_sha256"]
        else:  # removed after it was measured
            assert file == run.milestone_file(settings["epoch"])
            assert settings["epoch"] in run_preset(run).training.sample_epochs


@each_run
def test_a_published_run_removes_noise_from_a_stroke(run: Run) -> None:
    stroke = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    stroke[:, :, 5:23, 12:16] = 255
    model = diffcli.load(run.folder, devices=diffcli.Devices("cpu", "1"))
    xt = model.degrade(stroke, t=model.T // 10)
    clean = stroke / 127.5 - 1
    estimate = model.estimate(xt, t=model.T // 10) / 127.5 - 1
    assert (estimate - clean).square().mean() < 0.5 * (xt - clean).square().mean()


@each_run
def test_a_published_run_names_no_folder_of_the_machine_that_made_it(run: Run) -> None:
    for session in run.info()["sessions"]:
        assert not [word for word in session["command"] if Path(word).is_absolute()]


def test_the_runs_of_the_reports_study_are_of_its_models() -> None:
    """The command that writes docs/reproduction.md takes the runs that are published, whatever the presets are by
    now."""
    study = load_study("report")
    pairs = re.findall(r"--run '?([^=']+)=docs/trainings/([\w-]+)", (TRAININGS / "README.md").read_text())
    assert [label for label, _ in pairs] == list(study.models)
    for label, folder in pairs:
        model = study.models[label]
        before, after = (
            resolve(preset).preset.model_dump()
            for preset in (run_preset(Run(TRAININGS / folder)), load_preset(model.preset, model.set)[1])
        )
        for values in filter(None, (before["labels"], after["labels"])):
            values["classes"] = None  # a preset gets them of its data
        others = {key for key in changes(before, after) if not OF_A_GIVEN_RUN & {key, key.partition(".")[0]}}
        assert not others, label
