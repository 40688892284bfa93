"""Study files: what is wrong with one costs a line, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcli.studies.study_files import evaluation_of, folder_of, load_study, study_files, study_of
from diffcli.utils.errors import UserError

GOOD = {"title": "t", "models": {"a": "quickstart", "b": {"preset": "quickstart"}}}


BOUND = {"of": "a", "metric": "rmse", "at_most": 1}
EARLIER = {"claim": BOUND | {"at_most": 0.5}, "until": "2026-02-01", "why": "It was too near."}


def with_claim(**claim: object) -> dict[str, object]:
    return GOOD | {"claims": [claim]}


@pytest.mark.parametrize("name", study_files())
def test_the_shipped_studies_are_valid(name: str) -> None:
    study = load_study(name)
    assert study.claims
    for budget in study.known_budgets.values():
        evaluation_of(study, budget)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "study x: a study is a mapping"),
        ({"models": {"a": "q"}}, "title is missing"),
        (GOOD | {"title": " "}, "title: a title is one line of text"),
        (GOOD | {"models": {}}, "models"),
        (GOOD | {"model": {}}, "unknown key 'model'; did you mean 'models'"),
        (GOOD | {"models": {"a": {"prset": "q"}}}, "unknown key 'models.a.prset'; did you mean 'models.a.preset'"),
        (GOOD | {"models": {"a": {"preset": "q", "sets": {}}}}, "did you mean 'models.a.set'"),
        (GOOD | {"models": {"a": 3}}, "models.a"),
        (GOOD | {"models": {"A b": "q", "a-b": "q"}}, "the labels 'a-b' and 'A b' make no folders of their own"),
        (GOOD | {"models": {"!": "q"}}, "the labels '!'"),
        (GOOD | {"models": {"a": {"preset": "q", "priors": ["unifrom"]}}}, "did you mean 'uniform'"),
        (GOOD | {"seeds": [1, 1]}, "hold one twice"),
        (GOOD | {"seeds": [-1]}, "seeds.0"),
        (GOOD | {"evaluation": {"n_fid": 1}}, "evaluation.n_fid"),
        (GOOD | {"evaluation": {"n_tset": 1}}, "did you mean 'evaluation.n_test'"),
        (GOOD | {"evaluation": {"metrics": ["fdi"]}}, "unknown metric 'fdi'; did you mean 'fid'"),
        (GOOD | {"evaluation": {"by_epoch": {"models": ["c"]}}}, "evaluation.by_epoch.models: unknown model 'c'"),
        (GOOD | {"evaluation": {"n_cas": 10}}, "name that in evaluation.metrics"),
        (GOOD | {"budget": {"max_time": "soon"}}, "budget.max_time: a time is a number and s, m or h"),
        (GOOD | {"budget": {"evaluation": {"n_tset": 1}}}, "did you mean 'budget.evaluation.n_test'"),
        (GOOD | {"budget": {"without": ["a", "b"]}}, "budget.without leaves out every model"),
        (GOOD | {"budget": {"steps": {"c": 3}}}, "budget.steps: unknown model 'c'"),
        (GOOD | {"budget": {}, "budgets": {"x": {}}}, "give budget or budgets, not both"),
        (GOOD | {"budgets": {"x": {"models": {"c": {}}}}}, "budgets.x.models: unknown model 'c'"),
        (with_claim(text="x"), "claims.0: a claim has one of better, not_better"),
        (with_claim(better="a", at_least=1), "it has better and at_least"),
        (with_claim(better="a", metric="fid"), "a claim with better needs than"),
        (with_claim(better="a", than="b", of="a", metric="fid"), "a claim with better takes no of"),
        (with_claim(better="c", than="b", metric="fid"), "claims.0.better: unknown model 'c'"),
        (with_claim(better="a", than={"model": "b", "prior": "x"}, metric="fid"), "unknown prior 'x'"),
        (with_claim(better="a", than={"model": "b", "epok": 3}, metric="fid"), "did you mean 'claims.0.than.epoch'"),
        (with_claim(better="a", than={"model": "b", "epoch": "end"}, metric="fid"), "claims.0.than.epoch"),
        (with_claim(better="a", than="b", metric="fdi"), "unknown metric 'fdi'"),
        (with_claim(better="a", than="b", metric="nearest"), "neither more nor less is better"),
        (with_claim(of="a", check="luck"), "unknown check 'luck'"),
        (with_claim(all=[{"better": "a", "than": "c", "metric": "fid"}]), "claims.0.all.0.than: unknown model 'c'"),
        (with_claim(bettr="a"), "did you mean 'claims.0.better'"),
        (with_claim(**BOUND, since="soon"), "claims.0.since: a date is written as 2026-01-31, got 'soon'"),
        (with_claim(**BOUND, history=[EARLIER]), "claims.0: a claim with a history says since when"),
        (with_claim(**BOUND, since="2026-01-01", history=[EARLIER]), "the dates of a history go from the oldest bound"),
        (
            with_claim(**BOUND, since="2026-03-01", history=[EARLIER | {"utnil": 1}]),
            "did you mean 'claims.0.history.0.until'",
        ),
        (with_claim(**BOUND, since="2026-03-01", history=[{"claim": BOUND, "why": "x"}]), "history.0.until is missing"),
        (
            with_claim(**BOUND, since="2026-03-01", history=[EARLIER | {"claim": {"of": "a", "metric": "rmse"}}]),
            "claims.0.history.0.claim: a claim has one of",
        ),
        (
            with_claim(**BOUND, since="2026-03-01", history=[EARLIER | {"claim": BOUND | {"metric": "fdi"}}]),
            "claims.0.history.0.claim.metric: unknown metric 'fdi'",
        ),
        (
            with_claim(**BOUND, since="2026-03-01", history=[EARLIER | {"claim": BOUND | {"of": "c"}}]),
            "claims.0.history.0.claim.of: unknown model 'c'",
        ),
        (
            with_claim(**BOUND, since="2026-03-01", history=[EARLIER | {"claim": BOUND | {"since": "2026-01-01"}}]),
            "stand beside an earlier claim",
        ),
        (with_claim(all=[BOUND | {"since": "2026-01-01"}]), "since is of a whole claim"),
        (GOOD | {"figures": [{"title": "x", "show": "smples"}]}, "figures.0.show"),
        (GOOD | {"figures": [{"title": "x", "show": "loss", "models": ["c"]}]}, "figures.0.models: unknown model 'c'"),
        (GOOD | {"figures": 3}, "figures"),
        (GOOD | {"claims": {"better": "a"}}, "claims"),
    ],
)
def test_a_wrong_study_costs_one_line(values: object, expected: str) -> None:
    with pytest.raises(UserError) as error:
        study_of(values, "study x")
    assert expected in str(error.value)
    assert str(error.value).startswith("study x")
    assert "\n" not in str(error.value)


def test_files_that_are_no_studies_are_refused(cli, workplace: Path) -> None:
    Path("a.yaml").write_text("title: [")
    Path("b.yaml").write_text("&a [*a]")
    Path("c.yaml").write_text("title: t\nmodels: {a: nothing-like-it}\n")
    Path("d.yaml").write_text("x" * 200_000)
    for name, expected in [
        ("a.yaml", "is not valid YAML"),
        ("b.yaml", "is not valid YAML"),
        ("c.yaml", "unknown preset 'nothing-like-it'"),
        ("d.yaml", "this is not a study"),
        ("none.yaml", "study file none.yaml does not exist"),
        ("degradation", "did you mean 'degradations'"),
    ]:
        result = cli("study", name, "-q")
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert not Path("studies").exists()


def test_labels_make_folders() -> None:
    assert folder_of("compact blur T 100") == "compact-blur-t-100"
    assert folder_of("../x", 3) == "x-seed-3"


@pytest.mark.parametrize("name", study_files())
def test_every_bound_of_a_shipped_study_has_its_date(name: str) -> None:
    for claim in load_study(name).claims:
        assert claim.since is not None, claim.text
        assert all(bound.since is not None for bound in claim.history), claim.text
