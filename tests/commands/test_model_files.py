"""Model files: what they hold, that they do what their run does, and which are refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SLOW, Cli
from fuzzing import check_refused, damage
from safetensors import safe_open
from safetensors.torch import load_file, save

import diffcli
from diffcli.checkpoints.model_file import (
    _with_checksum,
    fingerprint,
    halve_weights,
    read_metadata,
    read_stored,
    write_model_file,
)
from diffcli.checkpoints.runs import Run
from diffcli.inference.loading import read_model
from diffcli.utils.cache import Cache

CPU = diffcli.Devices("cpu", "1")
PACKAGE = Path(diffcli.__file__).parent
QUICK: dict[str, Any] = {"n_test": 5, "n_fid": 5, "steps": 2, "extractor": "classifier", "devices": CPU, "quiet": True}


@pytest.mark.parametrize("kind", ["hot_run", "guided_run", "blur_run"])
def test_a_model_file_draws_what_its_run_draws(
    cli: Cli, workplace: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(kind)
    result = cli("export", run, "--out", "model.safetensors")
    assert (result.code, result.out, result.err) == (0, "model.safetensors\n", "")
    place = shutil.move("model.safetensors", workplace / "elsewhere.safetensors")
    ours, theirs = (diffcli.load(name, devices=CPU) for name in (place, run))
    assert ours.run is None
    assert (ours.preset, ours.epoch, ours.class_shares) == (theirs.preset, theirs.epoch, theirs.class_shares)
    assert torch.equal(ours.sample(5, quiet=True), theirs.sample(5, quiet=True))
    label = {"label": "0-2"} if ours.classes else {}
    for prior in ours.prior_states:
        assert torch.equal(*(model.sample(5, prior=prior, **label, quiet=True) for model in (ours, theirs)))
    sample = ["sample", "--n", 5, "--out", "images.npz", "--accelerator", "cpu", "--checkpoint", place]
    assert cli(*sample).code == 0
    assert np.array_equal(np.load("images.npz")["images"], ours.sample(5, quiet=True).permute(0, 2, 3, 1).numpy())


def test_its_metadata_tell_of_the_training_and_hold_the_scores_of_these_weights(
    workplace: Path, guided_run: Path
) -> None:
    run = Run(Path(shutil.copytree(guided_run, "run")))
    evaluation = diffcli.evaluate(run, ["rmse", "fid"], **QUICK)
    diffcli.export(run, Path("model.safetensors"))
    about = read_metadata(Path("model.safetensors"))
    assert about["preset_name"] == "tiny"
    assert about["training"]["steps"] == 18
    assert about["training"]["seconds"] > 0
    assert about["training"]["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert about["evaluation"]["scores"] == evaluation.scores
    assert about["evaluation"]["settings"]["checkpoint_sha256"] == about["weights_sha256"]
    assert str(workplace) not in json.dumps(about), "no folder of the machine"
    again = diffcli.evaluate(Path("model.safetensors"), ["rmse", "fid"], **QUICK)
    assert again.scores == evaluation.scores
    assert again.settings["checkpoint_sha256"] == about["weights_sha256"]
    assert again.file is None


def test_scores_of_other_weights_are_left_out(cli: Cli, workplace: Path, guided_run: Path) -> None:
    run = Run(Path(shutil.copytree(guided_run, "run")))
    diffcli.evaluate(run, ["rmse"], **QUICK)
    for words in (["run", "--half"], ["--checkpoint", run.last]):
        if words[0] == "--checkpoint":
            run.last.write_bytes(run.last.read_bytes() + b"\0")  # of another epoch, say
        result = cli("export", *words, "--out", "model.safetensors")
        assert result.code == 0, result.err
        assert "note: left out the scores" in result.err
        assert read_metadata(Path("model.safetensors"))["evaluation"] == {}


def test_half_precision_takes_half_the_space_and_is_rounded_once(cli: Cli, workplace: Path, guided_run: Path) -> None:
    diffcli.export(guided_run, Path("full.safetensors"))
    diffcli.export(guided_run, Path("half.safetensors"), half=True)
    full, half = (load_file(f"{name}.safetensors") for name in ("full", "half"))
    assert full.keys() == half.keys()
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert all(torch.equal(full[name].half(), half[name]) for name in full)
    content = read_stored(Path("half.safetensors"))
    copy = replace(content, evaluation=diffcli.evaluate(Path("half.safetensors"), ["rmse"], **QUICK).as_dict())
    write_model_file(Path("scored.safetensors"), copy)
    diffcli.export(Path("scored.safetensors"), Path("again.safetensors"), half=True)
    assert read_metadata(Path("again.safetensors"))["evaluation"]["scores"] == copy.evaluation["scores"]
    assert fingerprint(Path("again.safetensors")) == fingerprint(Path("half.safetensors"))


def test_weights_beyond_float16_are_not_rounded() -> None:
    with pytest.raises(diffcli.UserError, match=r"`half`: b has values above 65504"):
        halve_weights({"a": torch.ones(2), "b": torch.tensor([1e5])})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out", "model.pkl"], "--out model.pkl: unknown extension '.pkl'; use .safetensors"),
        (["nowhere", "--out", "m.safetensors"], "unknown run 'nowhere'; known: blur-fast"),
        (["--checkpoint", "gone.safetensors"], "model file gone.safetensors does not exist; 'diffcli models' lists"),
        (["x", "--checkpoint", "y.ckpt"], "--run and --checkpoint name two models"),
    ],
)
def test_wrong_input_is_named(cli: Cli, workplace: Path, words: list[str], expected: str) -> None:
    before = sorted(workplace.rglob("*"))
    result = cli("export", *words)
    check_refused(result, workplace, before)
    assert (result.code, expected in result.err) == (2, True), result.err


@pytest.fixture(scope="module")
def intact(blur_run: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("intact") / "model.safetensors"
    diffcli.export(blur_run, file)
    return file.read_bytes()


def test_damaged_model_files(cli: Cli, workplace: Path, intact: bytes) -> None:
    file = Path("damaged.safetensors")
    command = ["sample", "--checkpoint", file, "--n", 1, "--steps", 1, "--out", "out.npz", "-q"]
    for seed in range(130 if SLOW else 15):
        file.write_bytes(damage(intact, seed))
        before = sorted(workplace.rglob("*"))
        result = cli(*command)
        check_refused(result, workplace, before)
        assert result.code == 2, "every bit counts: the file has checksums"


def _rewrite(intact: bytes, change: Callable[[dict[str, Any]], object], place: Path) -> bytes:
    """A sound file with a wrong content, its checksums right."""
    place.write_bytes(intact)
    with safe_open(place, framework="pt") as content:
        tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        about = json.loads(content.metadata()["diffcli"])
    del about["sha256"]
    change(about)
    return save(tensors, {"diffcli": _with_checksum(about)})


REWRITES: list[Callable[[dict[str, Any]], object]] = [
    lambda about: about.update(format=2),
    lambda about: about.update(format="new"),
    lambda about: about.pop("preset"),
    lambda about: about.update(preset={}),
    lambda about: about.update(preset=[about["preset"]] * 3),
    lambda about: about.update(plugins=3),
    lambda about: about.update(plugins={"degradation swirl": "mine"}),
    lambda about: about.update(class_shares=["many"]),
    lambda about: about.update(epoch=None),
    lambda about: about.update(evaluation=3),
    lambda about: about["preset"].update(network={"name": "compact-unet", "width": 16}),
    lambda about: about["preset"].update(network={"name": "cnn", "channels": [10**6, 10**6]}),
    lambda about: about["preset"].update(prior={"name": "mixtures"}),
]


@pytest.mark.parametrize("change", REWRITES)
def test_stuffed_model_files(
    cli: Cli, workplace: Path, intact: bytes, change: Callable[[dict[str, Any]], object]
) -> None:
    file = Path("stuffed.safetensors")
    file.write_bytes(_rewrite(intact, change, file))
    before = sorted(workplace.rglob("*"))
    result = cli("sample", "--checkpoint", file, "--n", 1, "--steps", 1, "--out", "out.npz", "-q")
    check_refused(result, workplace, before)
    assert result.code == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (save({"weights/a": torch.ones(2)}), "was not written by diffcli: it holds no preset"),
        (save({"a": torch.ones(2)}, {"diffcli": "{}"}), "is damaged: what it says of itself has changed"),
        (
            save({"a": torch.ones(2)}, {"diffcli": "[" * 100_000,
                "sha256": hashlib.sha256(b"[" * 100_000).hexdigest()}),
            "was not written by diffcli: its metadata cannot be read",
        ),
        (save({"a": torch.ones(2)}, {"diffcli": "[" * 100_000}), "is damaged: what it says of itself has changed"),
        (save({"a": torch.ones(2)}, {"diffcli": '{"sha256": "0"}'}), "is damaged: what it says of itself has changed"),
        (b"", "is damaged or not a model file"),
        (b"PK\3\4 a zip", "is damaged or not a model file"),
    ],
)  # fmt: skip
def test_files_of_other_programs(workplace: Path, content: bytes, expected: str) -> None:
    Path("other.safetensors").write_bytes(content)
    with pytest.raises(diffcli.UserError, match=expected):
        read_model(Path("other.safetensors"))


def test_an_exported_model_can_be_read_by_whom_the_umask_allows(workplace: Path, hot_run: Path) -> None:
    """save_file of safetensors 0.8 writes private files (findings/safetensors-private-files.sh)."""
    before = os.umask(0o027)
    try:
        diffcli.export(hot_run, workplace / "shared.safetensors")
    finally:
        os.umask(before)
    assert (workplace / "shared.safetensors").stat().st_mode & 0o777 == 0o640


EXPORT_TWICE = """
import sys, diffcli
for out in sys.argv[2:]:
    diffcli.export(sys.argv[1], out, quiet=True)
