"""``diffcli eval`` shows floors of the samples' labels beside both judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import LABELLED, trained_in


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_in(tmp_path_factory.mktemp("labelled"), LABELLED)


def test_eval_shows_both_judges_beside_floors_with_the_samples_labels(cli, labelled: Path) -> None:
    options = ["--n-fid", 100, "--steps", 2, "--extractor", "classifier", "--accelerator", "cpu", "-q"]
    metrics = ["--fid", "--kid", "--sample-precision", "--sample-recall", "--density", "--coverage"]
    result = cli("eval", "--run", labelled, *metrics, "--label-kept", "--nearest", *options, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    for metric in ("fid", "kid", "sample_precision", "sample_recall", "density", "coverage"):
        for judge in ("classifier", "resnet"):
            key = f"{metric}_{judge}"
            assert {key, f"{key}_floor", f"{key}_error"} <= set(content["scores"]), key
    assert {"label_kept_error", "nearest_error"} <= set(content["scores"])
    assert [one["name"] for one in content["settings"]["extractors"]] == ["classifier", "resnet"]
    assert content["settings"]["n_floor"] == 100
    # Told none, the same model's floor is of images of any label.
    none = json.loads(cli("eval", "--run", labelled, "--fid", *options, "--label", "none", "--json").out)
    assert none["scores"]["fid_classifier_floor"] > content["scores"]["fid_classifier_floor"]
    # Of one label, of images of that label; the training images have fewer than 200 of it.
    sevens = cli("eval", "--run", labelled, "--fid", "--n-fid", 200, *options[2:], "--label", 7)
    assert "beside the 200 samples stand " in sevens.out
    assert "times that)" in sevens.out
