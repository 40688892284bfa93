"""No label: which models know how to do without one, and what is refused of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY
from PIL import Image

import diffcli

CPU = diffcli.Devices("cpu", "1")
FOLDER = TINY.replace("{name: digits}", "{name: folder, path: images, size: 8, channels: 1}")


def trained_on(place: Path, preset: str) -> diffcli.Model:
    """A tiny model, trained in a folder for an epoch."""
    (place / "tiny.yaml").write_text(preset.replace("epochs: 2", "epochs: 1"))
    return diffcli.load(diffcli.train(place / "tiny.yaml", out=place / "run", devices=CPU, quiet=True), devices=CPU)


def make_images(place: Path, count: int, first: int = 0) -> None:
    """Grey 8x8 PNG files of levels that differ."""
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (8, 8), first + number).save(place / f"{first + number}.png")


@pytest.fixture(scope="module")
def told_always(tmp_path_factory: pytest.TempPathFactory) -> diffcli.Model:
    """A tiny model that saw no image without its label."""
    return trained_on(tmp_path_factory.mktemp("told-always"), TINY + "labels: {dropped: 0}\n")


def test_a_model_works_without_a_label_where_its_training_had_images_without_one(
    told_always: diffcli.Model, trained: Path, guided: Path, workplace: Path
) -> None:
    assert not told_always.works_without_label
    assert diffcli.load(trained, devices=CPU).works_without_label
    assert diffcli.load(guided, devices=CPU).works_without_label
    make_images(workplace / "images" / "a", 20)
    make_images(workplace / "images" / "b", 20, 50)
    make_images(workplace / "images", 40, 100)
    partly = trained_on(workplace, FOLDER + "labels: {dropped: 0}\n")
    assert partly.works_without_label
    assert 0.3 < partly.unlabelled_share < 0.7


def test_files_keep_how_many_images_had_no_label(told_always: diffcli.Model, workplace: Path) -> None:
    make_images(workplace / "images" / "a", 20)
    make_images(workplace / "images", 20, 100)
    trained_on(workplace, FOLDER + "labels: {dropped: 0}\n")
    shares = []
    for name in ("run", "run/checkpoints/epoch-001.ckpt", "model.safetensors"):
        if name == "model.safetensors":
            diffcli.export("run", Path(name))
        shares.append(diffcli.load(name, devices=CPU).unlabelled_share)
    assert shares[0] > 0
    assert len(set(shares)) == 1