"""


def export_files(run: Path, place: Path, seed: int, *names: str) -> list[bytes]:
    """The bytes that a process of its own exports a run into, with a seed for Python's hashes."""
    place.mkdir()
    process = subprocess.run(
        [sys.executable, "-c", EXPORT_TWICE, run, *names],
        cwd=place,
        env=os.environ | {"PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return [file.read_bytes() for file in sorted(place.iterdir())]


def test_an_export_is_the_same_bytes_again(workplace: Path, blur_run: Path) -> None:
    names = [f"{number}.safetensors" for number in range(4)]  # two entries would be in the same order in one of sixteen
    first, second = (export_files(blur_run, workplace / str(seed), seed, *names) for seed in (1, 2))
    assert len({*first, *second}) == 1
    assert len(first) == len(second) == 4


def test_every_file_of_ours_has_one_entry_of_metadata(workplace: Path, blur_run: Path) -> None:
    diffcli.export(blur_run, Path("model.safetensors"))
    Cache(workplace).save({"a": 1}, torch.ones(3))
    files = [Path("model.safetensors"), *(workplace / "evaluation").iterdir()]
    assert len(files) == 2
    for file in files:
        with safe_open(file, framework="pt") as content:
            assert set(content.metadata()) == {"diffcli"}
    # Others of the library's functions write more entries, or none.
    writers = [
        file for file in PACKAGE.rglob("*.py") if re.search(r"from safetensors\S* import .*\bsave", file.read_text())
    ]
    assert writers == [PACKAGE / "utils" / "files.py"]


def test_model_files_of_version_0_3_are_read(workplace: Path, intact: bytes) -> None:
    Path("new.safetensors").write_bytes(intact)
    with safe_open("new.safetensors", framework="pt") as content:
        tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    text = json.dumps(read_metadata(Path("new.safetensors")))
    older = save(tensors, {"diffcli": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    Path("older.safetensors").write_bytes(older)
    new, old = read_stored(Path("new.safetensors")), read_stored(Path("older.safetensors"))
    assert (new.preset, new.preset_name, new.epoch) == (old.preset, old.preset_name, old.epoch)
    assert all(torch.equal(new.weights[name], old.weights[name]) for name in new.weights)
    Path("changed.safetensors").write_bytes(older.replace(b"tiny", b"Tiny", 1))
    assert Path("changed.safetensors").read_bytes() != older
    with pytest.raises(diffcli.UserError, match="what it says of itself has changed"):
        read_stored(Path("changed.safetensors"))
