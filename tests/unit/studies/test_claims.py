"""Verdicts and intervals: of made-up results, and of the report's own numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from small_studies import story

from diffcli.config.build import build_degradation
from diffcli.config.presets import load_preset
from diffcli.evaluation.intervals import Interval, of_repeats, of_score, standard_deviation, wilson
from diffcli.studies import compare_runs, study_figures
from diffcli.studies.claim_text import tally
from diffcli.studies.claims import check
from diffcli.studies.report import check_report, labels_by_preset, report, reported_scores
from diffcli.studies.results import RunResults
from diffcli.studies.study_files import study_of
from diffcli.studies.study_schema import StudyClaim

LOW, HIGH, BLUR, NOISE = "low beta", "high beta", "blur", "noise"


def test_intervals_are_those_of_the_publications() -> None:
    # Newcombe 1998: part one, Table II (81 of 263), part two, Table II, method 10 (56 of 70 and 48 of 80).
    one = wilson(81 / 263, 263)
    assert (one.low, one.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    difference = wilson(56 / 70, 70).minus(wilson(48 / 80, 80))
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert (wilson(0, 8).low, wilson(1, 8).high) == (0, 1)
    assert wilson(0, 8).high > 0.3
    values = [1.0, 2.0, 4.0]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (of_repeats(values).low, of_repeats(values).high) == pytest.approx(expected)
    assert standard_deviation(values) == pytest.approx(np.std(values, ddof=1))


def test_the_interval_of_a_difference_of_means_is_the_usual_one() -> None:
    difference = Interval.normal(3.0, 0.3).minus(Interval.normal(1.0, 0.4))
    assert (difference.low, difference.high) == pytest.approx((2 - 1.959964 * 0.5, 2 + 1.959964 * 0.5))
    assert Interval.exact(3.0).minus(Interval.exact(1.0)) == Interval.exact(2.0)
    assert str(Interval.exact(0.1352)) == "0.135"
    assert str(Interval(1234.5, 999.9, 20000.0)) == "1234 [1000, 20000]"


def test_a_score_has_the_interval_of_its_kind() -> None:
    settings = {"n_test": 100, "n_manifold": 100}
    normal = of_score("rmse", {"rmse": 1.0, "rmse_error": 0.1}, settings)
    assert (normal.low, normal.high) == pytest.approx((1 - 0.1959964, 1 + 0.1959964))
    interval = of_score("class_kept", {"class_kept": 1.0, "class_kept_error": 0.0}, settings)
    assert (interval.low, interval.high) == (wilson(1, 100).low, 1)
    recall = of_score("sample_recall_x", {"sample_recall_x": 0.5, "sample_recall_x_error": 0.2}, settings)
    assert recall.high - recall.low == pytest.approx(2 * 1.959964 * 0.2)  # wider than Wilson's
    assert of_score("fid_x", {"fid_x": 2.0}, {}) == Interval.exact(2.0)


def run(by_prior: dict[str, dict[str, float]] | None = None, **scores: float) -> RunResults:
    settings = {"n_test": 100, "n_fid": 100, "kind": "generation"}
    return RunResults({"scores": scores, "by_prior": by_prior or {}, "settings": settings})


def verdict(claim: dict[str, Any], **runs: Any) -> str:
    results = {label: one if isinstance(one, list) else [one] for label, one in runs.items()}
    (result,) = check([StudyClaim.model_validate(claim)], results)
    return result.verdict


BETTER = {"better": "a", "than": "b"}


@pytest.mark.parametrize(
    ("a", "b", "error", "expected"),
    [(1, 2, 0.1, "confirmed"), (2, 1, 0.1, "not confirmed"), (1, 2, 0.6, "not settled"), (1, 1, 0, "not confirmed")],
)
def test_a_comparison_is_settled_by_its_interval(a: float, b: float, error: float, expected: str) -> None:
    negated = {"confirmed": "not confirmed", "not confirmed": "confirmed"}
    first, second = run(fid_x=a, fid_x_error=error), run(fid_x=b, fid_x_error=error)
    assert verdict(BETTER | {"metric": "fid"}, a=first, b=second) == expected
    claim = {"not_better": "a", "than": "b", "metric": "fid"}
    assert verdict(claim, a=first, b=second) == negated.get(expected, expected)
    higher = run(ssim=-a, ssim_error=error), run(ssim=-b, ssim_error=error)
    assert verdict(BETTER | {"metric": "ssim"}, a=higher[0], b=higher[1]) == expected


@pytest.mark.parametrize(
    ("metric", "a", "b", "extra", "expected"),
    [
        ("fid", 1.0, 2.5, {"by": 2}, "confirmed"),
        ("fid", 1.0, 1.9, {"by": 2}, "not confirmed"),
        ("fid", 1.0, 2.5, {"margin": 1.4}, "confirmed"),
        ("fid", 1.0, 2.5, {"margin": 1.6}, "not confirmed"),
        ("ssim", 0.5, 0.2, {"by": 2}, "confirmed"),
        ("ssim", 0.5, 0.3, {"by": 2}, "not confirmed"),
        ("ssim", 0.5, 0.3, {"margin": 0.1}, "confirmed"),
        ("ssim", 0.5, 0.3, {"margin": 0.3}, "not confirmed"),
    ],
)
def test_how_much_better_counts(metric: str, a: float, b: float, extra: dict[str, float], expected: str) -> None:
    assert verdict(BETTER | {"metric": metric} | extra, a=run(**{metric: a}), b=run(**{metric: b})) == expected


def test_bounds_and_several_metrics() -> None:
    share = run(class_kept=0.8)
    assert verdict({"of": "a", "metric": "class_kept", "at_least": 0.7}, a=share) == "confirmed"
    assert verdict({"of": "a", "metric": "class_kept", "at_least": 0.78}, a=share) == "not settled"
    assert verdict({"of": "a", "metric": "class_kept", "at_most": 0.5}, a=share) == "not confirmed"
    both = BETTER | {"metric": ["rmse", "ssim"]}
    assert verdict(both, a=run(rmse=1, ssim=1), b=run(rmse=2, ssim=0)) == "confirmed"
    assert verdict(both, a=run(rmse=1, ssim=0), b=run(rmse=2, ssim=1)) == "not confirmed"
    assert verdict(both, a=run(rmse=1), b=run(rmse=2)) == "not measured"
    parts = {"all": [{"of": "a", "metric": "rmse", "at_most": 2}, BETTER | {"metric": "fid"}]}
    assert verdict(parts, a=run(rmse=1, fid_x=1), b=run(fid_x=2)) == "confirmed"
    assert verdict(parts, a=run(rmse=3, fid_x=1), b=run(fid_x=2)) == "not confirmed"


def test_several_seeds_widen_the_interval() -> None:
    claim = BETTER | {"metric": "rmse"}
    far = [run(rmse=value, rmse_error=0.0) for value in (1.0, 1.9)]
    assert verdict(claim, a=far[0], b=run(rmse=2)) == "confirmed"
    assert verdict(claim, a=far, b=run(rmse=2)) == "not settled"
    near = [run(rmse=value) for value in (1.0, 1.01, 1.02)]
    assert verdict(claim, a=near, b=run(rmse=2)) == "confirmed"


def test_priors_and_epochs_are_selected() -> None:
    by_prior = {"uniform": {"fid_x": 9.0}, "blurred-data": {"fid_x": 1.0}}
    claim = {
        "better": {"model": "a", "prior": "blurred-data"},
        "than": {"model": "a", "prior": "uniform"},
        "metric": "fid",
    }
    assert verdict(claim, a=run(by_prior)) == "confirmed"
    assert verdict(claim, a=run()) == "not measured"
    at = {epoch: run(rmse=value).evaluation for epoch, value in ((5, 3.0), (15, 2.0), (45, 1.0))}
    along = RunResults(run(rmse=0.5).evaluation, at)
    for better, than, expected in [("last", "first", "confirmed"), (5, 15, "not confirmed"), (45, 30, "not measured")]:
        by_epoch = {"better": {"model": "a", "epoch": better}, "than": {"model": "a", "epoch": than}, "metric": "rmse"}
        assert verdict(by_epoch, a=along) == expected
    # The only epoch whose weights were kept is the first and the last, and is not compared with itself.
    alone = RunResults(run(rmse=0.5).evaluation, {3: run(rmse=3.0).evaluation})
    ends = {"not_better": {"model": "a", "epoch": "last"}, "than": {"model": "a", "epoch": "first"}, "metric": "rmse"}
    assert verdict(ends, a=along) == "not confirmed"
    assert verdict(ends, a=alone) == "not measured"
    assert (
        verdict({"of": {"model": "a", "epoch": "last"}, "metric": "rmse", "at_most": 1.5}, a=run(rmse=1))
        == "not measured"
    )


def test_what_cannot_be_compared_is_not_measured() -> None:
    same = {"n_test": 100, "test_images": "00", "prediction": "eps", "schedule": {"beta": 1}}

    def of(**settings: Any) -> RunResults:
        return RunResults({"scores": {"loss": 1.0, "fid_x": 1.0}, "settings": same | settings})

    loss = BETTER | {"metric": "loss"}
    assert verdict(loss, a=of(), b=of()) == "not confirmed"
    assert verdict(loss, a=of(), b=of(schedule={"beta": 2})) == "not measured"
    assert verdict(loss | {"across": ["schedule"]}, a=of(), b=of(schedule={"beta": 2})) == "not confirmed"
    assert verdict(loss | {"across": ["schedule"]}, a=of(), b=of(prediction="v")) == "not measured"
    assert (
        verdict(
            BETTER | {"metric": "fid"},
            a=of(extractors=[{"name": "x", "weights_sha256": "0"}]),
            b=of(extractors=[{"name": "x", "weights_sha256": "1"}]),
        )
        == "not measured"
    )
    other = RunResults({"scores": {"fid_y": 1.0}, "settings": same})
    assert verdict(BETTER | {"metric": "fid"}, a=of(), b=other) == "not measured"


def test_a_claim_says_what_it_says() -> None:
    study = study_of({"title": "t", "models": {"a": "q", "b": "q"}, "claims": [
        BETTER | {"metric": "fid", "by": 2},
        {"of": {"model": "a", "epoch": "last"}, "metric": "rmse", "at_most": 1},
        BETTER | {"metric": "fid", "text": "Mine.", "why": "Because."},
    ]}, "study")  # fmt: skip
    results = check(study.claims, {"a": [run(fid_x=2, rmse=1)], "b": [run(fid_x=1)]})
    assert results[0].text == "a has a better fid than b, 2 times."
    assert results[1].text == "a after epoch last has a rmse of at most 1."
    assert (results[2].text, results[2].why) == ("Mine.", "Because.")
    assert "fid_x: a 2, b 1; difference 1" in results[0].evidence
    # Which of several parts is the one, where they do not agree.
    parts = study_of({"title": "t", "models": {"a": "q", "b": "q"}, "claims": [
        {"all": [BETTER | {"metric": ["rmse", "fid"]}, {"of": "b", "metric": "rmse", "at_most": 5}]},
    ]}, "study")  # fmt: skip
    (whole,) = check(parts.claims, {"a": [run(fid_x=2, rmse=1)], "b": [run(fid_x=1, rmse=2)]})
    assert whole.evidence == (
        "rmse: a 1, b 2; difference -1 (confirmed). fid_x: a 2, b 1; difference 1 (not confirmed). rmse: b 2 "
        "(confirmed)"
    )
    others = check(study.claims, {"a": [run(fid_x=1)], "b": [run(fid_x=2)]})
    assert others[2].why is None


@pytest.mark.parametrize(
    ("by_classifier", "by_resnet", "expected"),
    [
        ((1, 2), (1, 2), "confirmed"),
        ((2, 1), (2, 1), "not confirmed"),
        ((1, 2), (2, 1), "the judges disagree"),
        ((1, 2), (1, 1.05), "not settled"),
        ((2, 1), (1, 1.05), "not settled"),
        ((1, 2), (1, None), "not measured"),
        ((2, 1), (None, None), "not confirmed"),
    ],
)
def test_a_distance_has_to_be_better_by_each_judge(
    by_classifier: tuple[float, float], by_resnet: tuple[float | None, float | None], expected: str
) -> None:
    def of(classifier: float, resnet: float | None) -> RunResults:
        second = {} if resnet is None else {"fid_resnet": resnet, "fid_resnet_error": 0.1, "fid_resnet_floor": 0.01}
        return run(fid_classifier=classifier, fid_classifier_error=0.1, fid_classifier_floor=0.01, **second)

    a, b = (of(*pair) for pair in zip(by_classifier, by_resnet, strict=True))
    assert verdict(BETTER | {"metric": "fid"}, a=a, b=b) == expected
    negated = {"confirmed": "not confirmed", "not confirmed": "confirmed"}
    assert verdict({"not_better": "a", "than": "b", "metric": "fid"}, a=a, b=b) == negated.get(expected, expected)
    # A disagreement of judges decides no more than what is missing, and less than what is contradicted.
    both = {"all": [BETTER | {"metric": "fid"}, {"of": "a", "metric": "fid", "at_most": 0.1}]}
    assert verdict(both, a=a, b=b) == "not confirmed"
    (result,) = check([StudyClaim.model_validate(BETTER | {"metric": "fid"})], {"a": [a], "b": [b]})
    assert "fid_classifier: a" in result.evidence
    assert ("fid_resnet" in result.evidence) == (by_resnet != (None, None))
    if expected == "the judges disagree":
        assert "(confirmed). fid_resnet" in result.evidence
        assert result.evidence.endswith("(not confirmed)")


def test_facts_of_two_models_are_compared() -> None:
    def of(value: float) -> RunResults:
        return RunResults({"scores": {}, "settings": {}}, facts={"unevenness": Interval.exact(value)})

    assert verdict(BETTER | {"metric": "unevenness"}, a=of(0.1), b=of(0.2)) == "confirmed"
    assert verdict(BETTER | {"metric": "unevenness"}, a=of(0.2), b=of(0.1)) == "not confirmed"


def test_what_is_true_by_construction_is_called_so_unless_it_is_false() -> None:
    bound = {"of": "a", "metric": "rmse", "at_most": 1, "by_construction": True}
    assert verdict(bound, a=run(rmse=0.5)) == "true by construction"
    assert verdict(bound, a=run(rmse=2)) == "not confirmed"
    assert verdict(bound, a=run()) == "not measured"
    parts = [{"of": "a", "metric": "rmse", "at_most": 1, "by_construction": True}, BETTER | {"metric": "fid"}]
    for fid, expected in ((1, "confirmed"), (3, "not confirmed")):
        assert verdict({"all": parts}, a=run(rmse=0.5, fid_x=fid), b=run(fid_x=2)) == expected
    whole = {"all": [{**parts[0], "by_construction": False}], "by_construction": True}
    assert verdict(whole, a=run(rmse=0.5)) == "true by construction"
    (result,) = check([StudyClaim.model_validate({"all": parts})], {"a": [run(rmse=0.5, fid_x=1)], "b": [run(fid_x=2)]})
    assert "rmse: a 0.5 (true by construction). fid_x" in result.evidence


def test_claims_are_counted_with_those_left_open_and_those_true_by_construction_apart() -> None:
    claims = [{"of": "a", "metric": "rmse", "at_most": bound} for bound in (3, 3, 1)]
    claims += [{"of": "a", "metric": "ssim", "at_most": 1}, {"of": "a", "metric": "fid", "at_most": 2}]
    claims += [{"of": "a", "metric": "psnr", "at_most": 1, "by_construction": True}]
    scores = run(rmse=2, psnr=0, fid_x=1, fid_y=3)
    results = check([StudyClaim.model_validate(claim) for claim in claims], {"a": [scores]})
    assert tally(results) == (
        "2 confirmed, 1 not confirmed, 1 on which the judges disagree, 1 open (1 not measured), 1 true by construction"
    )


def test_earlier_bounds_are_judged_by_the_same_numbers() -> None:
    claim = story("2026-01-05")
    assert [bound.verdict for bound in claim.history] == ["confirmed", "not confirmed"]
    assert claim.verdict == "confirmed"
    assert claim.history[0].text == "a has a class_kept of at least 0.75."
    assert claim.history[1].text == "Nine of ten."
    assert [(bound.since, bound.until) for bound in claim.history] == [
        ("2026-01-01", "2026-01-03"), ("2026-01-03", "2026-01-04")
    ]  # fmt: skip
    assert claim.history[1].evidence == claim.evidence
    assert claim.first is claim.history[0]


@pytest.mark.parametrize(
    ("date", "changes", "expected"),
    [
        # What the author says, and what the dates say by themselves.
        ("2026-01-05", {}, [False, True, True]),
        ("2026-01-05", {"history": []}, [False]),
        ("2026-01-03", {"history": []}, [True]),
        ("2026-01-04", {"history": []}, [False]),
        ("2026-01-05", {"history": [], "known_numbers": "0.84"}, [True]),
        ("2025-12-31", {"history": [], "since": None}, [False]),
    ],
)
def test_a_bound_is_known_to_be_set_after_its_numbers(date: str, changes: dict[str, Any], expected: list[bool]) -> None:
    claim = story(date, **changes)
    assert [bound.is_informed for bound in (*claim.history, claim)] == expected


def test_the_reports_tables_are_held() -> None:
    assert set(labels_by_preset()) == {"ddpm-const-lowbeta", "ddpm-const-highbeta", "blur-const", "ddpm-cosine-unet"}
    low = reported_scores("ddpm-const-lowbeta")
    assert low is not None
    assert low.scores == {"fid_inception": 233, "loss": 0.0245, "rmse": 0.306, "ssim": 0.164, "psnr": 10.5}
    tables = [model.reported.scores for model in report().models.values() if model.reported]
    assert not any("classifier" in key for scores in tables for key in scores)


def reports_own_results() -> dict[str, RunResults]:
    """What the report says, and made-up numbers where it has none, as it describes them."""
    by_label = {labels_by_preset()[preset]: preset for preset in labels_by_preset()}
    scores = {label: dict(reported_scores(preset).scores) for label, preset in by_label.items()}  # type: ignore[union-attr]
    for label, (share, density, coverage) in {
        LOW: (0.2, 0.8, 0.7), HIGH: (0.1, 0.1, 0.1), BLUR: (7 / 8, 0.5, 0.1), NOISE: (0.2, 0.8, 0.7),
    }.items():  # fmt: skip
        scores[label] |= {"class_kept": share, "density_inception": density, "coverage_inception": coverage}
    settings = {"n_test": 1000, "n_manifold": 1000}
    later = {"fid_inception": 430.0, "class_kept": 0.1, "rmse": 0.2, "ssim": 0.4, "density_inception": 0.6,
             "coverage_inception": 0.1}  # fmt: skip
    first = later | {"fid_inception": 432.0, "rmse": 0.3, "ssim": 0.2, "density_inception": 0.4}
    along = {3: {"scores": first, "settings": settings}, 45: {"scores": later, "settings": settings}}
    facts = {"overfitting": Interval.exact(1.01)}
    results = {}
    for label, preset in by_label.items():
        by_prior = (
            {"uniform": {"fid_inception": 304.0}, "blurred-data": {"fid_inception": 20.0}} if label == BLUR else {}
        )
        by_t = [0.03, 0.01, 0.001, 0.0004] + [1e-4] * 6
        evaluation = {"scores": scores[label], "by_prior": by_prior, "loss_by_t": by_t, "loss_by_t_error": [1e-6] * 10}
        alpha = {"alpha_T": Interval.exact(0.1352)} if label == LOW else {}
        # "Given enough precision" (3.3): 12 bits are, 8 are not.
        by_start = [
            {
                "scores": {"class_kept": share},
                "settings": settings
                | {"reconstruction": {"t": None, "bits": bits, "noise": 0}, "sampler": {"steps": steps}},
            }
            for bits, steps, share in (
                (None, 100, scores[label]["class_kept"]),
                (None, 20, 7 / 8),
                (12, 20, 7 / 8),
                (8, 20, 0.2 if label == BLUR else 7 / 8),
            )
        ]
        results[preset] = RunResults({**evaluation, "settings": settings}, along, facts | alpha, by_start, 100)
    return results


def test_the_reports_own_numbers_confirm_its_claims() -> None:
    claims = check_report(reports_own_results(), {})
    assert len(claims) == len(report().claims) - 5  # those of the compact blurs, which the report leaves open
    assert {claim.verdict for claim in claims} == {"confirmed", "true by construction"}, claims
    assert [claim.text for claim in claims if claim.verdict == "true by construction"] == [
        "Nor do its reconstructions, which keep no more classes, to within 0.05 (2.3.4, Figure 2)."
    ]


def test_other_numbers_contradict_them() -> None:
    results = reports_own_results()
    low, high, blur, noise = labels_by_preset()
    results[low], results[high] = (
        RunResults({**results[high].evaluation, "loss_by_t": [0.01] * 10}, {}, results[low].facts),
        RunResults({**results[low].evaluation, "loss_by_t": [0.01] * 10}, {
            3: results[high].by_epoch[3],
            45: {"scores": {"fid_inception": 100.0, "class_kept": 0.9}, "settings": {"n_test": 1000}},
        }, results[high].facts),
    )  # fmt: skip
    results[blur], results[noise] = results[noise], results[blur]
    verdicts = {claim.text: claim.verdict for claim in check_report(results, {})}
    wrong = [text for text, verdict in verdicts.items() if verdict == "confirmed"]
    # What was left as it was: the losses' ratio, and what is told of one run's own epochs.
    assert all(text.startswith(("Validation losses", "Over the epochs", "From the uniform")) for text in wrong), wrong


def test_claims_without_runs_are_left_out_and_several_are_named() -> None:
    assert check_report({}, {}) == []
    results = reports_own_results()
    claims = check_report(results, {"blur-const": "blur-const (a/run)"})
    notes = ["the first was taken: blur-const (a/run)" in claim.evidence for claim in claims]
    assert any(notes)
    assert not all(notes)


def test_claims_about_zT_are_not_settled_by_other_starts() -> None:
    """`compare --t 60 --zt-bits 8` once checked the report's claims with z_60's numbers."""

    def run(**start: Any) -> RunResults:
        whole = {"reconstruction": {"t": None, "bits": None, "noise": 0.0} | start}
        return RunResults({"scores": {"class_kept": 0.9, "class_kept_error": 0.001, "loss": 1.0}, "settings": whole})

    claim = {"of": "a", "metric": "class_kept", "at_least": 0.5, "since": "2026-11-29"}
    assert verdict(claim, a=run()) == "confirmed"
    for start in ({"t": 60}, {"bits": 8}, {"noise": 0.1}):
        assert verdict(claim, a=run(**start)) == "not measured"
        assert verdict(claim | {"metric": "loss"}, a=run(**start)) != "not measured"


def test_compared_runs_tell_what_is_kept_of_zT_in_all_steps() -> None:
    _, preset = load_preset("blur-const", {})
    T = build_degradation(preset).T
    settings = {"reconstruction": {"t": None, "bits": None, "noise": 0.0}, "n_test": 4000}
    for steps, expected in ((100, "confirmed"), (20, "not measured")):
        evaluation = {"scores": {"class_kept": 0.9}, "settings": settings | {"sampler": {"steps": steps}}}
        result = compare_runs.results_of(SimpleNamespace(evaluation=evaluation, alpha_T=None, T=T))
        verdicts = {claim.text: claim.verdict for claim in check_report({"blur-const": result}, {})}
        assert [verdict for text, verdict in verdicts.items() if "in four of five" in text] == [expected]


def test_reconstructions_in_two_numbers_of_steps_are_two_lines_by_bits() -> None:
    def member(*starts: tuple[int, int | None]) -> Any:
        evaluations = [
            {
                "scores": {"rmse": steps + (bits or 0)},
                "settings": {"reconstruction": {"t": 5, "bits": bits, "noise": 0.0}, "sampler": {"steps": steps}},
            }
            for steps, bits in starts
        ]
        return SimpleNamespace(
            best=SimpleNamespace(T=10), by_start=[SimpleNamespace(evaluation=one) for one in evaluations]
        )

    def names(*starts: tuple[int, int | None]) -> list[str]:
        return list(study_figures.lines_by_bits(member(*starts), "rmse"))

    assert names((20, None), (20, 8), (100, None)) == ["$t = 5$"]
    assert names((20, None), (20, 8), (100, None), (100, 8)) == [
        "$t = 5$, 20 steps from T",
        "$t = 5$, 100 steps from T",
    ]
