"""``diffcli study``: models, evaluations and claims from one file, in one command that goes on where it was."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import SLOW, TINY
from killing import start
from small_studies import HOW, MINE

from diffcli.checkpoints.model_file import read_checkpoint
from diffcli.checkpoints.runs import Run
from diffcli.studies import members as study_runs
from diffcli.studies.study_files import study_files
from diffcli.utils.errors import RunError


@pytest.fixture
def mine(tiny: Path) -> list[object]:
    """A study of two tiny models, six lines."""
    Path("mine.yaml").write_text(MINE)
    return ["study", "mine.yaml", *HOW]


@dataclass
class StudyRun:
    """The study of ``mine`` when it is done: where it ran, and what it printed."""

    place: Path
    out: str


@pytest.fixture(scope="module")
def study_run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """Tests must not change it: they take copies of its folder ``studies``."""
    from diffcli.cli import main

    place = tmp_path_factory.mktemp("studied")
    (place / "tiny.yaml").write_text(TINY)
    (place / "mine.yaml").write_text(MINE)
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.chdir(place)
        patch.setenv("DIFFCLI_CACHE", str(place / "cache"))
        patch.setenv("TORCH_HOME", str(place / "torch"))
        with pytest.raises(SystemExit) as error:
            main(["study", "mine.yaml", *HOW])
        assert not error.value.code
    return StudyRun(place, out.getvalue())


@pytest.fixture
def study_command(mine: list[object], study_run: StudyRun) -> list[object]:
    """As ``mine``, whose study is done."""
    shutil.copytree(study_run.place / "studies", "studies")
    return mine


def weights_of(folder: str) -> dict[str, torch.Tensor]:
    return read_checkpoint(Run(Path(folder)).last)["state_dict"]


def test_six_lines_make_a_study(study_command: list[object], study_run: StudyRun) -> None:
    assert study_run.out.splitlines()[-3:] == [f"studies/mine/mine.{suffix}" for suffix in ("html", "md", "json")]
    report = json.loads(Path("studies/mine/mine.json").read_text())
    assert [run["label"] for run in report["runs"]] == ["short", "long"]
    (claim,) = report["claims"]
    assert claim["verdict"] in ("confirmed", "not confirmed", "not settled")
    assert f"{claim['verdict']}: long has a better fid than short." in study_run.out
    page, text = Path("studies/mine/mine.html").read_text(), Path("studies/mine/mine.md").read_text()
    for run in report["runs"]:
        assert Path(run["run"]).parent == Path("studies/mine")
        scores = run["scores"]
        value = f"{scores['fid_classifier']:.4g}"
        assert f"{value}<small>± {scores['fid_classifier_error']:.2g}</small>" in page
        assert f"{value} (± {scores['fid_classifier_error']:.2g})" in text.replace("**", "")
        # Where each number comes from: folder, epoch, n, seed, extractor.
        assert f"mine/{run['label']}" in page
        assert f"sha256 {run['settings']['checkpoint_sha256'][:8]}" in text
        assert "| 10 | 20 | 0 | classifier, weights digits; resnet, weights digits |" in text
        assert list(run["by_epoch"]) == ["1"]
        assert run["by_epoch"]["1"]["settings"]["n_fid"] == 10
    assert "<script" not in page
    assert page.count("<img") == 1 + 2 + 2 + 2  # strips; loss, samples, reconstructions of each


def test_a_study_goes_on_where_it_was_and_repeats_nothing(cli, mine: list[object], monkeypatch) -> None:
    real, calls = study_runs.run_plan, []

    def train_one(plan, *rest):
        if calls:
            raise RunError("interrupted by the test")
        calls.append(plan.options.out.name)
        return real(plan, *rest)

    monkeypatch.setattr(study_runs, "run_plan", train_one)
    assert cli(*mine).code == 1
    first = Run(Path("studies/mine/short")).last.stat().st_mtime_ns

    def train(plan, *rest):
        calls.append(plan.options.out.name)
        return real(plan, *rest)

    monkeypatch.setattr(study_runs, "run_plan", train)
    for _ in range(2):
        result = cli(*mine)
        assert result.code == 0, result.err
    assert calls == ["short", "long"]
    assert Run(Path("studies/mine/short")).last.stat().st_mtime_ns == first
    # The claims and the words may change; the runs stay.
    Path("mine.yaml").write_text(MINE.replace("metric: fid", "metric: rmse, text: Nearer.").replace("Two", "2"))
    assert "Nearer." in cli(*mine).out
    assert calls == ["short", "long"]


@pytest.mark.parametrize("moment", range(4 if SLOW else 1))
def test_a_killed_study_goes_on_and_ends_as_one_that_was_not(
    cli, mine: list[object], workplace: Path, moment: int
) -> None:
    Path("mine.yaml").write_text(
        MINE.replace("long: tiny.yaml", "long: {preset: tiny.yaml, set: {training.epochs: 15}}")
    )
    assert cli(*mine, "--out", "whole").code == 0
    process = start(workplace, *mine, "--out", "killed", seconds_between=0.0)
    deadline = time.monotonic() + 120
    while not Run(Path("killed/long")).last.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1 * moment)
    process.kill()
    process.join()
    steps = read_checkpoint(Run(Path("killed/long")).last)["global_step"]
    result = cli(*mine, "--out", "killed")
    assert result.code == 0, result.err
    assert steps < read_checkpoint(Run(Path("killed/long")).last)["global_step"]
    for label in ("short", "long"):
        whole, pieces = weights_of(f"whole/{label}"), weights_of(f"killed/{label}")
        assert all(torch.equal(whole[name], pieces[name]) for name in whole)
    claims = [json.loads(Path(f"{out}/mine.json").read_text())["claims"] for out in ("whole", "killed")]
    assert claims[0] == claims[1]


def test_several_seeds_give_mean_and_spread(cli, mine: list[object]) -> None:
    Path("mine.yaml").write_text(MINE.replace("long: tiny.yaml", "long: {preset: tiny.yaml, seeds: [3, 4]}"))
    result = cli(*mine)
    assert result.code == 0, result.err
    runs = [run for run in json.loads(Path("studies/mine/mine.json").read_text())["runs"] if run["label"] == "long"]
    assert [run["settings"]["seed"] for run in runs] == [3, 4]
    assert [Path(run["run"]).name for run in runs] == ["long-seed-3", "long-seed-4"]
    a, b = (run["scores"]["rmse"] for run in runs)
    assert a != b
    mean, spread = (a + b) / 2, abs(a - b) / 2**0.5
    text = Path("studies/mine/mine.md").read_text()
    assert f"{mean:.4g}" in text
    assert f"± {spread:.2g})" in text
    assert "long (2 seeds)" in text
    assert "long, seed 4" in text


def test_runs_at_hand_are_taken_as_they_are(cli, mine: list[object]) -> None:
    assert (
        cli("train", "--preset", "tiny.yaml", "--epochs", 3, "--out", "there", "--accelerator", "cpu", "-q").code == 0
    )
    before = Run(Path("there")).last.stat().st_mtime_ns
    result = cli(*mine, "--run", "long=there", "--page", "pages/mine.html")
    assert result.code == 0, result.err
    assert Run(Path("there")).last.stat().st_mtime_ns == before
    assert not Path("studies/mine/long").exists()
    assert Path("pages/mine.md").is_file()
    report = json.loads(Path("pages/mine.json").read_text())
    assert [run["run"] for run in report["runs"]] == ["studies/mine/short", "there"]
    other = ["--set", "prediction=x0", "--limit-batches", 1, "--accelerator", "cpu", "-q"]
    assert cli("train", "--preset", "tiny.yaml", "--out", "other", *other).code == 0
    for text, expected in [
        ("long=other", "--run other is no run of 'long': prediction is another"),
        ("lang=there", "unknown model 'lang'; did you mean 'long'"),
        ("long=nowhere", "no run 'nowhere'"),
        ("long", "write it as MODEL=RUN"),
    ]:
        result = cli(*mine, "--run", text)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err


def test_a_folder_of_another_study_is_refused(cli, study_command: list[object]) -> None:
    for change in (
        MINE.replace("long: tiny.yaml", "long: {preset: tiny.yaml, set: {prediction: x0}}"),
        MINE + "budget: {limit_batches: 1}\n",
    ):
        Path("mine.yaml").write_text(change)
        result = cli(*study_command)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert "holds a run of another study or budget" in result.err
    # More of the same training is none: it goes on.
    Path("mine.yaml").write_text(MINE + "budget: {epochs: 3}\n")
    assert cli(*study_command).code == 0
    assert {read_checkpoint(Run(Path(f"studies/mine/{label}")).last)["epoch"] for label in ("short", "long")} == {2}


def test_the_precision_of_a_studys_evaluation_is_taken_and_told(cli, mine: list[object]) -> None:
    def precisions() -> list[str]:
        (run,) = json.loads(Path("studies/mine/mine.json").read_text())["runs"]
        return [one["settings"]["precision"] for one in (run, *run["by_epoch"].values())]

    for precision, expected in (("bf16-mixed", "bf16-mixed"), ("32-true", "32-true")):
        budget = f"budget: {{epochs: 1, without: [long], evaluation: {{precision: {precision}}}}}\n"
        Path("mine.yaml").write_text(MINE.replace("claims: [{better: long, than: short, metric: fid}]\n", budget))
        assert cli(*mine).code == 0
        assert precisions() == [expected] * 2
        assert f", {expected}, diffcli" in Path("studies/mine/mine.md").read_text()
    Path("mine.yaml").write_text(MINE.replace("n_test: 10,", "n_test: 10, precision: bf17,"))
    refusal = cli(*mine)
    assert refusal.code == 2
    assert "evaluation.precision" in refusal.err


def test_json_and_show(cli, study_command: list[object]) -> None:
    result = cli(*study_command, "--json")
    assert json.loads(result.out) == json.loads(Path("studies/mine/mine.json").read_text())
    for name, file in study_files().items():
        assert cli("study", name, "--show").out == file.read_text()
    assert set(study_files()) == {"degradations", "learnt", "report"}


def test_what_cannot_run_is_told_before_anything_is_written(cli, mine: list[object]) -> None:
    for option, value, expected in [
        ("--devices", "two", "--devices"),
        ("--strategy", "nope", "nope"),
        ("--precision", "12-bit", "12-bit"),
        ("--num-nodes", "0", "--num-nodes must be a positive integer"),
        ("--accelerator", "tpu", "unknown accelerator"),
        ("--budget", "quik", "unknown budget 'quik'"),
        ("--page", "page.pdf", "--page page.pdf: unknown extension"),
    ]:
        result = cli(*mine, option, value)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    result = cli("study", "mine.yaml", "--inception-weights", "none.pth")
    assert "none.pth does not exist" in result.err
    Path("mine.yaml").write_text(MINE.replace("long: tiny.yaml", "long: {preset: tiny.yaml, set: {schedule.T: 0}}"))
    result = cli(*mine)
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "schedule" in result.err
    assert "did you mean 'report'" in cli("study", "reprot").err
    assert "--data-dir or DIFFCLI_DATA" in cli("study", "report", "--data-dir", "nowhere", *HOW).err
    assert not Path("studies").exists()


SMALL_STUDY = """\
import os, pathlib, sys
from diffcli.cli import main

