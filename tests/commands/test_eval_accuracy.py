"""The accuracy score of ``diffcli eval``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import LABELLED

from diffcli.evaluation import fitting

QUICK = ["--accelerator", "cpu", "--quiet", "--extractor", "classifier", "--steps", 2]


@pytest.fixture
def labelled(cli, workplace: Path) -> Path:
    Path("labelled.yaml").write_text(LABELLED)
    options = ["--limit-batches", 2, "--accelerator", "cpu", "-q"]
    assert cli("train", "--preset", "labelled.yaml", "--out", "labelled", *options).code == 0
    return Path("labelled")


def test_eval_measures_the_accuracy_score_where_it_is_named(cli, labelled: Path, monkeypatch) -> None:
    monkeypatch.setattr(fitting, "SCORE_STEPS", 3)
    monkeypatch.setattr("diffcli.evaluation.cas.SCORE_STEPS", 3)
    command = ["eval", "--run", labelled, "--cas", "--fid", "--n-fid", 8, *QUICK]
    result = cli(*command, "--n-cas", 40, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert {"cas", "cas_real"} <= set(report["scores"])
    assert report["settings"]["n_cas"] == 40
    assert report["settings"]["n_fid"] == 8
    assert "trained on real images" in cli(*command, "--n-cas", 40).out
    # The samples for the distance are the first of those, the same as without the score.
    alone = json.loads(cli("eval", "--run", labelled, "--fid", "--n-fid", 8, *QUICK, "--json").out)
    assert alone["scores"]["fid_classifier"] == pytest.approx(report["scores"]["fid_classifier"], rel=1e-6)
    full = json.loads(cli("eval", "--run", labelled, "--n-fid", 8, "--n-test", 4, *QUICK, "--json").out)
    assert "cas" not in full["scores"]
    for key in (
        "fid_classifier",
        "sample_precision_classifier",
        "sample_recall_classifier",
        "rmse",
        "loss",
        "class_kept",
    ):
        assert f"{key}_error" in full["scores"], key
    assert full["settings"]["n_manifold"] == 8


def test_what_the_accuracy_score_cannot_be_of_costs_one_line(cli, labelled: Path, hot_run: Path) -> None:
    for run, options, expected in [
        (hot_run, ["--cas"], "--cas: this model was trained without labels"),
        (labelled, ["--cas", "--label", "none"], "samples without a label teach no classifier"),
        (labelled, ["--cas", "--n-cas", 1], "--n-cas must be at least 2"),
        (labelled, ["--cas", "--n-cas", 5000], "--n-cas must be at most 1,438"),
        (labelled, ["--fid", "--n-cas", 50], "--n-cas is the number of samples for --cas"),
    ]:
        result = cli("eval", "--run", run, *options, *QUICK)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
