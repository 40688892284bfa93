"""Ready models: found by name after the runs, listed with their scores, and taken wherever a run is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli

import diffcli
from diffcli.checkpoints import model_file
from diffcli.checkpoints.model_file import read_metadata, read_stored, write_model_file

CPU = diffcli.Devices("cpu", "1")
EFFORT = ["--n-test", 5, "--n-fid", 6, "--steps", 2, "--extractor", "classifier", "--accelerator", "cpu", "--quiet"]
LARGEST_BYTES, LARGEST_IN_COLOUR = 8_000_000, 6_000_000
PACKAGED = model_file.ready_models()


@pytest.fixture(scope="module")
def ready_folder(guided_run: Path, blur_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models, ``hot`` with its scores and ``cold`` without."""
    place = tmp_path_factory.mktemp("ready")
    for name, run in (("hot", guided_run), ("cold", blur_run)):
        diffcli.export(run, place / f"{name}.safetensors", half=True)
    hot = place / "hot.safetensors"
    evaluation = diffcli.evaluate(hot, n_test=5, n_fid=6, steps=2, extractor="classifier", devices=CPU, quiet=True)
    write_model_file(hot, replace(read_stored(hot), evaluation=evaluation.as_dict()))
    return place


@pytest.fixture
def models(ready_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(model_file, "READY_MODELS", ready_folder)
    return ready_folder


def test_a_model_is_taken_by_name_and_it_is_said(cli: Cli, workplace: Path, models: Path) -> None:
    result = cli("sample", "--model", "hot", "--label", 7, "--n", 3, "--out", "images.npz", "--accelerator", "cpu")
    assert (result.code, result.out) == (0, "images.npz\n")
    assert result.err == "note: the ready model hot is used; no run has that name\n"
    ours = diffcli.load("hot", devices=CPU).sample(3, label=7, quiet=True)
    assert np.array_equal(np.load("images.npz")["images"], ours.permute(0, 2, 3, 1).numpy())


def test_a_run_of_its_name_comes_first_and_it_is_said(
    cli: Cli, workplace: Path, models: Path, hot_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(hot_run, workplace / "runs" / "hot" / "first"))
    assert diffcli.load("hot", devices=CPU).checkpoint.is_relative_to(run.relative_to(workplace))
    note = capsys.readouterr().err
    assert note == f"note: your run runs/hot/first is used; the ready model of that name is {models}/hot.safetensors\n"
    assert diffcli.load("last", devices=CPU).run is not None
    assert diffcli.load("cold", devices=CPU).run is None


def test_names_that_are_neither_are_told_of_both(cli: Cli, workplace: Path, models: Path, hot_run: Path) -> None:
    unknown = cli("sample", "--model", "hott")
    assert (
        unknown.err
        == "error: unknown run 'hott'; did you mean 'hot'? known: cold, hot; or give a run folder; 'diffcli runs' "
        "lists the runs\n"
    )
    none = cli("sample")
    assert none.err.endswith("make one with: diffcli train --preset quickstart, or take a ready model: cold, hot\n")
    shutil.copytree(hot_run, workplace / "runs" / "mine" / "first")
    assert "known: cold, hot, last, mine, tiny;" in cli("sample", "--run", "nothing").err
    assert (unknown.code, none.code) == (2, 2)


def test_the_scores_of_the_metadata_are_those_that_eval_prints(cli: Cli, workplace: Path, models: Path) -> None:
    evaluation = read_metadata(models / "hot.safetensors")["evaluation"]
    result = cli("eval", "--model", "hot", *EFFORT, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["scores"] == evaluation["scores"]
    assert list(workplace.iterdir()) == []


def test_models_are_listed_with_their_scores(cli: Cli, workplace: Path, models: Path) -> None:
    listing = cli("models")
    assert listing.code == 0
    fid = read_metadata(models / "hot.safetensors")["evaluation"]["scores"]["fid_classifier"]
    cold, hot = listing.out.splitlines()[-2:]
    assert hot.split()[0] == "hot"
    assert f"fid_classifier {fid:.4g}" in hot
    assert "a tiny blur model for the tests" in cold
    assert cold.rstrip().endswith("not evaluated")
    rows = json.loads(cli("models", "--json").out)
    assert [row["model"] for row in rows] == ["cold", "hot"]
    assert rows[1]["settings"]["n_fid"] == 6
    assert Path(rows[1]["file"]).stat().st_size == rows[1]["bytes"]


def test_a_damaged_one_is_listed_as_that(
    cli: Cli, workplace: Path, ready_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "READY_MODELS", workplace)
    assert "no ready models came with this diffcli" in cli("models").out
    content = (ready_folder / "hot.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(content[:50])
    assert "damaged: model file" in cli("models").out


def test_a_comparison_takes_models_and_finds_their_scores(
    cli: Cli, workplace: Path, models: Path, hot_run: Path
) -> None:
    shutil.copytree(hot_run, workplace / "runs" / "mine" / "first")
    result = cli("compare", "hot", "mine", *EFFORT, "--out", "page.html")
    assert result.code == 0, result.err
    rows = {row.split("│")[1].strip(): row for row in result.out.splitlines() if row.startswith("│")}
    fid = read_metadata(models / "hot.safetensors")["evaluation"]["scores"]["fid_classifier"]
    assert f" {fid:.4g} " in rows["fid_classifier"]
    (place,) = (workplace / "runs" / ".models").iterdir()
    assert not list(place.glob("compare/*/eval.json")), "what the file holds is not measured again"
    assert len(list(place.glob("compare/*/*.png"))) == 2
    assert "a tiny model for the tests" in Path("page.html").read_text()
    again = cli("compare", models / "hot.safetensors", "hot", *EFFORT)
    assert "a run is named twice" in again.err
    checkpoint = workplace / "runs" / "mine" / "first" / "checkpoints" / "last.ckpt"
    assert "is a checkpoint; name its run, or make a model file of it" in cli("compare", checkpoint, *EFFORT).err


def test_a_comparison_measures_what_a_model_lacks_once(cli: Cli, workplace: Path, models: Path) -> None:
    for _ in range(2):
        assert cli("compare", "cold", *EFFORT).code == 0
    (file,) = (workplace / "runs").glob(".models/cold-*/compare/*/eval.json")
    assert "mixture" in json.loads(file.read_text())["by_prior"]
    assert json.loads(cli("runs", "--json").out) == [], "what is kept of model files is no run"


def test_a_model_needs_no_folder_of_runs(workplace: Path, models: Path) -> None:
    model = diffcli.load("cold", devices=CPU)
    images = model.sample(4, label="0-3", quiet=True)
    assert images.shape == (4, 1, 8, 8)
    assert torch.equal(model.reconstruct(images, quiet=True), model.reconstruct(images, quiet=True))
    assert list(workplace.iterdir()) == []


def test_the_tool_writes_half_precision_with_its_own_scores(
    workplace: Path, guided_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import models as tool

    run = Path(shutil.copytree(guided_run, workplace / "runs" / "mine" / "first"))
    effort = {"n_test": 5, "n_fid": 6, "steps": 2, "extractor": "classifier"}
    tool.write([str(run)], workplace / "ready", devices=CPU, quiet=True, **effort)
    file = workplace / "ready" / "tiny.safetensors"
    monkeypatch.setattr(model_file, "READY_MODELS", file.parent)
    evaluation = diffcli.evaluate(file, devices=CPU, quiet=True, **effort)
    about = read_metadata(file)
    assert about["evaluation"]["scores"] == evaluation.scores
    assert read_stored(file).weights["network.head.weight"].dtype == torch.float16
    table = capsys.readouterr().out
    assert "float32" in table
    assert "float16" in table
    assert f"{json.loads(next(run.glob('compare/*/eval.json')).read_text())['scores']['rmse']:.4g}" in table, (
        "beside the scores of the run's own weights"
    )


@pytest.mark.skipif(not PACKAGED, reason="no ready models have been made in this checkout")
def test_the_packaged_ones_are_small_told_labels_and_have_scores() -> None:
    digits = {name: file for name, file in PACKAGED.items() if name != "emoji"}
    assert sum(file.stat().st_size for file in digits.values()) <= LARGEST_BYTES
    assert PACKAGED["emoji"].stat().st_size <= LARGEST_IN_COLOUR
    for name, file in PACKAGED.items():
        model = diffcli.load(file, devices=CPU)
        assert model.classes, name
        about = read_metadata(file)
        assert "fid_classifier" in about["evaluation"]["scores"], name
        assert about["evaluation"]["settings"]["checkpoint_sha256"] == about["weights_sha256"]
        assert model.sample(2, label=7, steps=2, quiet=True).shape == (2, *model.image_shape)
