"""Files of version 0.3.0, see tests/old/README.md: today's version takes each of them wherever one of its own goes."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, TESTS, Cli
from interface import nested_keys

import diffcli
from diffcli.checkpoints.runs import Run, run_preset
from diffcli.config.build import resolve
from diffcli.config.presets import load_preset

ARCHIVE = TESTS / "old" / "0.3.0.tar.xz"
HOT, COLD = "studies/mine/hot", "studies/mine/cold"
SAMPLES: dict[str, list[object]] = {
    "hot": ["--run", HOT],
    "hot-labels": ["--run", HOT, "--label", "0-9", "--guidance", 1.5],
    "hot-epoch": ["--checkpoint", f"{HOT}/checkpoints/epoch-002.ckpt"],
    "hot-ancestral": ["--run", HOT, "--sampler", "ancestral"],
    "hot-dpm-solver": ["--run", HOT, "--sampler", "dpm-solver++", "--steps", 5],
    "hot-heun": ["--run", HOT, "--sampler", "heun", "--steps", 5],
    "hot-file": ["--checkpoint", "hot.safetensors"],
    "compact-file": ["--checkpoint", "compact.safetensors"],
    "cold": ["--run", COLD],
    "cold-gaussian": ["--run", COLD, "--prior", "gaussian"],
    "cold-blurred-data": ["--run", COLD, "--prior", "blurred-data"],
    "cold-uniform": ["--run", COLD, "--prior", "uniform"],
    "cold-file": ["--checkpoint", "cold.safetensors"],
}
"""By the file of the images that 0.3.0 drew, the words with which it did."""
ROUNDINGS = {"hot-ancestral": "0.7.0: `ancestral` computes its mean from the estimate of the image, not of the noise"}
"""Where the algorithm is another one since, the line of the changelog that says so."""
EXTRACTOR = "settings.extractor"
"""Of ``eval.json``; a list since 0.4.0, ``settings.extractors``, which its changelog says."""
HOW = ["--accelerator", "cpu", "-q"]
IS_LIKE_THE_MAKER = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.__version__.startswith("2.14.")
"""Whether sums are added up here in the order of the computer that made the files; in another one their last digits
differ."""


@pytest.fixture
def old(workplace: Path) -> None:
    """The files, in the current folder."""
    with tarfile.open(ARCHIVE) as archive:
        for member in archive.getmembers():
            member.name = member.name.removeprefix("0.3.0").removeprefix("/") or "."
            archive.extract(member, filter="data")


def losses(file: Path | str) -> list[dict[str, float]]:
    with Path(file).open(newline="") as stream:
        return [
            {name: float(row[name]) for name in ("epoch", "step", "train_loss", "val_loss")}
            for row in csv.DictReader(stream)
        ]


def same_losses(file: Path | str) -> bool:
    """Whether a table has the losses of the training that 0.3.0 stopped and resumed."""
    expected = losses("resumed.csv")
    return losses(file) == [pytest.approx(row, rel=0 if IS_LIKE_THE_MAKER else 1e-4) for row in expected]


def checksums(folder: str) -> dict[str, str]:
    files = sorted(Path(folder).glob("checkpoints/*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_images_are_those_that_it_drew(cli: Cli, old: None, name: str) -> None:
    # PyTorch computed them: other engines round differently, which docs/scaling.md says.
    result = cli("sample", *SAMPLES[name], "--n", 16, "--seed", 5, "--out", "now.npz", "--engine", "torch", *HOW)
    assert result.code == 0, result.err
    then, now = np.load(f"drawn/{name}.npz")["images"], np.load("now.npz")["images"]
    assert then.shape == now.shape == (16, 8, 8, 1)
    assert then.dtype == now.dtype == np.uint8
    assert then.std() > 20
    if name in ROUNDINGS or not IS_LIKE_THE_MAKER:
        assert np.abs(then.astype(int) - now).max() <= 1
    else:
        assert np.array_equal(then, now)


def test_the_changelog_says_where_the_algorithm_changed() -> None:
    changes = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", (ROOT / "CHANGELOG.md").read_text(), re.M | re.S))
    for version, line in (reason.split(": ", 1) for reason in ROUNDINGS.values()):
        assert line in changes[version]


def test_a_stopped_training_goes_on_as_it_went_on_then(cli: Cli, old: None) -> None:
    result = cli("train", "--resume", "stopped", *HOW)
    assert (result.code, result.out) == (0, "stopped\n"), result.err
    assert same_losses("stopped/logs/metrics.csv")
    first, second = Run("stopped").info()["sessions"]
    assert (first["diffcli"], second["diffcli"], second["step"]) == ("0.3.0", diffcli.__version__, 26)


def test_a_preset_trains_as_it_trained_then(cli: Cli, old: None) -> None:
    result = cli("train", "--preset", "cold.yaml", "--out", "now", *HOW)
    assert result.code == 0, result.err
    assert same_losses("now/logs/metrics.csv")
    then, now = Run(COLD), Run("now")
    assert set(nested_keys(then.info())) <= set(nested_keys(now.info()))
    assert list(then.history()[0]) == list(now.history()[0])


@pytest.mark.parametrize("name", ["hot", "cold"])
def test_a_run_has_the_preset_of_its_file(old: None, name: str) -> None:
    preset = run_preset(Run(f"studies/mine/{name}"))
    changes = {"sampler.steps": 4} | ({"training.lr": 4e-3} if name == "cold" else {})  # which the study sets
    _, values = load_preset(f"{name}.yaml", changes)
    assert resolve(preset, network=False).preset == resolve(values, network=False).preset


def test_a_finished_run_is_trained_on_and_begun_from(cli: Cli, old: None) -> None:
    longer = cli("train", "--resume", HOT, "--epochs", 5, *HOW)
    assert (longer.code, longer.out) == (0, f"{HOT}\n"), longer.err
    assert [row["epoch"] for row in losses(f"{HOT}/logs/metrics.csv")][-1] == 5
    for name, source in (("compact", "compact.safetensors"), ("cold", COLD)):
        begin = ["--preset", f"{name}.yaml", "--init", source, "--epochs", 1, "--limit-batches", 1]
        result = cli("train", *begin, "--out", f"new/{name}", *HOW)
        assert result.code == 0, result.err
        init = Run(f"new/{name}").info()["init"]
        assert (init["preset"], init["anew"], init["left"]) == (name, [], [])
        assert init["weights"] == len(list(diffcli.load(source).denoiser.network.parameters()))


def test_runs_are_measured_listed_and_exported(cli: Cli, old: None) -> None:
    measure = ["--extractor", "classifier", "--n-test", 10, "--n-fid", 20, "--steps", 3]
    for words in (["--run", HOT], ["--checkpoint", "cold.safetensors", "--out", "cold.json"]):
        result = cli("eval", *words, "--fid", "--rmse", "--class-kept", *measure, *HOW)
        assert result.code == 0, result.err
    (then,) = map(json.loads, [file.read_text() for file in Path(HOT).glob("compare/*/eval.json")])
    keys = set(nested_keys(then)) - set(nested_keys(Run(HOT).evaluations()[0]))
    assert {key for key in keys if not key.startswith(EXTRACTOR)} == set()
    for file in (f"{HOT}/eval.json", "cold.json"):
        assert {"fid_classifier", "fid_resnet", "rmse", "class_kept"} <= set(
            json.loads(Path(file).read_text())["scores"]
        )
    assert cli("compare", HOT, COLD, "--out", "both.html", *measure, *HOW).code == 0
    assert cli("export", HOT, "--out", "again.safetensors", "-q").code == 0
    then, now = diffcli.load("hot.safetensors"), diffcli.load("again.safetensors")
    assert all(torch.equal(value, now.denoiser.state_dict()[key]) for key, value in then.denoiser.state_dict().items())


def test_a_study_takes_its_runs_and_measures_them_anew(cli: Cli, old: None) -> None:
    before = checksums(HOT) | checksums(COLD)
    result = cli("study", "mine.yaml", "--extractor", "classifier", *HOW)
    assert result.code == 0, result.err
    assert checksums(HOT) | checksums(COLD) == before
    assert Path("studies/mine/mine.html").is_file()
    page = json.loads(Path("studies/mine/mine.json").read_text())
    assert [run["label"] for run in page["runs"]] == ["hot", "cold"]
    (claim,) = page["claims"]
    assert claim["verdict"] in ("confirmed", "not confirmed", "not settled", "the judges disagree")
