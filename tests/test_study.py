"""``diffcli study``: four models from one command, which goes on where it was."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_idx import write_idx_files

from diffcli.checkpoints import read_checkpoint
from diffcli.errors import RunError
from diffcli.experiments import study as module
from diffcli.report.claims import HIGH, LOW
from diffcli.report.study import MODELS, Budget, Effort
from diffcli.runs import Run


@pytest.fixture
def minute(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A budget of two batches for each model, on sixty made-up images in the form of MNIST."""
    write_idx_files(workplace, train=60, test=12)
    efforts = {name: Effort(epochs=2, limit_batches=1) for name in MODELS}
    monkeypatch.setitem(module.BUDGETS, "quick", Budget("a test", efforts, n_test=4, n_fid=4, steps=2))
    options = ["study", "report", "--out", "study", "--data-dir", workplace, "--accelerator", "cpu"]
    return [*options, "--extractor", "classifier", "--quiet"]


def test_an_interrupted_study_goes_on(cli, minute: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    real_train, trained = module.carry_out, []

    def train_two(plan, *rest):
        if len(trained) == 2:
            raise RunError("interrupted by the test")
        trained.append(plan.name)
        return real_train(plan, *rest)

    monkeypatch.setattr(module, "carry_out", train_two)
    assert cli(*minute).code == 1
    first = Run(Path("study") / MODELS[0]).last.stat().st_mtime_ns

    monkeypatch.setattr(
        module, "carry_out", lambda plan, *rest: (trained.append(plan.name), real_train(plan, *rest))[1]
    )
    result = cli(*minute)
    assert result.code == 0, result.err
    assert trained == list(MODELS)  # each once: what was done is not done again
    assert Run(Path("study") / MODELS[0]).last.stat().st_mtime_ns == first
    assert all(read_checkpoint(Run(Path("study") / name).last)["global_step"] == 2 for name in MODELS)

    page = Path("study/report.html").read_text()
    for text in (*MODELS, "report 0.2312", "The uniform prior is what breaks unconditional blur"):
        assert text in page
    assert "report 233" not in page  # the report's FID is by another extractor


def test_bad_input_costs_one_line(cli, workplace: Path, minute: list[object]) -> None:
    for arguments, expected in [
        (["study", "reprot"], "did you mean 'report'"),
        (["study", "--budget", "quik"], "did you mean 'quick'"),
        (["study", "--data-dir", "nowhere", "--out", "s"], "--data-dir or DIFFCLI_DATA"),
    ]:
        result = cli(*arguments)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert not Path("s").exists()
    Path("other").mkdir()
    Path("other/budget.txt").write_text("report\n")
    assert "study of another budget" in cli("study", "--out", "other", "--data-dir", workplace).err


TWO_MODELS = (LOW, HIGH)
HOW = ["--accelerator", "cpu", "--extractor", "classifier", "--data-dir", ".", "-q"]
SMALL_STUDY = f"""\
import os, pathlib, sys
from diffcli.experiments import study
from diffcli.report.study import Budget, Effort
from diffcli.cli import main

replace = pathlib.Path.replace

def logged(self, target):
    with open("written.txt", "a") as log:
        print(os.environ.get("LOCAL_RANK", "0"), target, file=log)
    return replace(self, target)

pathlib.Path.replace = logged
study.MODELS = {TWO_MODELS}
efforts = {{name: Effort(epochs=2, limit_batches=1) for name in study.MODELS}}
study.BUDGETS["quick"] = Budget("a test", efforts, n_test=6, n_fid=6, steps=2)
main(sys.argv[1:])
"""


def evaluations_of(out: str) -> list[dict[str, Any]]:
    """The one evaluation of each model of a study."""
    return [held for (held,) in (Run(Path(out) / name).evaluations() for name in TWO_MODELS)]


def test_a_study_of_two_processes_is_that_of_one_and_writes_once(
    cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx_files(workplace, train=60, test=12)
    efforts = {name: Effort(epochs=2, limit_batches=1) for name in TWO_MODELS}
    monkeypatch.setitem(module.BUDGETS, "quick", Budget("a test", efforts, n_test=6, n_fid=6, steps=2))
    monkeypatch.setattr(module, "MODELS", TWO_MODELS)
    assert cli("study", "--out", "one", "--devices", 1, *HOW).code == 0
    Path("small.py").write_text(SMALL_STUDY)
    for _ in range(2):  # the second time there is nothing to train and to evaluate
        command = [sys.executable, "small.py", "study", "--out", "two", "--devices", "2", "--strategy", "ddp", *HOW]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert (finished.returncode, finished.stderr) == (0, "")
        assert finished.stdout.count("report.html") == 1
    for one, two in zip(evaluations_of("one"), evaluations_of("two"), strict=True):
        assert (one["settings"]["processes"], two["settings"]["processes"]) == (1, 2)
        assert one["scores"] == pytest.approx(two["scores"], rel=1e-3)
    written = [line.split() for line in Path("written.txt").read_text().splitlines()]
    assert {rank for rank, _ in written} == {"0"}
    times = Counter(target for _, target in written)
    assert times["two/report.html"] == times["two/budget.txt"] == 2
    assert {count for target, count in times.items() if target.endswith("eval.json")} == {1}


def test_what_cannot_run_is_told_before_anything_is_written(cli, workplace: Path, minute: list[object]) -> None:
    for option, value, expected in [
        ("--devices", "two", "--devices"),
        ("--devices", "0", "--devices"),
        ("--strategy", "nope", "nope"),
        ("--precision", "12-bit", "12-bit"),
        ("--num-nodes", "0", "--num-nodes must be a positive integer"),
        ("--accelerator", "tpu", "unknown accelerator"),
        ("--inception-weights", "none.pth", "none.pth does not exist"),
    ]:
        words = [word for word in minute if word != "classifier" and word != "--extractor"]
        result = cli(*words, option, value)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert not Path("study").exists()
