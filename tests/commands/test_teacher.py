"""Models of few steps, taught by one of many: ``train --teacher`` and presets with a teacher."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import BLURRED, GUIDED, Cli

import diffcli
from diffcli.checkpoints.model_file import read_checkpoint, read_stored
from diffcli.config.build import resolve
from diffcli.config.presets import preset_of, preset_values
from diffcli.training.distillation import student_values

QUICK = ["--accelerator", "cpu", "--quiet"]


@pytest.fixture
def teacher(cli: Cli, workplace: Path) -> Path:
    """The run of a tiny model with labels and a guide."""
    Path("guided.yaml").write_text(GUIDED)
    return train(cli, "--preset", "guided.yaml", "--epochs", 1, "--out", "runs/teacher")


def train(cli: Cli, *words: object) -> Path:
    result = cli("train", *words, *QUICK)
    assert result.code == 0, result.err
    return Path(result.out.strip())


def weights(run: Path, file: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run / "checkpoints" / f"{file}.ckpt")["state_dict"]
    return state


def test_a_student_begins_as_its_teacher_and_draws_in_few_steps(cli: Cli, teacher: Path) -> None:
    run = train(cli, "--teacher", teacher, "--epochs", 1, "--limit-batches", 3, "--out", "student")
    preset = yaml.safe_load(Path("student/preset.yaml").read_text())
    assert preset["distillation"] == {"teacher": str(teacher)}
    assert (preset["sampler"]["name"], preset["sampler"]["eta"], preset["sampler"]["steps"]) == ("ddim", 1.0, 4)
    assert preset["sampler"]["autoguidance"] == 1  # what guided the teacher is in what it taught
    assert preset["training"]["batch_size"] == 128
    facts = json.loads((run / "run.json").read_text())["init"]
    assert facts["sha256"]
    assert Path(facts["file"]).is_file()
    # What is sampled from holds the student alone, and not the denoiser that it was taught with.
    assert not (run / "checkpoints" / "best.ckpt").exists()  # nothing says which weights would be the best
    stored_model = read_stored(run / "checkpoints" / "last.ckpt")
    teachers = read_stored(teacher / "checkpoints" / "best.ckpt")
    assert set(stored_model.weights) == set(teachers.weights)
    changes = [not torch.equal(stored_model.weights[key], value) for key, value in teachers.weights.items()]
    assert any(changes)
    assert cli("sample", "--run", run, "--n", 4, "--label", 3, "--out", "few.npz", "-q").code == 0
    assert cli("export", run, "--out", "few.safetensors").code == 0
    assert torch.equal(
        diffcli.load("few.safetensors").sample(4, label=3, quiet=True), diffcli.load(run).sample(4, label=3, quiet=True)
    )
    # What is measured of a denoiser is not measured of it, and refused where it is asked for.
    effort = ["--n-test", 5, "--n-fid", 6, "--extractor", "classifier", *QUICK]
    assert cli("eval", "--run", run, *effort).code == 0
    scores = diffcli.Run(run).evaluations()[0]["scores"]
    assert {"fid_classifier", "rmse"} <= set(scores)
    assert not {"loss", "nll"} & set(scores)
    for words in (["--loss"], ["--nll"], ["--nll-steps", 5]):
        refusal = cli("eval", "--run", run, *words, *effort)
        assert (refusal.code, refusal.err.count("\n")) == (2, 1)
        assert f"{words[0]}: guided-student was distilled for few steps" in refusal.err
    # It does not take its teacher's name, and cannot teach.
    assert json.loads((run / "run.json").read_text())["preset"] == "guided-student"
    assert diffcli.load("guided").preset.distillation is None
    again = cli("train", "--teacher", run, "--epochs", 1, *QUICK)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert f"is a student itself, and no denoiser any more; take its own, {teacher}" in again.err
    # A teacher that is a file, for two steps.
    assert cli("export", teacher, "--out", "teacher.safetensors").code == 0
    words = ["--set", "sampler.steps=2", "--epochs", 1, "--limit-batches", 1]
    two = train(cli, "--teacher", "teacher.safetensors", *words, "--out", "two")
    assert diffcli.Run(two).info()["init"]["file"].endswith("teacher.safetensors")


def test_a_student_of_another_degradation_has_its_teachers_priors(cli: Cli, workplace: Path) -> None:
    _, values = preset_values("quickstart-pixelate")
    values["network"] = {"name": "compact-unet", "width": 8}
    Path("pixelate.yaml").write_text(yaml.safe_dump(values))
    teacher = train(cli, "--preset", "pixelate.yaml", "--epochs", 1, "--limit-batches", 1, "--out", "runs/pixelate")
    student = train(cli, "--teacher", teacher, "--epochs", 1, "--limit-batches", 2, "--out", "student")
    preset = yaml.safe_load((student / "preset.yaml").read_text())
    assert (preset["sampler"]["name"], preset["sampler"]["eta"]) == ("cold", 1.0)
    before, after = (read_stored(run / "checkpoints" / "last.ckpt").prior_states for run in (teacher, student))
    assert before["mixture"].keys() == after["mixture"].keys()
    for key, value in before["mixture"].items():
        assert torch.equal(after["mixture"][key], value)
    assert cli("sample", "--run", student, "--n", 2, "--out", "few.npz", "-q").code == 0


def test_a_resumed_student_is_one_that_never_stopped(cli: Cli, teacher: Path) -> None:
    # Without what depends on the length of a training.
    endless = ["--set", "training.max_time=null", "--set", "training.lr_decay=false"]
    words = ["--teacher", teacher, "--limit-batches", 2, *endless]
    whole = train(cli, *words, "--epochs", 2, "--out", "whole")
    part = train(cli, *words, "--epochs", 1, "--out", "part")
    train(cli, "--resume", part, "--epochs", 2)
    for key, value in weights(whole).items():
        assert torch.equal(weights(part)[key], value), key
    # Without its teacher nothing can be learnt.
    shutil.move(teacher, "elsewhere")
    refusal = cli("train", "--resume", part, "--epochs", 3, *QUICK)
    assert (refusal.code, refusal.err.count("\n")) == (2, 1)
    assert "the model that it began from is not what it was, or not there" in refusal.err


def test_other_step_counts_are_drawn_with_a_note(cli: Cli, teacher: Path) -> None:
    run = train(cli, "--teacher", teacher, "--epochs", 1, "--limit-batches", 1, "--out", "student")
    line = "was distilled for 4 steps from T to 0"
    assert line not in cli("sample", "--run", run, "--n", 1, "--out", "a.png").err
    assert line in cli("sample", "--run", run, "--n", 1, "--steps", 8, "--out", "b.png").err


def test_what_cannot_be_distilled_is_one_line(cli: Cli, teacher: Path) -> None:
    Path("blurred.yaml").write_text(BLURRED)
    blur = train(cli, "--preset", "blurred.yaml", "--limit-batches", 1, "--out", "runs/blurred")
    before = sorted(Path("runs").rglob("*"))
    cases: list[tuple[list[object], str]] = [
        (["--teacher", blur], "distillation needs noise at every t, which gaussian-blur has not: a model of it"),
        (["--teacher", "nothing"], "unknown run 'nothing'"),
        (["--teacher", teacher, "--init", teacher], "--teacher does not go with --init, for a student begins"),
        (["--teacher", teacher, "--resume", teacher], "--teacher does not go with --resume, which goes on"),
        (["--teacher", teacher, "--set", "distillation.teacher=a"], "distillation.teacher say the same"),
        (["--teacher", teacher, "--set", "training.min_snr=5.0"], "training.min_snr does not go with distillation"),
        (
            ["--teacher", teacher, "--set", "sampler={name: heun}"],
            "sampler: distillation is for {name: ddim, eta: 1.0}",
        ),
        (["--teacher", teacher, "--set", "sampler.steps=99"], "steps must be in 1..20"),
        (["--teacher", teacher, "--set", "schedule.T=30"], "schedule is {T: 30, beta_max: 0.3,"),
        (
            ["--teacher", "mnist-fast", "--preset", "guided.yaml"],
            "--teacher mnist-fast draws images 1x28x28, and the data are 1x8x8",
        ),
        (["--preset", "mnist-one-step", "--init", "mnist-fast"], "--init does not go with distillation"),
    ]
    for words, message in cases:
        result = cli("train", *words, "--epochs", 1)
        *notes, error = result.err.splitlines()
        assert result.code == 2, result.err
        assert all(note.startswith("note: the ready model") for note in notes)
        assert message in error
    assert sorted(Path("runs").rglob("*")) == before


def test_the_preset_is_what_the_teacher_alone_gives() -> None:
    def training(values: object, name: str) -> dict[str, object]:
        return resolve(preset_of(values, {}, name)).preset.model_dump()

    name, values = preset_values("mnist-one-step")
    teachers = resolve(preset_of(preset_values("mnist-fast")[1], {}, "mnist-fast")).preset
    by_teacher = training(student_values(teachers, "mnist-fast"), "student")
    by_preset = training(values, name)
    differences = {key for key, value in by_preset.items() if by_teacher[key] != value}
    assert differences == {"description", "sampler"}
    assert by_teacher["sampler"] == by_preset["sampler"] | {"steps": 4}  # type: ignore[operator]
