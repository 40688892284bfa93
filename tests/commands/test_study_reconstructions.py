"""What a study measures of reconstructions from other z_t than z_T, and a study that measures some of its models."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from small_studies import HOW, MINE

from diffcli.checkpoints.runs import Run
from diffcli.studies import compare_runs
from diffcli.utils.errors import RunError

BITS = """\
title: Bits of z_t
models:
  short: {preset: tiny.yaml, set: {training.epochs: 1}}
  long: {preset: tiny.yaml, reported: {where: Table 9, scores: {rmse: 0.25}}}
evaluation:
  n_test: 10
  n_fid: 20
  steps: 4
  metrics: [fid, rmse]
  reconstructions:
    - {models: [long], t: [5, 10, null], bits: [null, 1], n_test: 9, metrics: [rmse, class_kept]}
    - {models: [long], noise: [0.5], metrics: [rmse]}
    - {models: [long], t: [5], steps: 2, metrics: [rmse]}
claims:
  - {better: {model: long, t: 5, steps: 4}, than: {model: long, t: 5, bits: 1}, metric: class_kept}
  - {of: {model: long, t: 10, bits: 1}, metric: rmse, at_most: 0.9}
  - {of: {model: long, noise: 0.5}, metric: rmse, at_most: 0.9}
  - {of: {model: long, t: 7}, metric: rmse, at_most: 0.9}
  - {of: {model: short, t: 5}, metric: rmse, at_most: 0.9}
  - {of: {model: long, t: 5, steps: 2}, metric: rmse, at_most: 0.9}
  - {of: {model: long, t: 5}, metric: rmse, at_most: 0.9}
  - {of: {model: short, t: 20, steps: 4}, metric: rmse, at_most: 0.9}
  - {of: {model: short, t: 20}, metric: rmse, at_most: 0.9}
  - {of: {model: short, t: 20, steps: 4}, metric: fid, at_most: 0.9}
  - {of: {model: long, steps: 2}, metric: rmse, at_most: 0.9}
figures: [{title: How many bits, show: bits}]
"""


@pytest.fixture
def mine(tiny: Path) -> list[object]:
    """A study of two tiny models, one of them also measured from other z_t."""
    Path("mine.yaml").write_text(BITS)
    return ["study", "mine.yaml", *HOW]


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured, by the folder of the run, as it happens."""
    real, names = compare_runs.measure, []

    def measure(subject, options, *rest):
        names.append(subject.model.run.folder.name)
        return real(subject, options, *rest)

    monkeypatch.setattr(compare_runs, "measure", measure)
    return names


