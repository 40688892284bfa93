"""Trainings on a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Cli
from pictures import make_images


def test_train_says_it_once_and_quiet_does_not(cli: Cli, workplace: Path) -> None:
    photos = make_images(workplace / "photos[b]")
    (photos / "notes.txt").write_text("x")
    (photos / "bad[i].png").write_text("x")
    data = "data={name: folder, path: 'photos[b]', size: 8, channels: 1, on_bad_image: skip}"
    (workplace / "mine.yaml").write_text(TINY.replace("sample_epochs: [1]", "sample_epochs: []"))
    train = ["train", "--preset", "mine.yaml", "--set", data, "--epochs", 1, "--batch-size", 4, "--accelerator", "cpu"]
    line = "photos[b]: 12 images of 14 files; passed over: 1 .txt; 1 unusable, skipped"
    result = cli(*train)
    assert result.code == 0, result.err
    assert result.err.count(line) == 1
    assert "skipped: photos[b]/bad[i].png is not a readable image" in result.err
    assert cli(*train, "--quiet").err == ""
    assert f"# {line}\n" in cli(*train, "--dry-run").out


@pytest.mark.parametrize("preset", ["quickstart", "quickstart-blur"])
def test_images_that_are_all_black_are_trained_on_and_it_is_said(preset: str, cli: Cli, workplace: Path) -> None:
    make_images(workplace / "photos", range(1))
    for number in range(1, 40):
        (workplace / "photos" / f"{number}.png").write_bytes((workplace / "photos" / "0.png").read_bytes())
    data = "data={name: folder, path: photos, size: 8, channels: 1}"
    small = ("--set", "labels=null", "--set", "training.sample_epochs=[1]", "--epochs", 1, "--accelerator", "cpu")
    result = cli("train", "--preset", preset, "--set", data, *small)
    assert result.code == 0, result.err
    assert "photos: 40 images of 40 files; all images are equal\n" in result.err
    assert cli("sample", "--n", 2, "--steps", 2, "--out", "s.npz", "--accelerator", "cpu").code == 0
    assert np.load("s.npz")["images"].shape == (2, 8, 8, 1)
