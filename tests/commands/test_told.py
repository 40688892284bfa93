"""Reconstructions of a model with labels: what comes back from z_t alone, and beside it what does when the label is
told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, Cli, trained_in
from torch import Tensor, nn

import diffcli
from diffcli.config.build import load_source
from diffcli.data.pixels import to_model
from diffcli.studies.best_values import differences

CPU = diffcli.Devices("cpu", "1")


class Obedient(nn.Module):
    """Draws the digit that it is told, whatever it is given, and a 0 where it is told none."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.digits = torch.stack([images[labels == label][:1].mean(dim=0) for label in range(10)])

    def forward(self, xt: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        numbers = torch.full((len(xt),), -1) if labels is None else labels
        return self.digits[numbers.clamp(min=0)]


def evaluate(run: Any, **options: Any) -> diffcli.Evaluation:
    return diffcli.evaluate(run, n_test=100, quiet=True, **options)


def test_obedience_is_not_taken_for_what_is_kept(blur_run: Path, workplace: Path) -> None:
    model = diffcli.load(shutil.copytree(blur_run, "run"), devices=CPU)
    test = load_source(model.preset, None).test
    model.denoiser.network = Obedient(to_model(test.images), test.labels)
    scores = evaluate(model, metrics=["class_kept", "rmse"]).scores
    assert scores["class_kept_told_direct"] == 1
    assert scores["class_kept_told"] > 0.95
    assert scores["class_kept"] < 0.25
    assert scores["class_kept_direct"] < 0.25
    assert scores["rmse"] > scores["rmse_told"]
    assert {"class_kept_told_error", "rmse_told_error"} <= set(scores)


def test_scores_are_untold_beside_them_told_or_of_one_label(blur_run: Path, workplace: Path) -> None:
    shutil.copytree(blur_run, "run")
    both = evaluate("run", metrics=["rmse", "ssim", "psnr", "class_kept"], devices=CPU)
    none, three = (evaluate("run", metrics=["rmse"], label=label, devices=CPU) for label in ("none", 3))
    for key in ("rmse", "rmse_direct", "rmse_error"):
        assert both.scores[key] == none.scores[key]
        assert three.scores[key] != none.scores[key]
    names = ("rmse", "ssim", "psnr", "class_kept")
    keys = {key for key in both.scores if "_told" in key}
    assert keys == {f"{name}_told{rest}" for name in names for rest in ("", "_error", "_direct")}
    assert both.scores["rmse_told"] != both.scores["rmse"]
    assert not [key for result in (none, three) for key in result.scores if "_told" in key]
    labels = [result.settings["reconstruction_label"] for result in (both, none, three)]
    assert labels == [None, None, [3]]
    # One image, told its own label by name, is that image of the told pass.
    test = load_source(diffcli.load("run", devices=CPU).preset, None).test
    images, own = test.images[:5], test.labels[:5].tolist()
    model = diffcli.load("run", devices=CPU)
    assert not torch.equal(model.reconstruct(images, label=own), model.reconstruct(images))


def test_a_model_without_labels_is_told_nothing(hot_run: Path, workplace: Path) -> None:
    shutil.copytree(hot_run, "run")
    scores = evaluate("run", metrics=["rmse", "class_kept"], steps=2, devices=CPU).scores
    assert not [key for key in scores if "_told" in key]


def test_untold_scores_compare_with_those_of_models_without_labels() -> None:
    plain: dict[str, Any] = {"n_test": 9}
    untold = plain | {"label": "data", "reconstruction_label": None}
    three = plain | {"label": [3], "reconstruction_label": [3]}
    for key in ("rmse", "ssim", "psnr", "class_kept", "class_kept_direct"):
        assert differences(key, [plain, untold]) == []
        assert differences(key, [plain, three]) == ["labels told in reconstructions"]
    assert differences("nll", [plain, untold]) == ["labels asked for"]


def test_a_model_that_was_always_told_has_told_scores_alone(cli: Cli, workplace: Path, hot_run: Path) -> None:
    run = trained_in(workplace, TINY.replace("epochs: 2", "epochs: 1") + "labels: {dropped: 0}\n")
    options = ["--rmse", "--class-kept", "--n-test", 20, "--steps", 2, "--accelerator", "cpu", "-q"]
    result = cli("eval", "--run", run, *options)
    assert result.code == 0, result.err
    report = json.loads((run / "eval.json").read_text())
    assert {key.removesuffix("_error").removesuffix("_direct") for key in report["scores"]} == {
        "rmse_told",
        "class_kept_told",
    }
    (note,) = report["notes"]
    assert "left out rmse, class_kept" in note
    assert "labels.dropped: 0" in note
    for name in ("rmse_told", "class_kept_told"):
        assert name in result.out
    assert "standard error" in result.out
    shutil.copytree(hot_run, "other")
    comparison = cli("compare", run, "other", *options)
    assert comparison.code == 0, comparison.err
    assert "rmse_told" in comparison.out
    pages = [cli("compare", run, "other", *options, "--out", name).code for name in ("page.md", "page.html")]
    assert pages == [0, 0]
    assert "rmse_told" in Path("page.md").read_text()


def test_the_table_names_what_was_told(cli: Cli, blur_run: Path, workplace: Path) -> None:
    shutil.copytree(blur_run, "run")
    out = cli("eval", "--run", "run", "--class-kept", "--n-test", 20, "--accelerator", "cpu", "-q").out
    assert "told the label: " in " ".join(out.split())
    assert "class_kept_told" not in out


def test_pictures_of_reconstructions_are_told_what_their_scores_are(cli: Cli, blur_run: Path, workplace: Path) -> None:
    for name, options in (("plain.png", []), ("none.png", ["--label", "none"]), ("nine.png", ["--label", 9])):
        words = ["--conditional", "--n", 2, "--accelerator", "cpu", "-q", "--out", name]
        assert cli("sample", "--run", blur_run, *words, *options).code == 0
    plain, none, nine = (Path(name).read_bytes() for name in ("plain.png", "none.png", "nine.png"))
    assert plain == none != nine


@pytest.mark.parametrize("dropped", ["0", "0.1"])
def test_a_training_draws_such_pictures_too(cli: Cli, workplace: Path, dropped: str) -> None:
    preset = TINY.replace("epochs: 2", "epochs: 1") + f"labels: {{dropped: {dropped}}}\n"
    run = trained_in(workplace, preset)
    assert (run / "samples" / "epoch-001-conditional.png").is_file()