def test_reconstructions_from_other_zt_are_measured_once_shown_and_claimed(
    cli, mine: list[object], measurements: list[str]
) -> None:
    result = cli(*mine)
    assert result.code == 0, result.err
    assert Counter(measurements) == {"short": 1, "long": 1 + 3 * 2 + 2}
    short, long = json.loads(Path("studies/mine/mine.json").read_text())["runs"]
    assert short["by_start"] == []
    starts = [one["settings"]["reconstruction"] for one in long["by_start"]]
    expected = [(t, bits, 0.0) for t in (5, 10, None) for bits in (None, 1)] + [(None, None, 0.5), (5, None, 0.0)]
    assert [(start["t"], start["bits"], start["noise"]) for start in starts] == expected
    # Numbers of z_t are not lost in a coarser precision, whatever else is measured in one.
    assert {one["settings"]["precision"] for one in long["by_start"]} == {"32-true"}
    assert [one["settings"]["n_test"] for one in long["by_start"]] == [9] * 6 + [10, 10]
    scores = [one["scores"] for one in long["by_start"]]
    assert scores[0]["rmse"] < scores[1]["rmse"]
    text, page = Path("studies/mine/mine.md").read_text(), Path("studies/mine/mine.html").read_text()
    rows = re.findall(r"^\| (z_\w+[^|]*?|reported[^|]*?) \| (.*) \|$", text, flags=re.MULTILINE)
    assert [start for start, _ in rows] == [
        "z_5", "z_5, rounded to 1 bits", "z_10", "z_10, rounded to 1 bits", "z_T", "z_T, rounded to 1 bits",
        "z_T, with noise 0.5", "z_5", "reported (Table 9)",
    ]  # fmt: skip
    half = 1.959964 * scores[0]["class_kept_error"]
    assert f"{scores[0]['rmse']:.3g} [" in rows[0][1]
    assert f"{min(1.0, scores[0]['class_kept'] + half):.3g}]" in rows[0][1]
    assert "| 0.25 |" in f"| {rows[-1][1]} |"
    assert "class_kept of reconstructions by the bits of each pixel" in page
    claims = json.loads(Path("studies/mine/mine.json").read_text())["claims"]
    assert "class_kept: long from z_5, in 4 steps from T " in claims[0]["evidence"]
    assert "long from z_5, rounded to 1 bits" in claims[0]["evidence"]
    assert claims[0]["text"] == (
        "long from z_5, in 4 steps from T has a better class_kept than long from z_5, rounded to 1 bits."
    )
    verdicts = [claim["verdict"] != "not measured" for claim in claims]
    assert verdicts == [True, True, True, False, False, True, False, True, False, False, False]
    assert claims[3]["evidence"] == "no reconstructions of long from z_7 were measured"
    assert claims[5]["evidence"].startswith(f"rmse: long from z_5, in 2 steps from T {scores[7]['rmse']:.3g}")
    assert claims[6]["evidence"] == (
        "reconstructions of long from z_5 were measured in 2 and in 4 steps from T; name the steps"
    )
    # What an evaluation reconstructs beside its samples is from z_T, too, and is meant where its steps are named.
    assert claims[7]["evidence"].startswith(f"rmse: short from z_T, in 4 steps from T {short['scores']['rmse']:.3g}")
    assert claims[8]["evidence"] == "no reconstructions of short from z_T were measured"
    assert claims[9]["evidence"] == "fid was not measured of short"
    assert claims[10]["evidence"] == "no reconstructions of long from z_T, in 2 steps from T were measured"
    # Made again, nothing is measured again.
    del measurements[:]
    assert cli(*mine).code == 0
    assert measurements == []
    # Runs of other models may stand in the line of one.
    runs = ["--run", "long=studies/mine/long", "--run", "short=studies/mine/short"]
    result = cli(*mine, *runs, "--only", "short", "--out", "elsewhere")
    assert (result.code, measurements) == (0, []), result.err
    assert not Path("elsewhere").exists()
    # An evaluation of the whole of T is that of z_T, by whatever name.
    Path("mine.yaml").write_text(BITS.replace("[5, 10, null]", "[5, 10, 20]").replace("t: 7", "t: 20"))
    result = cli(*mine)
    assert (result.code, measurements) == (0, []), result.err
    claims = json.loads(Path("studies/mine/mine.json").read_text())["claims"]
    assert claims[3]["evidence"].startswith("rmse: long from z_T ")


def test_what_is_measured_without_samples_is_found_again_whatever_the_prior(
    cli, mine: list[object], measurements: list[str]
) -> None:
    text = MINE.replace("long: tiny.yaml", "long: {preset: tiny.yaml, priors: [standard-normal]}")
    text = text.replace("by_epoch: {", "metrics: [rmse], by_epoch: {").replace("metric: fid", "metric: rmse")
    Path("mine.yaml").write_text(text)
    assert cli(*mine).code == 0
    assert measurements
    del measurements[:]
    assert cli(*mine).code == 0
    assert measurements == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("t: [5,", "t: [500,"), "evaluation.reconstructions.t of 'long' must be in 1..20, its steps; got 500"),
        (("t: [5,", "t: [0,"), "evaluation.reconstructions.0.t.0"),
        (("noise: [0.5]", "noise: [0]"), "'long': two groups start from t T, bits all, noise 0, in 4 steps from T"),
        (
            ("steps: 2", "steps: 4"),
            "'long': two groups start from t 5, bits all, noise 0, in 4 steps from T; name it in one",
        ),
        (("bits: [null, 1]", "bits: [17]"), "evaluation.reconstructions.0.bits.0"),
        (("noise: [0.5]", "noise: [-1.0]"), "evaluation.reconstructions.1.noise.0"),
        (("metrics: [rmse, class_kept]", "metrics: [fid]"), "unknown metric of reconstructions 'fid'"),
        (("{models: [long], t", "{models: [lang], t"), "did you mean 'long'"),
        (("{models: [long], t", "{model: [long], t"), "did you mean 'evaluation.reconstructions.0.models'"),
        (("t: [5], steps: 2", "t: [20], steps: 4"), "'long': two groups start from t T, bits all, noise 0, in 4 steps"),
        (("{model: long, t: 7}", "{model: long, t: 7, epoch: 1}"), "leave prior and epoch out"),
        (("{model: long, t: 7}", "{model: long, steps: 4, epoch: 1}"), "leave prior and epoch out"),
    ],
)
def test_a_start_that_cannot_be_costs_a_line_before_anything_is_trained(
    cli, mine: list[object], change: tuple[str, str], expected: str
) -> None:
    assert change[0] in BITS
    Path("mine.yaml").write_text(BITS.replace(*change))
    result = cli(*mine)
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert expected in result.err
    assert not Path("studies").exists()


