"""The tables of samplers, labels and priors: each number from a stored evaluation, none by hand, all by the judges that
come along."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from pages import PAGES

from benchmarks import quality
from diffcli.checkpoints.model_file import READY_MODELS, SUFFIX, fingerprint
from diffcli.evaluation.classifier import JUDGES, classifier_settings


@pytest.mark.parametrize("name", quality.TABLES)
def test_a_table_is_what_its_stored_evaluations_say(name: str) -> None:
    page = (ROOT / quality.TABLES[name][0]).read_text(encoding="utf-8")
    block = re.search(rf"<!-- {name} -->\n\n(.*?)\n\n<!-- /{name} -->", page, flags=re.DOTALL)
    assert block is not None, f"{name} has no place in its page"
    assert block[1] == quality.page_tables(name)


@pytest.mark.parametrize("name", quality.TABLES)
def test_stored_evaluations_are_of_the_ready_models_by_the_shipped_judges(name: str) -> None:
    rows, evaluations = quality.TABLES[name][1], quality.read_scores(name)
    assert set(evaluations) == {quality.key_of(row) for row in rows}
    judges = [{"name": judge, **classifier_settings("mnist", judge)} for judge in JUDGES]
    for row in rows:
        settings = evaluations[quality.key_of(row)]["settings"]
        assert settings["extractors"] == judges
        assert settings["checkpoint_sha256"] == fingerprint(READY_MODELS / f"{row.model}{SUFFIX}")
        assert settings["n_fid"] == settings["n_floor"] == quality.SAMPLES
        assert settings["seed"] == row.options.get("seed", 0)


def test_errors_are_the_spread_over_twenty_seeds() -> None:
    rows = [line.strip("|").split("|") for line in quality.page_tables("errors").splitlines()[2:]]
    ratios = {score.strip(" `"): float(ratio) for score, *_, ratio in rows}
    assert {"fid_classifier", "fid_resnet"} <= set(ratios)
    for score, ratio in ratios.items():
        assert 0.7 <= ratio <= 1.4, score


def test_a_cold_model_is_far_nearer_with_one_evaluation_than_a_hot_one() -> None:
    """The claims of docs/samplers.md about few evaluations, by each judge."""
    evaluations = quality.read_scores("samplers-few")
    scores = {
        kind: {row.options["steps"]: evaluations[quality.key_of(row)]["scores"] for row in rows}
        for kind, rows in quality.BY_EVALUATIONS.items()
    }
    hot, cold, noisy = (scores[kind] for kind in ("hot", "cold", "cold with noise"))
    for judge in quality.JUDGES:
        key = f"fid_{judge}"
        times = {kind: {count: of[key] / of[f"{key}_floor"] for count, of in by.items()} for kind, by in scores.items()}
        assert times["hot"][1] > 10 * times["cold"][1]
        assert times["hot"][1] > 10 * times["cold with noise"][1]
        assert cold[2][key] + cold[2][f"{key}_error"] < hot[2][key] - hot[2][f"{key}_error"]
        assert times["hot"][2] == pytest.approx(times["cold"][1], rel=0.1)
        assert hot[4][key] < cold[1][key] + cold[1][f"{key}_error"]
        assert times["cold with noise"][8] < times["cold with noise"][1] / 3
    assert hot[1]["label_kept"] < 0.6 < 0.97 < min(cold[1]["label_kept"], noisy[1]["label_kept"])


def test_no_table_divides_by_a_floor_of_its_own() -> None:
    """A distance over that of real images stands only where the script writes it."""
    names = "|".join(quality.TABLES)
    for page in PAGES:
        text = re.sub(rf"<!-- ({names}) -->.*?<!-- /\1 -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for line in text.splitlines():
            if line.startswith("|"):
                assert not re.search(r"times (the floor|that of real|0\.0\d)", line), f"{page}: {line}"