replace = pathlib.Path.replace

def logged(self, target):
    with open("written.txt", "a") as log:
        print(os.environ.get("LOCAL_RANK", "0"), target, file=log)
    return replace(self, target)

pathlib.Path.replace = logged
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_study_of_two_processes_is_that_of_one_and_writes_once(cli, mine: list[object]) -> None:
    assert cli(*mine, "--out", "one", "--devices", 1).code == 0
    Path("small.py").write_text(SMALL_STUDY)
    for _ in range(2):  # the second time there is nothing to train and to evaluate
        command = [sys.executable, "small.py", *mine, "--out", "two", "--devices", "2", "--strategy", "ddp"]
        process = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert (process.returncode, process.stderr) == (0, "")
        assert process.stdout.count("mine.html") == 1
    one, two = (json.loads(Path(f"{out}/mine.json").read_text())["runs"] for out in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert (a["settings"]["processes"], b["settings"]["processes"]) == (1, 2)
        assert a["scores"] == pytest.approx(b["scores"], rel=1e-3)
    entries = [line.split() for line in Path("written.txt").read_text().splitlines()]
    assert {rank for rank, _ in entries} == {"0"}
    times = Counter(target for _, target in entries)
    assert times["two/mine.html"] == 2
    assert {count for target, count in times.items() if target.endswith("eval.json")} == {1}


def few_beside(place: str) -> None:
    """Has the evaluations of a folder say that fewer real images stood beside their samples."""
    for file in Path(place).rglob("eval.json"):
        content = json.loads(file.read_text())
        content["settings"]["n_floor"] = content["settings"]["n_fid"] - 3
        file.write_text(json.dumps(content))


def test_pages_mark_floors_of_fewer_images(cli, study_command: list[object]) -> None:
    before = cli(*study_command).out
    few_beside("studies/mine")
    result = cli(*study_command)
    assert result.code == 0, result.err
    page, text = Path("studies/mine/mine.html").read_text(), Path("studies/mine/mine.md").read_text()
    line = "short: beside the 20 samples stand 17 real training images: some labels have no more"
    along = "short, epoch 1: beside the 10 samples stand 7 real training images"
    for output in (page, text, " ".join(result.out.split())):
        assert line in output
        assert along in output
    assert "beside the" not in before
    command = ["compare", "studies/mine/short", "studies/mine/long", "--n-test", 10, "--n-fid", 20, "--steps", 4, *HOW]
    for name in ("page.html", "page.md"):
        assert cli(*command, "--out", name).code == 0
        few_beside("studies/mine")
        listing = cli(*command, "--out", name)
        assert "tiny (short): beside the 20 samples stand 17" in listing.out
        assert "tiny (short): beside the 20 samples stand 17" in Path(name).read_text()