def test_a_model_can_be_measured_alone_before_the_study(cli, mine: list[object], measurements: list[str]) -> None:
    result = cli(*mine, "--only", "long")
    assert result.code == 0, result.err
    assert set(measurements) == {"long"}
    assert not Path("studies/mine/short").exists()
    assert not list(Path("studies/mine").glob("mine.*"))
    assert "no run of short" not in result.out
    assert "long from z_5, in 4 steps from T has a better class_kept" in result.out
    del measurements[:]
    assert cli(*mine).code == 0
    assert measurements == ["short"]
    for wrong, expected in (
        (["--only", "lang"], "--only: unknown model 'lang'; did you mean 'long'"),
        (["--only", "long", "--page", "x.html"], "--page is of a whole study; leave it or --only out"),
    ):
        result = cli(*mine, *wrong)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err


def test_an_evaluation_that_is_interrupted_costs_itself_alone(
    cli, mine: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = compare_runs.measure, []

    def measure(subject, options, *rest):
        calls.append((subject.model.run.folder.name, options.t, options.zt_bits))
        if len(calls) == 4:
            raise RunError("interrupted by the test")
        return real(subject, options, *rest)

    monkeypatch.setattr(compare_runs, "measure", measure)
    assert cli(*mine).code == 1
    assert cli(*mine).code == 0
    assert calls[3] == calls[4]
    assert len(calls) == 1 + (1 + 3 * 2 + 2) + 1
    assert len(Run(Path("studies/mine/long")).evaluations()) == 1 + 3 * 2 + 2


def test_a_budget_says_on_how_many_images_a_model_is_measured(cli, mine: list[object]) -> None:
    Path("mine.yaml").write_text(MINE + "budget: {epochs: 1, n_test: {long: 12}, n_fid: {long: 14}}\n")
    assert cli(*mine).code == 0
    runs = {run["label"]: run["settings"] for run in json.loads(Path("studies/mine/mine.json").read_text())["runs"]}
    assert {label: (settings["n_test"], settings["n_fid"]) for label, settings in runs.items()} == {
        "short": (10, 20),
        "long": (12, 14),
    }
    Path("mine.yaml").write_text(MINE + "budget: {n_fid: {lang: 14}}\n")
    assert "budget.n_fid: unknown model 'lang'" in cli(*mine).err


def test_a_budget_says_in_which_precision_a_model_is_measured(cli, mine: list[object]) -> None:
    Path("mine.yaml").write_text(MINE + "budget: {epochs: 1, precision: {long: bf16-mixed}}\n")
    assert cli(*mine).code == 0
    runs = {run["label"]: run for run in json.loads(Path("studies/mine/mine.json").read_text())["runs"]}
    assert {label: run["settings"]["precision"] for label, run in runs.items()} == {
        "short": "32-true",
        "long": "bf16-mixed",
    }
    Path("mine.yaml").write_text(MINE + "budget: {precision: {lang: bf16-mixed}}\n")
    result = cli(*mine)
    assert (result.code, "budget.precision: unknown model 'lang'" in result.err) == (2, True)
