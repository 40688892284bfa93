"""Bits per dimension by command and in Python: repeatable, lower for the better model, refused where there are none."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import TINY, Cli

import diffcli
from diffcli.checkpoints.runs import Run
from diffcli.evaluation.bits_per_dimension import why_none
from diffcli.evaluation.options import NLL_EVALUATIONS

CPU = diffcli.Devices("cpu", "1")
QUIET = ["--accelerator", "cpu", "--quiet"]
NLL = ["--nll", "--n-test", 12, "--json", *QUIET]
COLD = {"degradation": {"name": "heat"}, "prediction": "x0", "prior": {"name": "mixture"}, "sampler": {"name": "cold"}}
NOISE = {"noise": {"name": "constant", "sigma": 0.05}}


@pytest.fixture(scope="module")
def model(hot_run: Path) -> diffcli.Model:
    """The trained model without its run, so that nothing is written."""
    return replace(diffcli.load(hot_run, devices=CPU), run=None)


def preset_of(file: Path, **changes: object) -> Path:
    file.write_text(yaml.safe_dump({**yaml.safe_load(TINY), **changes}))
    return file


def run_of(workplace: Path, name: str, **changes: object) -> Path:
    run = diffcli.train(preset_of(workplace / f"{name}.yaml", **changes), out=name, devices=CPU, quiet=True)
    return run.folder


def bits(model: diffcli.Model, **options: object) -> dict[str, float]:
    return diffcli.evaluate(model, ["nll"], quiet=True, **{"n_test": 12, **options}).scores  # type: ignore[arg-type]


def test_by_command_and_in_python_and_the_same_for_every_batch_size(cli: Cli, hot_run: Path, model) -> None:
    result = cli("eval", "--checkpoint", Run(hot_run).best, *NLL)
    assert result.code == 0, result.err
    report = json.loads(result.out)
    ours = bits(model, batch_size=5)
    assert report["scores"] == pytest.approx(ours, rel=1e-6)
    assert set(ours) == {"nll", "nll_kl", "nll_error"}
    assert 0 < ours["nll_kl"] < ours["nll"] < 30  # it has hardly been trained
    assert 0 < ours["nll_error"] < ours["nll"]
    assert report["settings"]["nll_steps"] == min(NLL_EVALUATIONS, model.T)
    assert report["settings"]["decoder_width"] > 0
    assert bits(model, seed=1)["nll"] != ours["nll"]
    table = cli("eval", "--checkpoint", Run(hot_run).best, *[word for word in NLL if word != "--json"]).out
    assert "standard error" in table


def test_fewer_evaluations_are_near_the_sum(model: diffcli.Model) -> None:
    exact = bits(model, n_test=100, nll_steps=20)
    few = bits(model, n_test=100, nll_steps=6)
    assert few["nll"] == pytest.approx(exact["nll"], abs=4 * few["nll_error"])
    assert few["nll"] != exact["nll"]


def test_lower_for_the_better_model(workplace: Path) -> None:
    changes = {"network": {"name": "compact-unet", "width": 16, "blocks": 1}, "prediction": "v"}
    training = yaml.safe_load(TINY)["training"] | {"batch_size": 32, "lr": 3e-3}
    runs = [run_of(workplace, f"epochs{n}", **changes, training=training | {"epochs": n}) for n in (1, 3)]
    worse, better = (bits(replace(diffcli.load(run, devices=CPU), run=None), n_test=60) for run in runs)
    assert better["nll"] + 4 * better["nll_error"] < worse["nll"] < 20


def test_blur_with_noise_has_one_and_blur_without_has_none(cli: Cli, workplace: Path) -> None:
    schedule = {"name": "log-widths", "T": 8, "width_min": 0.3, "width_max": 3.0}
    noisy = run_of(workplace, "noisy", **COLD, **NOISE, schedule=schedule)
    still = run_of(workplace, "still", **COLD, schedule=schedule)
    result = cli("eval", "--run", noisy, *NLL)
    assert result.code == 0, result.err
    assert 0 < json.loads(result.out)["scores"]["nll"] < 50
    for options, name in ((["--nll"], "--nll"), (["--rmse", "--nll-steps", 4], "--nll-steps")):
        result = cli("eval", "--run", still, *options, *QUIET)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert f"{name}: a heat without noise is deterministic, and its images have no likelihood" in result.err
        assert not (still / "eval.json").exists()
    few = ["--n-test", 6, "--n-fid", 12, "--steps", 2, "--extractor", "classifier", *QUIET]
    result = cli("eval", "--run", still, *few)
    assert result.code == 0, result.err
    assert "left out nll: a heat without noise is deterministic" in " ".join(result.out.split())
    result = cli("compare", noisy, still, *few)
    assert result.code == 0, result.err
    (row,) = (line for line in result.out.splitlines() if " nll " in line)
    assert row.split("│")[3].strip() == "-"
    assert float(row.split("│")[2].split("±")[0]) > 0


def test_what_is_out_of_range_or_has_no_density_costs_one_line(cli: Cli, workplace: Path, hot_run: Path) -> None:
    for options, expected in (
        (["--nll", "--nll-steps", 1], "--nll-steps must be in 2..20 (T of this model), got 1"),
        (["--nll", "--nll-steps", 21], "--nll-steps must be in 2..20 (T of this model), got 21"),
        (["--nll", "--prior", "blurred-data"], "--nll: prior blurred-data has no density; use one of standard-normal"),
        (["--label-kept"], "--label-kept: this model was trained without labels"),
    ):
        run = shutil.copytree(hot_run, workplace / "run", ignore=shutil.ignore_patterns("eval.json"))
        result = cli("eval", "--run", run, *options, *QUIET)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
        assert not (run / "eval.json").exists()
        shutil.rmtree(run)


def test_a_hint_names_no_prior_that_does_not_fit_the_degradation() -> None:
    degradation = diffcli.load("pixelate-fast", devices=CPU).denoiser.degradation
    assert why_none(degradation, "blurred-data") == (
        "prior blurred-data has no density; use one of uniform, gaussian, mixture"
    )


def test_a_label_that_is_told_saves_bits_or_costs_them(workplace: Path) -> None:
    changes = {"network": {"name": "compact-unet", "width": 8, "blocks": 1}, "labels": {}}
    labelled = replace(diffcli.load(run_of(workplace, "labelled", **changes), devices=CPU), run=None)
    right, wrong = bits(labelled), bits(labelled, label=3)
    assert right["nll"] != wrong["nll"]


def test_of_one_step_it_is_prior_and_pixels(workplace: Path) -> None:
    changes = {**COLD, **NOISE, "schedule": {"name": "log-widths", "T": 1}}
    one = replace(diffcli.load(run_of(workplace, "one", **changes), devices=CPU), run=None)
    scores = bits(one)
    assert math.isfinite(scores["nll"])
    assert bits(one, nll_steps=1) == scores
