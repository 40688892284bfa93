"""What evaluations keep of real images: used again, never where it is damaged or of something else, by several at
once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffcli.utils import cache as cache_module
from diffcli.utils.cache import Cache, cache_folder

KEY = {"features": {"name": "classifier"}, "images": "abc"}
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
    tensor = cache.load(KEY)
    assert tensor is not None
    assert torch.equal(tensor, VALUES)
    assert cache.load(KEY | {"images": "abd"}) is None
    assert cache.load(KEY | {"more": 1}) is None


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def flip_byte(file: Path) -> None:
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


def write_pickle(file: Path) -> None:
    torch.save(VALUES, file)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [truncate, flip_byte, of_another_key, without_metadata, of_other_names, write_pickle, empty]
)
def test_a_damaged_or_foreign_file_is_not_used_and_replaced(cache: Cache, damage: Callable[[Path], None]) -> None:
    damage(file_of(cache))
    assert cache.load(KEY) is None
    cache.save(KEY, VALUES)
    tensor = cache.load(KEY)
    assert tensor is not None
    assert torch.equal(tensor, VALUES)


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


def test_features_are_kept_as_they_are(cache: Cache) -> None:
    for tensor in (torch.arange(5), torch.tensor([float("inf"), 1e-30]), torch.zeros(0, 3)):
        cache.save({"tensor": 1}, tensor)
        copy: Tensor | None = cache.load({"tensor": 1})
        assert copy is not None
        assert copy.dtype == tensor.dtype
        assert torch.equal(copy, tensor)
