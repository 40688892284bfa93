"""JSON that every program reads: no NaN and no infinity in any file or output of ours."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli

import diffcli
from diffcli.checkpoints.runs import Run
from diffcli.utils.devices import Devices
from diffcli.utils.files import json_text, write_json

CPU = Devices("cpu")
SOURCE = Path(diffcli.__file__).parent


def strictly(text: str) -> Any:
    """What JSON holds; NaN and infinity are refused, as RFC 8259 and most programs do."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_json_does_not_have_become_null(workplace: Path) -> None:
    value = {"a": math.nan, "b": [1.5, math.inf, {"c": -math.inf}], "d": (1, "NaN", None, True), 3: 0.1}
    expected = {"a": None, "b": [1.5, None, {"c": None}], "d": [1, "NaN", None, True], "3": 0.1}
    assert strictly(json_text(value)) == expected
    write_json(workplace / "file.json", value)
    assert strictly((workplace / "file.json").read_text()) == expected


def test_json_is_written_in_one_place() -> None:
    # Others: what is hashed and never read.
    hashes = {"utils/cache.py", "evaluation/protocol.py", "utils/hashing.py"}
    makers = {
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        if re.search(r"\bjson\.dumps?\(", file.read_text(encoding="utf-8"))
    }
    assert makers == {"utils/files.py", *hashes}


def test_one_test_image_has_no_standard_errors(cli: Cli, hot_run: Path, workplace: Path) -> None:
    options = ["--n-test", 1, "--accelerator", "cpu", "-q", "--steps", 2]
    metrics = ["--nll", "--loss", "--rmse", "--psnr", "--ssim"]
    result = cli("eval", "--run", hot_run, *metrics, *options, "--json")
    assert result.code == 0, result.err
    scores = strictly(result.out)["scores"]
    assert {"nll", "nll_kl", "loss", "rmse", "psnr", "ssim"} <= set(scores)
    assert not [key for key in scores if key.endswith("_error")]
    assert strictly((hot_run / "eval.json").read_text())["scores"] == scores
    assert "standard error" not in cli("eval", "--run", hot_run, *metrics, *options).out


def test_a_model_that_draws_nan_leaves_its_scores_out_and_says_so(hot_run: Path) -> None:
    model = diffcli.load(hot_run, devices=CPU)
    with torch.no_grad():
        next(model.denoiser.network.parameters()).fill_(math.nan)
    result = diffcli.evaluate(
        model, metrics=["rmse", "ssim", "loss", "nearest"], n_test=20, n_fid=10, steps=2, quiet=True
    )
    assert not {"rmse", "ssim", "loss", "rmse_error"} & set(result.scores)
    assert result.loss_by_t == [None] * 10
    assert any("rmse" in note and "loss" in note and "not finite" in note for note in result.notes)
    assert result.file is not None
    assert strictly(result.file.read_text())["scores"] == result.scores


def test_what_an_older_version_left_is_shown_as_json(cli: Cli, hot_run: Path, workplace: Path) -> None:
    import shutil

    run = shutil.copytree(hot_run, workplace / "runs" / "tiny" / "one")
    scores = {"nll": 3.5, "nll_error": math.nan, "psnr": math.inf}
    Run(run).eval_file.write_text(json.dumps({"scores": scores, "settings": {"n_floor": None}}))
    runs = strictly(cli("runs", "--json").out)
    assert runs[0]["scores"] == {"nll": 3.5, "nll_error": None, "psnr": None}
    Run(run).eval_file.write_text(json_text({"scores": scores, "settings": {"n_floor": None}}))
    result = cli("runs")
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("file", sorted(SOURCE.parent.glob("docs/**/*.json")), ids=lambda file: file.parent.name)
def test_published_json_is_json(file: Path) -> None:
    strictly(file.read_text())
