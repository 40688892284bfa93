"""What evaluations keep of real images: used again, never where it is damaged or of something else, by several at once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffcli.checkpoints.evaluations import Evaluation
from diffcli.evaluation import cache as cache_module
from diffcli.evaluation import distances, extractors
from diffcli.evaluation.cache import Cache, cache_folder
from diffcli.evaluation.classifier import DigitClassifier
from diffcli.evaluation.evaluate import evaluate
from diffcli.utils.devices import Devices

KEY = {"features": {"name": "classifier"}, "images": "abc"}
TEST_IMAGES, TRAINING_IMAGES = 359, 5 * 40
"""Of the digits; and those of the floor, five for each of 40 samples."""
VALUES = torch.linspace(-1, 1, 12).view(4, 3)


@pytest.fixture
def cache(workplace: Path) -> Cache:
    cache = Cache(workplace)
    cache.save(KEY, VALUES)
    return cache


def file_of(cache: Cache) -> Path:
    (file,) = cache.folder.iterdir()
    return file


def test_a_tensor_comes_back_for_its_key_alone(cache: Cache) -> None:
    loaded = cache.load(KEY)
    assert loaded is not None
    assert torch.equal(loaded, VALUES)
    assert cache.load(KEY | {"images": "abd"}) is None
    assert cache.load(KEY | {"more": 1}) is None


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def of_another_key(file: Path) -> None:
    with safe_open(file, framework="pt") as content:
        about = json.loads(content.metadata()["diffcli"])
    save_file({"values": VALUES}, file, {"diffcli": json.dumps(about | {"key": "{}"})})


def without_metadata(file: Path) -> None:
    save_file({"values": VALUES}, file)


def of_other_names(file: Path) -> None:
    with safe_open(file, framework="pt") as content:
        metadata = content.metadata()
    save_file({"weights": VALUES}, file, metadata)


def pickled(file: Path) -> None:
    torch.save(VALUES, file)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [truncated, flipped, of_another_key, without_metadata, of_other_names, pickled, empty]
)
def test_a_damaged_or_foreign_file_is_not_used_and_replaced(cache: Cache, damage: Callable[[Path], None]) -> None:
    damage(file_of(cache))
    assert cache.load(KEY) is None
    cache.save(KEY, VALUES)
    loaded = cache.load(KEY)
    assert loaded is not None
    assert torch.equal(loaded, VALUES)


def test_a_folder_that_cannot_be_used_is_as_an_empty_one(workplace: Path) -> None:
    (workplace / "evaluation").write_text("a file")
    cache = Cache(workplace)
    cache.save(KEY, VALUES)
    assert cache.load(KEY) is None
    assert (workplace / "evaluation").read_text() == "a file"


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    monkeypatch.setenv("DIFFCLI_CACHE", "~/mine")
    monkeypatch.setenv("HOME", str(workplace))
    assert cache_folder() == workplace / "mine"
    monkeypatch.delenv("DIFFCLI_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == workplace / ".cache" / "diffcli"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    assert cache_folder() == workplace / ".cache" / "diffcli"
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "caches"))
    assert cache_folder() == workplace / "caches" / "diffcli"


def test_what_was_used_least_recently_goes_first(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(workplace)
    for number in range(3):
        cache.save({"number": number}, VALUES)
        size = max(file.stat().st_size for file in cache.folder.iterdir())
        for file in cache.folder.iterdir():
            os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 100))
    assert cache.load({"number": 0}) is not None
    monkeypatch.setattr(cache_module, "LIMIT", 3 * size)
    cache.save({"number": 3}, VALUES)
    assert [cache.load({"number": number}) is not None for number in range(4)] == [True, False, True, True]


def save_and_load(folder: Path) -> bool:
    cache = Cache(folder)
    sound = True
    for _ in range(20):
        cache.save(KEY, VALUES)
        loaded = cache.load(KEY)
        sound &= loaded is not None and torch.equal(loaded, VALUES)
    return sound


def test_two_processes_at_once_read_whole_files(workplace: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(save_and_load, [workplace] * 2)) == [True, True]
    assert len(list((workplace / "evaluation").iterdir())) == 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many images were shown to the extractor and to the classifier, and searched for among the training images."""
    counts = dict.fromkeys(("features", "read", "nearest"), 0)

    def counting(name: str, function: Callable[..., Any], which: int) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            counts[name] += len(arguments[which])
            return function(*arguments)

        return call

    monkeypatch.setattr(DigitClassifier, "features", counting("features", DigitClassifier.features, 1))
    monkeypatch.setattr(distances, "probabilities", counting("read", distances.probabilities, 1))
    monkeypatch.setattr(distances, "nearest", counting("nearest", distances.nearest, 0))
    return counts


def scored(run: Path, **changes: Any) -> Evaluation:
    options: dict[str, Any] = {
        "metrics": ("fid", "kid", "nearest"),
        "n_fid": 40,
        "steps": 2,
        "extractor": "classifier",
        "devices": Devices("cpu", "1"),
        "quiet": True,
    }
    return evaluate(run=run, **options | changes)


def test_a_second_evaluation_pays_for_its_own_samples_only(
    trained: Path, workplace: Path, counted: dict[str, int]
) -> None:
    run = Path(shutil.copytree(trained, workplace / "run"))
    first = scored(run)
    assert counted["features"] == 40 + TEST_IMAGES + TRAINING_IMAGES
    assert counted["nearest"] == 40 + TEST_IMAGES
    counted.update(features=0, nearest=0)
    assert scored(run).scores == first.scores
    assert (counted["features"], counted["nearest"]) == (40, 40)
    counted.update(features=0, nearest=0)
    scored(run, seed=1)  # training images in another order, as many as there are
    assert (counted["features"], counted["nearest"]) == (40 + TRAINING_IMAGES, 40)


def test_other_weights_of_an_extractor_have_features_of_their_own(
    trained: Path, workplace: Path, counted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, workplace / "run"))
    scored(run, metrics=("fid",))
    counted["features"] = 0
    settings = extractors.classifier_settings
    monkeypatch.setattr(extractors, "classifier_settings", lambda *of: settings(*of) | {"weights_sha256": "other"})
    scored(run, metrics=("fid",))
    assert counted["features"] == 40 + TEST_IMAGES + TRAINING_IMAGES


def test_a_metric_is_the_same_from_a_damaged_cache(trained: Path, workplace: Path) -> None:
    run = Path(shutil.copytree(trained, workplace / "run"))
    first = scored(run)
    files = list((cache_folder() / "evaluation").iterdir())
    assert len(files) == 5  # the features of two sets by two judges, and what is nearest
    for file in files:
        flipped(file)
    assert scored(run).scores == first.scores


def test_features_are_kept_as_they_are(cache: Cache) -> None:
    for tensor in (torch.arange(5), torch.tensor([float("inf"), 1e-30]), torch.zeros(0, 3)):
        cache.save({"tensor": 1}, tensor)
        loaded: Tensor | None = cache.load({"tensor": 1})
        assert loaded is not None
        assert loaded.dtype == tensor.dtype
        assert torch.equal(loaded, tensor)
