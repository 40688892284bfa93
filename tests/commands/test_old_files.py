"""Files of 0.3.0 and 1.0.0, see tests/old/README.md: today's version takes them wherever one of its own goes."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shlex
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, TESTS, Cli
from interface import nested_keys

import diffcli
from diffcli.checkpoints.model_file import read_checkpoint
from diffcli.checkpoints.runs import Run, run_preset
from diffcli.config.build import resolve
from diffcli.config.presets import load_preset
from diffcli.diffusion.posterior import POSTERIORS, moments

OLD = TESTS / "old"
HOT, COLD = "studies/mine/hot", "studies/mine/cold"
COMMANDS: dict[str, dict[str, str]] = json.loads((OLD / "commands.json").read_text())
"""By the version that brought them, and by the file of the images that a version drew, the commands that drew it."""
CAPABILITIES = {"0.3.0": "AVX512", "1.0.0": "AVX2"}
"""By version, what PyTorch made of the processor that its files were made on."""
DRAWINGS = [("0.3.0", name) for name in COMMANDS["0.3.0"]]
DRAWINGS += [("1.0.0", name) for commands in COMMANDS.values() for name in commands]
"""The version and the name of each file of images."""
ROUNDINGS = {
    ("0.3.0", "hot-ancestral"): "0.7.0: `ancestral` computes its mean from the estimate of the image, not of the noise"
}
"""Where the algorithm is another one since, the line of the changelog that says so."""
ONE_GRADIENT = {("1.0.0", "hot-measured"): "1.1.0: Restorations by `moments`, the default, take a second gradient"}
"""Images that are the same with the single gradient that each step had then, and the line of the changelog."""
EXTRACTOR = "settings.extractor"
"""Of ``eval.json``; a list since 0.4.0, ``settings.extractors``, which its changelog says."""
HOW = ["--accelerator", "cpu", "-q"]
of_1_0_0 = pytest.mark.parametrize("version", ["1.0.0"], indirect=True)


def like_the_maker(version: str) -> bool:
    """Whether sums are added up here in the order of the computer that made a version's files; in another one their
    last digits differ."""
    return torch.backends.cpu.get_cpu_capability() == CAPABILITIES[version] and torch.__version__.startswith("2.14.")


@pytest.fixture(params=CAPABILITIES)
def version(request: pytest.FixtureRequest, workplace: Path) -> str:
    """A version whose files lie in the current folder."""
    with tarfile.open(OLD / f"{request.param}.tar.xz") as archive:
        for member in archive.getmembers():
            member.name = member.name.removeprefix(request.param).removeprefix("/") or "."
            archive.extract(member, filter="data")
    return str(request.param)


def losses(file: Path | str) -> list[dict[str, float]]:
    with Path(file).open(newline="") as stream:
        return [
            {name: float(row[name]) for name in ("epoch", "step", "train_loss", "val_loss") if row[name]}
            for row in csv.DictReader(stream)
        ]


def same_losses(run: str, version: str, table: str = "resumed.csv") -> bool:
    """Whether a run has the losses of the training that a version stopped and resumed."""
    expected, tolerance = losses(table), 0 if like_the_maker(version) else 1e-4
    return losses(Run(run).metrics_file) == [pytest.approx(row, rel=tolerance) for row in expected]


def checksums(folder: str) -> dict[str, str]:
    files = sorted(Path(folder).glob("checkpoints/*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize(("version", "name"), DRAWINGS, indirect=["version"])
def test_the_images_are_those_that_it_drew(cli: Cli, version: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (version, name) in ONE_GRADIENT:
        monkeypatch.setitem(POSTERIORS, "moments", lambda *parts, iterations: moments(*parts, iterations=1))
    (command,) = (commands[name] for commands in COMMANDS.values() if name in commands)
    # PyTorch computed them: other engines round differently, which docs/scaling.md says.
    result = cli(*shlex.split(command), "--seed", 5, "--out", "now.npz", "--engine", "torch", *HOW)
    assert result.code == 0, result.err
    before, after = np.load(f"drawn/{name}.npz"), np.load("now.npz")
    assert set(before) <= set(after)
    then, now = before["images"], after["images"]
    assert then.shape == now.shape
    assert then.shape[:3] == (16, 8, 8)
    assert then.dtype == now.dtype == np.uint8
    assert then.std() > 20
    if (version, name) in ROUNDINGS or not like_the_maker(version):
        assert np.abs(then.astype(int) - now).max() <= 1
    else:
        assert np.array_equal(then, now)


def test_the_changelog_says_where_the_algorithm_changed() -> None:
    changes = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", (ROOT / "CHANGELOG.md").read_text(), re.M | re.S))
    for release, line in (reason.split(": ", 1) for reason in [*ROUNDINGS.values(), *ONE_GRADIENT.values()]):
        assert line in changes[release]


def test_a_stopped_training_goes_on_as_it_went_on_then(cli: Cli, version: str) -> None:
    result = cli("train", "--resume", "stopped", *HOW)
    assert (result.code, result.out) == (0, "stopped\n"), result.err
    assert same_losses("stopped", version)
    first, second = Run("stopped").info()["sessions"]
    assert (first["diffcli"], second["diffcli"], second["step"]) == (version, diffcli.__version__, 26)


def test_a_preset_trains_as_it_trained_then(cli: Cli, version: str) -> None:
    result = cli("train", "--preset", "cold.yaml", "--out", "now", *HOW)
    assert result.code == 0, result.err
    assert same_losses("now", version)
    then, now = Run(COLD), Run("now")
    assert set(nested_keys(then.info())) <= set(nested_keys(now.info()))
    assert list(then.history()[0]) == list(now.history()[0])


@pytest.mark.parametrize("name", ["hot", "cold"])
def test_a_run_of_a_study_has_the_preset_of_its_file(version: str, name: str) -> None:
    preset = run_preset(Run(f"studies/mine/{name}"))
    changes = {"sampler.steps": 4} | ({"training.lr": 4e-3} if name == "cold" else {})  # which the study sets
    _, values = load_preset(f"{name}.yaml", changes)
    assert resolve(preset, network=False).preset == resolve(values, network=False).preset


def test_a_finished_run_is_trained_on_and_begun_from(cli: Cli, version: str) -> None:
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


def test_runs_are_measured_listed_and_exported(cli: Cli, version: str) -> None:
    metrics = ["--fid", "--swd", "--rmse", "--ssim", "--loss", "--class-kept"]
    measure = ["--extractor", "classifier", "--n-test", 10, "--n-fid", 20, "--steps", 3]
    evaluations = [json.loads(file.read_text()) for file in Path(HOT).glob("**/eval.json")]
    for words in (["--run", HOT], ["--checkpoint", "cold.safetensors", "--out", "cold.json"]):
        result = cli("eval", *words, *metrics, *measure, *HOW)
        assert result.code == 0, result.err
    keys = set(nested_keys(evaluations)) - set(nested_keys(Run(HOT).evaluations()[0]))
    assert {key for key in keys if not key.startswith(EXTRACTOR)} == set()
    for file in (f"{HOT}/eval.json", "cold.json"):
        assert {"fid_classifier", "fid_resnet", "rmse", "class_kept"} <= set(
            json.loads(Path(file).read_text())["scores"]
        )
    assert cli("compare", HOT, COLD, "--out", "both.html", *measure, *HOW).code == 0
    assert cli("export", HOT, "--out", "again.safetensors", "-q").code == 0
    then, now = diffcli.load("hot.safetensors"), diffcli.load("again.safetensors")
    assert all(torch.equal(value, now.denoiser.state_dict()[key]) for key, value in then.denoiser.state_dict().items())


def test_a_study_takes_its_runs_and_measures_them(cli: Cli, version: str) -> None:
    before = checksums(HOT) | checksums(COLD)
    result = cli("study", "mine.yaml", "--extractor", "classifier", *HOW)
    assert result.code == 0, result.err
    assert checksums(HOT) | checksums(COLD) == before
    assert Path("studies/mine/mine.html").is_file()
    page = json.loads(Path("studies/mine/mine.json").read_text())
    assert [run["label"] for run in page["runs"]] == ["hot", "cold"]
    (claim,) = page["claims"]
    assert claim["verdict"] in ("confirmed", "not confirmed", "not settled", "the judges disagree")


@of_1_0_0
def test_a_student_goes_on_as_it_went_on_then(cli: Cli, version: str) -> None:
    result = cli("train", "--resume", "student", "--epochs", 2, *HOW)
    assert result.code == 0, result.err
    assert same_losses("student", version, "student.csv")


@of_1_0_0
@pytest.mark.parametrize("name", ["noisy", "own"])
def test_a_run_of_what_came_later_is_trained_on(cli: Cli, version: str, name: str) -> None:
    before = read_checkpoint(Run(name).last)
    assert run_preset(Run(name)).measurement_noise == (0.02 if name == "noisy" else None)
    result = cli("train", "--resume", name, "--epochs", 11, *HOW)
    assert result.code == 0, result.err
    assert losses(Run(name).metrics_file)[-1]["epoch"] == 11
    if name == "own":
        assert torch.equal(before["clusters"], read_checkpoint(Run(name).last)["clusters"])


@of_1_0_0
def test_what_it_measured_is_read(version: str) -> None:
    of_eval, of_study = Run(HOT).evaluations()
    names = {"fid_classifier", "fid_resnet", "rmse", "class_kept"}
    assert names <= set(of_study["scores"])
    assert names | {"swd", "ssim", "loss"} <= set(of_eval["scores"])
