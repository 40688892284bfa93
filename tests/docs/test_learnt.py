"""What was learnt: each number of the page is that of the study that comes along, or of a stored evaluation."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

from benchmarks import learnt
from diffcli.studies.study_files import load_study

PAGE = (ROOT / "docs" / "learnt.md").read_text(encoding="utf-8")
RESULTS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("name", learnt.RESULTS)
def test_a_result_says_what_was_measured(name: str) -> None:
    block = re.search(rf"<!-- learnt-{name} -->\n\n(.*?)\n\n<!-- /learnt-{name} -->", PAGE, flags=re.DOTALL)
    assert block is not None, f"{name} has no place in the page"
    assert block[1] == f"*Measured:* {learnt.RESULTS[name]()}"


def test_each_of_a_dozen_says_what_one_guesses_what_was_measured_how_to_see_it_and_in_which_version() -> None:
    assert len(RESULTS) == len(learnt.RESULTS) == 12
    for text in RESULTS:
        parts = [text.index(part) for part in ("*Most people would say:*", "*Measured:*", "See it", "Version 0.")]
        assert parts == sorted(parts), text.splitlines()[0]


def test_the_kept_numbers_are_those_of_the_study_as_it_is() -> None:
    study, models = load_study("learnt"), learnt.models()
    assert set(models) == set(study.models)
    (reconstruction,) = study.evaluation.reconstructions
    for label, one in models.items():
        assert set(one["by_bits"]) == (
            {str(bits) for bits in reconstruction.bits} if label in reconstruction.models else set()
        ), label
        assert {"fid_classifier", "fid_resnet", "class_kept"} <= set(one["scores"])
    assert set(models["cold"]["by_prior"]) == set(study.models["cold"].priors)


def test_the_results_are_as_surprising_as_their_titles_say() -> None:
    """What a title says holds of the numbers below it; should a new measurement end that, the title goes."""
    models = learnt.models()
    floats = {label: one["scores"]["class_kept"] for label, one in models.items()}
    file = {label: one["by_bits"]["8"]["class_kept"] for label, one in models.items() if one["by_bits"]}
    assert floats["cold"] > file["cold"] + 0.1
    assert floats["cold"] > floats["cold unfiltered"]
    assert file["cold"] < file["cold unfiltered"]
    assert file["cold with noise"] > file["cold"]
    hot, one = (list(models[name]["by_epoch"].values())[-1] for name in ("hot unlabelled", "cold"))
    for judge in ("classifier", "resnet"):
        assert hot[f"fid_{judge}"] > 5 * one[f"fid_{judge}"]
    inside, mirrored = learnt.similarities()
    assert (inside[0] < inside[1]) != (mirrored[0] < mirrored[1])
