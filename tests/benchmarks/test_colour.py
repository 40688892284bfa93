"""The table of recipes for colour: what a cell measures, and how cells become rows."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import diffcli
from benchmarks import colour
from benchmarks.cells import read_cells
from diffcli.data.sources import ImageSet, Source


def scores(distance: float) -> dict[str, float]:
    parts: dict[str, float] = {"nearest": 0.2, "nearest_test": 0.19}
    for name in ("fid_classifier", "fid_resnet", "swd"):
        parts |= {name: distance, f"{name}_floor": 0.5, f"{name}_error": 0.1}
    return parts | {"coverage_classifier": 0.9, "coverage_resnet": 0.8, "label_kept": 0.7, "label_kept_test": 0.64}


def cell(distance: float) -> dict[str, object]:
    return {"steps": 10, "training seconds": 9, "gigabytes": 1.0, "scores": scores(distance)}


def key(recipe: str, seed: int, size: int = 32) -> str:
    return colour.key_of(Path("somewhere/emoji"), size, 60, recipe, seed)


def test_recipes_stand_by_distance_with_their_spread_over_seeds_or_their_error() -> None:
    content = {key("worse", 0): cell(4.0), key("better", 0): cell(1.0), key("better", 1): cell(2.0)}
    title, _, first, second, real = colour.tables(content).splitlines()
    assert title.startswith("| emoji, 32x32, 60 s of one core | seeds |")
    assert first.startswith("| better | 2 | 10 | 1.00 | 3 ± 1 | 3 ± 1 | 3 ± 1 | 0.7 | 0.9, 0.8 |")
    assert second.startswith("| worse | 1 | 10 | 1.00 | 8 ± 0.2 |")
    assert "0.64" in real
    assert "0.19" in real


def test_each_size_has_a_table() -> None:
    text = colour.tables({key("one", 0): cell(1.0), key("one", 0, 64): cell(1.0)})
    assert [line[:14] for line in text.splitlines() if "seeds" in line] == ["| emoji, 32x32", "| emoji, 64x64"]


def images(labels: list[int]) -> ImageSet:
    return ImageSet(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), torch.tensor(labels))


class Labelled:
    """A model whose samples show their labels."""

    classes, clusters = ("a", "b"), None

    def sample(self, n: int, *, seed: int, label: int | None = None, quiet: bool) -> Tensor:
        return torch.full((n, 1, 2, 2), 9 if label is None else label, dtype=torch.uint8)


def test_samples_have_the_labels_of_the_test_images() -> None:
    source = Source(images([0, 1]), images([1, 0, 1]), ("a", "b"))
    samples, labels = colour.samples_of(Labelled(), source)
    assert samples[:, 0, 0, 0].tolist() == [1, 0, 1]
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]
    model = SimpleNamespace(classes=("0", "1"), clusters=torch.zeros(2, 4), sample=Labelled().sample)
    samples, labels = colour.samples_of(model, source)
    assert samples[:, 0, 0, 0].tolist() == [9, 9, 9]
    assert labels is None


def test_scores_are_those_of_the_draws_on_average_and_a_whole_training_serves_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "colour-32-60s-0"
    out.mkdir()
    (out / "facts.json").write_text(json.dumps({"steps": 10, "training seconds": 60, "gigabytes": 1.0}))
    seeds: list[int] = []

    def sample(n: int, *, seed: int, label: int, quiet: bool) -> Tensor:
        seeds.append(seed)
        return torch.full((n, 1, 2, 2), seed // 1000, dtype=torch.uint8)

    model = SimpleNamespace(classes=("a", "b"), clusters=None, epoch=3, sample=sample)
    monkeypatch.setattr(diffcli, "load", lambda *_, **__: model)
    judge = SimpleNamespace(of=lambda samples, labels: {"fid_classifier": float(samples.float().mean())})
    monkeypatch.setattr(colour, "distances_of", lambda *_: judge)
    options = argparse.Namespace(out=tmp_path, size=32, seconds=60.0, draws=3)
    facts = colour.ours(options, "colour", 0, Source(images([0, 1]), images([1, 0, 1]), ("a", "b")))
    assert facts["scores"] == {"fid_classifier": 1.0}
    assert (facts["steps"], facts["draws"], facts["epoch"]) == (10, 3, 3)
    assert sorted(set(seeds)) == [1, 2, 1001, 1002, 2001, 2002]


def test_a_cell_that_is_there_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: calls.append(words))
    store, other = tmp_path / "store.json", tmp_path / "other.json"
    other.write_text(json.dumps({key("colour", 0): cell(1.0)}))
    colour.main(["--merge", str(other), "--store", str(store)])
    words = ["--images", "somewhere/emoji", "--seconds", "60", "--seeds", "0", "1", "--store", str(store)]
    colour.main([*words, "--measure", "colour", "mirrored"])
    cells = [(call[call.index("--cell") + 1], call[call.index("--seeds") + 1]) for call in calls]
    assert cells == [("mirrored", "0"), ("colour", "1"), ("mirrored", "1")]


def test_every_recipe_of_ours_is_a_preset_that_can_be_trained(tmp_path: Path) -> None:
    from diffcli.config.build import resolve
    from diffcli.config.presets import load_preset

    for name in colour.OURS:
        base, settings = colour.preset_of(name, tmp_path / "pictures", 32, 60.0, 0, tmp_path)
        _, preset = load_preset(base, settings)
        assert preset.training.max_time == "60s", name
        assert preset.data.parameters["size"] == 32
        assert resolve(preset)


def test_the_page_has_the_tables_of_what_was_measured() -> None:
    assert colour.tables(read_cells(colour.STORE)) in colour.PAGE.read_text(encoding="utf-8")
