"""``diffcli study``: four models from one command, which goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_idx import write_idx_files

from diffcli.commands import study as module
from diffcli.commands.study import MODELS, Budget, Effort
from diffcli.errors import RunError
from diffcli.runs import Run, read_checkpoint


@pytest.fixture
def minute(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A budget of two batches for each model, on sixty made-up images in the form of MNIST."""
    write_idx_files(workplace, train=60, test=12)
    efforts = {name: Effort(epochs=2, limit_batches=1) for name in MODELS}
    monkeypatch.setitem(module.BUDGETS, "quick", Budget("a test", efforts, n_test=4, n_fid=4, steps=2))
    options = ["study", "report", "--out", "study", "--data-dir", workplace, "--accelerator", "cpu"]
    return [*options, "--extractor", "classifier", "--quiet"]


def test_an_interrupted_study_goes_on(cli, minute: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    real_train, trained = module.train, []

    def train_two(plan, *rest):
        if len(trained) == 2:
            raise RunError("interrupted by the test")
        trained.append(plan.name)
        return real_train(plan, *rest)

    monkeypatch.setattr(module, "train", train_two)
    assert cli(*minute).code == 1
    first = Run(Path("study") / MODELS[0]).last.stat().st_mtime_ns

    monkeypatch.setattr(module, "train", lambda plan, *rest: (trained.append(plan.name), real_train(plan, *rest))[1])
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
