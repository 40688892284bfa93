"""``diffcli compare`` reuses an evaluation only where it was made with the very settings that the comparison asks
for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparisons import OPTIONS
from conftest import TINY
from PIL import Image

from diffcli.checkpoints.runs import Run

FAST = ["--n-test", 10, "--n-fid", 20, "--extractor", "classifier", "--accelerator", "cpu", "--quiet"]


@pytest.fixture
def run(hot_run: Path, workplace: Path) -> Path:
    """A copy of the trained run without any evaluation."""
    return shutil.copytree(hot_run, workplace / "run", ignore=shutil.ignore_patterns("eval.json", "compare"))


@pytest.fixture
def compare(cli) -> Callable[..., dict[str, Any]]:
    """What ``compare --json`` prints."""

    def call(*arguments: object) -> dict[str, Any]:
        result = cli("compare", *arguments, "--json", "--quiet")
        assert result.code == 0, result.err
        return json.loads(result.out)

    return call


def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are evaluated from now on, in their order."""
    from diffcli.studies import compare_runs as module

    calls, real = [], module.measure

    def measure(subject, *rest):
        calls.append(str(subject.model.run.folder))
        return real(subject, *rest)

    monkeypatch.setattr(module, "measure", measure)
    return calls


def settings_of(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    return [member["settings"] for member in comparison["runs"]]


def test_an_evaluation_with_another_sampler_is_not_shown(cli, compare, run: Path, workplace: Path) -> None:
    shutil.copytree(run, "other")
    own = [*OPTIONS[:-1], "--run", run, "--sampler", "ddim", "--steps", 3, "--seed", 5]
    assert cli("eval", *own, "-q").code == 0
    before = (run / "eval.json").read_bytes()
    both = settings_of(compare(run, "other", *OPTIONS))
    assert [settings["sampler"]["name"] for settings in both] == ["ancestral", "ancestral"]
    assert [(settings["sampler"]["steps"], settings["seed"], settings["n_test"]) for settings in both] == [
        (4, 0, 10)
    ] * 2
    assert (run / "eval.json").read_bytes() == before  # what the user measured stays


@pytest.mark.parametrize(
    "other",
    [
        ["--sampler", "ddim"],
        ["--sampler", "{name: ancestral, clip: true}"],
        ["--steps", 3],
        ["--seed", 5],
        ["--n-test", 9],
        ["--n-fid", 19],
        ["--rmse", "--ssim"],
    ],
    ids=lambda words: words[0].strip("-") + (str(words[1]).strip("{-") if len(words) > 1 else "")[:10],
)
def test_only_the_very_same_settings_are_reused(
    cli, compare, run: Path, monkeypatch: pytest.MonkeyPatch, other: list[object]
) -> None:
    calls = evaluations(monkeypatch)
    assert cli("eval", "--run", run, "--steps", 4, *FAST, *other).code == 0
    compare(run, *OPTIONS)
    assert calls == [str(run)]
    compare(run, *OPTIONS)
    assert calls == [str(run)]


def test_what_eval_measured_is_reused_where_it_is_the_same(
    cli, compare, run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = evaluations(monkeypatch)
    assert cli("eval", "--run", run, "--steps", 4, *FAST, "--batch-size", 7).code == 0
    first = compare(run, *OPTIONS)
    assert not calls
    # A run is a whole: copied and touched, its evaluation is still of this checkpoint.
    place = shutil.move(run, workplace / "elsewhere")
    for file in Path(place).rglob("*.ckpt"):
        file.touch()
    second = compare(place, *OPTIONS)
    assert not calls
    assert first["runs"][0]["scores"] == second["runs"][0]["scores"]


def test_settings_taken_in_turn_are_each_measured_once(compare, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = evaluations(monkeypatch)
    for steps in (2, 3, 2, 3):
        (settings,) = settings_of(compare(run, *FAST, "--steps", steps))
        assert settings["sampler"]["steps"] == steps
    assert len(calls) == 2


def test_another_checkpoint_is_evaluated_again(compare, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = evaluations(monkeypatch)
    before = compare(run, *OPTIONS)
    best = Run(run).best
    times = best.stat()
    content = torch.load(best, weights_only=True)
    for weight in content["state_dict"].values():
        weight.mul_(1.5)
    torch.save(content, best)
    os.utime(best, ns=(times.st_atime_ns, times.st_mtime_ns))  # as from an archive that keeps the times
    after = compare(run, *OPTIONS)
    assert len(calls) == 2
    assert before["runs"][0]["scores"] != after["runs"][0]["scores"]


def test_other_images_under_the_same_name_are_evaluated_again(
    cli, compare, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(seed: int) -> None:
        draw = np.random.default_rng(seed)
        for number in range(40):
            Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(workplace / "images" / f"{number}.png")

    (workplace / "images").mkdir()
    fill(0)
    Path("mine.yaml").write_text(TINY.replace("{name: digits}", "{name: folder, path: images, size: 8, channels: 1}"))
    assert cli("train", "--preset", "mine.yaml", "--out", "run", "--epochs", 1, "--accelerator", "cpu", "-q").code == 0
    calls = evaluations(monkeypatch)
    options = ["--n-fid", 4, "--steps", 2, "--accelerator", "cpu"]
    for _ in range(2):
        compare("run", *options)
    assert len(calls) == 1
    fill(1)
    compare("run", *options)
    assert len(calls) == 2
    # Where the images are not at hand, what was measured on them is still there.
    shutil.rmtree("images")
    compare("run", *options)
    assert len(calls) == 2


DAMAGES: list[Callable[[Any], Any]] = [
    lambda content: [],
    lambda content: {**content, "scores": {"rmse": "one"}},
    lambda content: {**content, "scores": None},
    lambda content: {**content, "by_prior": {"standard-normal": 3}},
    lambda content: {**content, "settings": {**content["settings"], "epoch": None} | {"n_test": 11}},
    lambda content: {**content, "settings": {key: v for key, v in content["settings"].items() if key != "epoch"}},
    lambda content: {**content, "settings": {**content["settings"], "sampler": "ancestral"}},
    lambda content: {**content, "settings": 7},
]


def test_a_damaged_evaluation_is_made_again(compare, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compare(run, *OPTIONS)
    (file,) = run.glob("compare/*/eval.json")
    whole = json.loads(file.read_text())
    calls = evaluations(monkeypatch)
    for number, damage in enumerate(DAMAGES, 1):
        file.write_text(json.dumps(damage(whole)))
        assert compare(run, *OPTIONS)["runs"][0]["scores"] == before["runs"][0]["scores"]
        assert len(calls) == number


def test_pictures_are_made_with_the_settings_of_the_page(cli, run: Path, workplace: Path) -> None:
    pages = []
    for steps in (2, 4, 2):
        assert cli("compare", run, *FAST, "--steps", steps, "--out", "page.html").code == 0
        pages.append([line for line in Path("page.html").read_text().splitlines() if "of the best checkpoint" in line])
    assert pages[0] == pages[2] != pages[1]


def test_bad_options_cost_no_evaluation(cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run, "short")
    text = Run(Path("short")).preset_file.read_text()
    calls = evaluations(monkeypatch)
    for arguments, expected in [
        (["--steps", 21], "20"),
        (["--n-test", 0], "--n-test"),
        (["--n-fid", 1], "--n-fid"),
        (["--extractor", "vgg"], "extractor 'vgg'"),
        (["--inception-weights", "none.pth"], "none.pth does not exist"),
        (["--inception-weights", Run(run).preset_file, "--extractor", "classifier"], "--extractor classifier"),
        (["--devices", "two"], "--devices"),
    ]:
        result = cli("compare", run, "short", "--accelerator", "cpu", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert not calls
    assert Run(Path("short")).preset_file.read_text() == text


def test_inception_weights_that_come_between_two_runs_count_for_both(
    compare, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `auto` stands for the same extractors in the whole comparison, also where the weights were fetched for the second
    # run.
    from diffcli.evaluation import evaluate, extractors
    from diffcli.evaluation.classifier import load_classifier
    from diffcli.evaluation.judges import JudgedData
    from diffcli.utils.devices import Processes

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    auto = ["--n-test", 10, "--n-fid", 20, "--steps", 4, "--accelerator", "cpu"]
    shutil.copytree(run, "other")
    (before,) = settings_of(compare(run, *auto))
    assert [one["name"] for one in before["extractors"]] == ["classifier", "resnet"]

    def fetch(
        name: str, data: JudgedData, weights: Path | None, processes: Processes, quiet: bool
    ) -> list[extractors.Extractor]:
        cache = extractors.inception_cache()
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_bytes(b"weights")
        features = extractors.of_judge("classifier", load_classifier(data.dataset), processes.device).features
        inception = extractors.Extractor(features, extractors.inception_settings(cache))
        return [inception, *extractors.choose_extractors("classifier", data, None, processes)]

    monkeypatch.setattr(evaluate, "choose_extractors", fetch)
    calls = evaluations(monkeypatch)
    both = compare(run, "other", *auto)
    assert [settings["extractors"][0]["name"] for settings in settings_of(both)] == ["inception", "inception"]
    assert calls == ["other", str(run)]
    assert set(both["best"]["fid_inception"]) == {"tiny (run)", "tiny (other)"}


def test_a_run_that_is_still_training_is_evaluated_once(compare, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffcli.studies import compare_runs as module

    calls = evaluations(monkeypatch)
    real = module.measure

    def measure(*arguments):
        result = real(*arguments)
        content = torch.load(Run(run).best, weights_only=True)
        content["state_dict"] = {key: value + 0.01 for key, value in content["state_dict"].items()}
        torch.save(content, Run(run).best)  # as the training that goes on meanwhile
        return result

    monkeypatch.setattr(module, "measure", measure)
    compare(run, *OPTIONS)
    assert len(calls) == 1
    compare(run, *OPTIONS)
    assert len(calls) == 2
