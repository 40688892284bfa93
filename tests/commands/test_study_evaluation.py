"""What a study measures of its models: also along their training, and what those with labels are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import TINY
from small_studies import HOW, MINE

from diffcli.checkpoints.runs import Run


@pytest.fixture
def mine(tiny: Path) -> list[object]:
    """A study in ``mine.yaml``, which each test writes."""
    return ["study", "mine.yaml", *HOW]


def test_a_budget_says_what_is_kept_and_how_many_steps_a_sampler_takes(cli, mine: list[object]) -> None:
    text = MINE.replace("long: tiny.yaml", "long: {preset: tiny.yaml, set: {training.sample_epochs: [2, 9]}}")
    other = MINE.replace("long: tiny.yaml", "long: tiny.yaml\n  more: tiny.yaml")
    figure = "figures: [{title: Along, show: samples-by-epoch, epochs: [1, 2, 9]}]\n"
    Path("mine.yaml").write_text(other + figure + "budget: {epochs: 3, steps: {long: 5}, without: [short]}\n")
    assert cli(*mine).code == 0
    page = Path("studies/mine/mine.html").read_text()
    # The figure's epochs that were reached, and the last.
    assert re.findall(r"Epoch \d+", page) == ["Epoch 1", "Epoch 3"]
    assert "long at epoch 9" in page
    runs = {run["label"]: run for run in json.loads(Path("studies/mine/mine.json").read_text())["runs"]}
    assert {label: run["settings"]["sampler"]["steps"] for label, run in runs.items()} == {"long": 5, "more": 4}
    assert [list(run["by_epoch"]) for run in runs.values()] == [["1", "3"]] * 2
    # Where the figure goes on and the pictures do not, the best weights stand last, if they are later ones.
    for file in Path("studies/mine/long/samples").glob("epoch-003-*.png"):
        file.unlink()
    assert cli(*mine).code == 0
    page = Path("studies/mine/mine.html").read_text()
    assert re.findall(r"Epoch \d+|Best weights", page) == ["Epoch 1", "Epoch 3", "Best weights"]
    assert (best := runs["long"]["settings"]["epoch"]) > 1
    captions = re.findall(r"(\w+): 64 unconditional samples of the best checkpoint, epoch (\d+)", page)
    assert set(captions) == {("long", str(best))}
    text = text.replace("by_epoch: {", "by_epoch: {models: [long], ")
    Path("mine.yaml").write_text(text + "budget: {limit_batches: 1, models: {short: {epochs: 1, limit_batches: 1}}}\n")
    assert cli(*mine, "--out", "whole").code == 0
    assert list(Run(Path("whole/short")).milestones()) == [1]
    assert list(Run(Path("whole/long")).milestones()) == [2]
    assert set(re.findall(r"ringed: epochs ([\d, ]+)", Path("whole/mine.html").read_text())) == {"1", "2"}
    runs = {run["label"]: run for run in json.loads(Path("whole/mine.json").read_text())["runs"]}
    assert {label: list(run["by_epoch"]) for label, run in runs.items()} == {"short": [], "long": ["2"]}


@pytest.fixture
def labelled(workplace: Path) -> str:
    """A tiny preset with labels."""
    Path("labelled.yaml").write_text(TINY + "labels: {}\n")
    return "labelled.yaml"


def test_weights_that_were_measured_may_be_removed(cli, mine: list[object]) -> None:
    def along() -> dict[str, dict]:
        (run,) = json.loads(Path("studies/mine/mine.json").read_text())["runs"]
        return run["by_epoch"]

    text = MINE.replace(
        "claims: [{better: long, than: short, metric: fid}]\n", "budget: {epochs: 3, without: [short]}\n"
    )
    Path("mine.yaml").write_text(text)
    assert cli(*mine).code == 0
    before = along()
    assert list(before) == ["1", "3"]
    run = Run(Path("studies/mine/long"))
    run.milestone_file(1).unlink()
    assert cli(*mine).code == 0
    assert along() == before
    Path("mine.yaml").write_text(text.replace("by_epoch: {n_test: 5", "by_epoch: {n_test: 6"))
    assert cli(*mine).code == 0
    assert list(along()) == ["3"]  # nobody can measure the other ones again


def test_a_model_with_labels_is_told_what_the_study_says(cli, mine: list[object], labelled: str) -> None:
    text = MINE.replace("long: tiny.yaml", f"long: {{preset: {labelled}, label: none}}\n  data: {labelled}")
    Path("mine.yaml").write_text(text + "budget: {epochs: 1}\n")
    assert cli(*mine).code == 0
    runs = {run["label"]: run for run in json.loads(Path("studies/mine/mine.json").read_text())["runs"]}
    assert runs["long"]["settings"]["label"] == [-1]
    assert runs["data"]["settings"]["label"] == "data"
    assert runs["long"]["by_epoch"]["1"]["settings"]["label"] == [-1]
    # The same weights: told none, and told their own beside.
    assert runs["long"]["scores"]["rmse"] == runs["data"]["scores"]["rmse"] != runs["data"]["scores"]["rmse_told"]
    assert runs["long"]["scores"]["loss"] != runs["data"]["scores"]["loss"]
    assert "Told the label none." in Path("studies/mine/mine.html").read_text()
    pictures = [Path(run["run"], "compare").glob("*/samples.png") for run in (runs["long"], runs["data"])]
    assert len({next(files).read_bytes() for files in pictures}) == 2  # the same weights, told something else


@pytest.mark.parametrize(("label", "differing"), [("none", False), ("3", True)])
def test_told_none_compares_with_a_model_without_labels(
    cli, mine: list[object], labelled: str, label: str, differing: bool
) -> None:
    Path("mine.yaml").write_text(MINE.replace("long: tiny.yaml", f"long: {{preset: {labelled}, label: {label}}}"))
    assert cli(*mine).code == 0
    text = Path("studies/mine/mine.md").read_text()
    assert bool(re.search("fid\\\\?_classifier.*the runs differ in labels asked for", text)) == differing


def test_a_label_that_a_model_does_not_know_is_refused(cli, mine: list[object], labelled: str) -> None:
    for model, words in (
        ("{preset: tiny.yaml, label: 3}", "this model was trained without labels"),
        (f"{{preset: {labelled}, label: 10}}", "this model's labels are 0..9"),
        (
            f"{{preset: {labelled}, label: none, set: {{labels.dropped: 0}}}}",
            "--label none: this model was trained with the label of every image",
        ),
    ):
        Path("mine.yaml").write_text(MINE.replace("long: tiny.yaml", f"long: {model}"))
        result = cli(*mine)
        assert (result.code, Path("studies").exists()) == (2, False)
        assert words in result.err
