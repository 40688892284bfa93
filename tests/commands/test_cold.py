"""Cold diffusion from the command line: train, resume, sample from any prior, evaluate, plot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from diffcli.checkpoints.runs import Run

COLD = (
    TINY.replace("{name: linear, T: 20, beta_min: 0.001, beta_max: 0.3}", "{name: constant, T: 20, beta: 0.35}")
    .replace("gaussian-noise", "gaussian-blur, kernel_size: 7")
    .replace("prediction: eps", "prediction: x0")
    .replace("standard-normal", "mixture, components: 5")
    .replace("ancestral", "cold")
)


@pytest.fixture(scope="session")
def cold_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffcli.cli import main

    place = tmp_path_factory.mktemp("cold")
    (place / "cold.yaml").write_text(COLD)
    with pytest.raises(SystemExit) as error:
        main(["train", "--preset", str(place / "cold.yaml"), "--out", str(place / "run"), "--accelerator", "cpu", "-q"])
    assert not error.value.code
    return place / "run"


def test_fitted_priors_travel_in_the_checkpoint(cold_run: Path) -> None:
    content = torch.load(Run(cold_run).best, weights_only=True)
    assert sorted(content["priors"]) == ["gaussian", "mixture", "uniform"]
    assert len(content["priors"]["mixture"]["weights"]) == 5
    assert not any("prior" in key for key in content["state_dict"])


@pytest.mark.parametrize("prior", ["uniform", "gaussian", "mixture"])
def test_samples_from_a_stored_prior_need_no_data(cli, cold_run: Path, prior: str) -> None:
    out = [
        cli("sample", "--run", cold_run, "--prior", prior, "--n", 4, "--out", f"{i}.npz", "--data-dir", "nowhere", "-q")
        for i in range(2)
    ]
    assert [result.code for result in out] == [0, 0], out[0].err
    assert "restoration" not in out[0].err
    assert np.array_equal(np.load("0.npz")["images"], np.load("1.npz")["images"])


def test_restoration_is_labelled_wherever_it_goes(cli, cold_run: Path) -> None:
    options = ["sample", "--run", cold_run, "--prior", "blurred-data", "--n", 4, "--quiet"]
    for out in ("grid.png", "images.npz", "files"):
        result = cli(*options, "--out", out)
        assert result.code == 0, result.err
        assert "restoration, not generation" in result.err
    assert Image.open("grid.png").text == {"Comment": "restoration, not generation"}
    assert Image.open("grid.png").height == 2 * 66 + 2 + 16
    assert Image.open("files/00000.png").text == {"Comment": "restoration, not generation"}
    assert str(np.load("images.npz")["label"]) == "restoration, not generation"


def test_conditional_and_trajectory(cli, cold_run: Path) -> None:
    assert cli("sample", "--run", cold_run, "--conditional", "--out", "c.png", "--quiet").code == 0
    result = cli("sample", "--run", cold_run, "--n", 2, "--steps", 5, "--trajectory", "walk.gif", "--quiet")
    assert result.code == 0
    assert Image.open("walk.gif").n_frames == 6  # z_T and five steps


def test_eval_has_a_row_for_each_prior(cli, cold_run: Path) -> None:
    options = ["eval", "--run", cold_run, "--n-fid", 20, "--n-test", 10, "--extractor", "classifier", "--quiet"]
    options += ["--prior", "mixture", "--prior", "blurred-data"]
    result = cli(*options, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert sorted(report["by_prior"]) == ["blurred-data", "mixture"]
    for key in ("fid_classifier", "kid_classifier", "nearest", "nearest_test", "fid_classifier_floor"):
        assert report["scores"][key] == report["by_prior"]["mixture"][key]
        assert np.isfinite(report["by_prior"]["blurred-data"][key])
    assert (report["settings"]["prior"], report["settings"]["kind"]) == ("mixture", "generation")
    table = cli(*options, "--fid", "--nearest").out
    assert "mixture" in table
    assert "(restoration)" in table
    assert "test images" in table


def test_a_resumed_cold_run_ends_like_an_uninterrupted_one(cli, workplace: Path) -> None:
    (workplace / "cold.yaml").write_text(COLD)
    options = ["--quiet", "--accelerator", "cpu"]
    cli("train", "--preset", "cold.yaml", "--epochs", 2, "--out", "whole", *options)
    cli("train", "--preset", "cold.yaml", "--epochs", 1, "--out", "parts", *options)
    assert cli("train", "--resume", "parts", "--epochs", 2, *options).code == 0
    contents = [torch.load(Run(Path(run)).last, weights_only=True) for run in ("whole", "parts")]
    for key, weight in contents[0]["state_dict"].items():
        assert torch.equal(weight, contents[1]["state_dict"][key])
    for prior, tables in contents[0]["priors"].items():
        for key, table in tables.items():
            assert torch.allclose(table, contents[1]["priors"][prior][key], atol=1e-4)


def test_blur_schedule_plots(cli, workplace: Path) -> None:
    assert cli("schedule-plot", "--preset", "quickstart-blur", "--preset", "blur-const", "--out", "s.png").code == 0
    assert cli("schedule-plot", "--preset", "blur-const", "--out", "s.csv").code == 0
    header, *rows = [line.split(",") for line in Path("s.csv").read_text().splitlines()]
    assert header == ["preset", "t", "t_over_T", "width", *(f"mode_{k}" for k in (1, 2, 3, 4, 6, 8))]
    last = dict(zip(header[1:], map(float, rows[-1][1:]), strict=True))
    assert (last["mode_1"], last["mode_2"]) == pytest.approx((0.508, 0.067), rel=0.02)
    assert last["width"] == pytest.approx(10, rel=0.01)  # a hundred variances of 1


BAD = {
    "eps": (["--set", "prediction=eps"], "prediction eps needs a degradation with noise; use x0"),
    "prior": (["--set", "prior={name: standard-normal}"], "use uniform or gaussian or mixture or blurred-data"),
    "sampler": (["--set", "sampler={name: ancestral}"], "ancestral does not undo a gaussian-blur"),
    "kernel": (["--set", "degradation.kernel_size=17"], "too wide for 8x8"),
    "padding": (["--set", "degradation.padding=mirror"], "degradation.padding"),
    "components": (["--set", "prior.components=0"], "prior.components"),
    "beta": (["--set", "schedule.beta=-1"], "beta must be positive"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_cold_presets_cost_one_line(case: str, cli, workplace: Path) -> None:
    (workplace / "cold.yaml").write_text(COLD)
    options, expected = BAD[case]
    result = cli("train", "--preset", "cold.yaml", *options)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert expected in result.err
    assert [path.name for path in workplace.iterdir()] == ["cold.yaml"]


def test_bad_priors_cost_one_line(cli, workplace: Path, cold_run: Path) -> None:
    for run, prior, expected in [
        (cold_run, "mixtur", "did you mean 'mixture'"),
        (cold_run, "standard-normal", "is not where a gaussian-blur ends"),
    ]:
        result = cli("sample", "--run", run, "--prior", prior)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert expected in result.err
    result = cli("schedule-plot", "--preset", "blur-const", "--preset", "ddpm-linear", "--out", "s.png")
    assert result.code == 2
    assert "one by one" in result.err
    assert not list(workplace.iterdir())
