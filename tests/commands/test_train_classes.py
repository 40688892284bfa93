"""Trainings on images with classes."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import Cli
from pictures import FOLDER_RECIPE, make_classes
from PIL import Image

from diffcli.checkpoints.runs import Run
from diffcli.inference.loading import read_model


def test_a_checkpoint_knows_its_classes_without_the_images(cli: Cli, workplace: Path) -> None:
    root = make_classes(workplace / "images")
    Path("recipe.yaml").write_text(FOLDER_RECIPE + "labels: {}\n")
    train = ["train", "--preset", "recipe.yaml", "--accelerator", "cpu", "-q"]
    assert cli(*train, "--out", "run", "--epochs", 1).code == 0
    root.rename("moved")
    model = read_model(Run(Path("run")).last)
    assert model.preset.labels is not None
    assert (model.preset.labels.classes, model.image_shape) == (["cats", "dogs"], (1, 8, 12))
    xt = torch.zeros(2, 1, 8, 12)
    assert model.denoiser(xt, torch.tensor([1, 2]), torch.tensor([0, 1])).shape == xt.shape
    Path("moved").rename("images")
    result = cli("train", "--resume", "run", "--epochs", 2, "--accelerator", "cpu", "-q")
    assert result.code == 0, result.err


def test_labels_of_images_without_classes_are_refused(cli: Cli, workplace: Path) -> None:
    make_classes(workplace / "images", names=(), beside=0)
    Path("images").mkdir()
    for i in range(10):
        Image.new("L", (9, 6), i).save(f"images/{i}.png")
    Path("recipe.yaml").write_text(FOLDER_RECIPE + "labels: {}\n")
    result = cli("train", "--preset", "recipe.yaml", "--out", "run", "-q")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "labels: data folder has no classes: those of a folder are its sub-folders" in result.err
    assert not Path("run").exists()
    make_classes(workplace / "images")
    other = cli("train", "--preset", "recipe.yaml", "--set", "labels.classes=[x]", "--out", "run", "-q")
    assert "the classes of data folder are cats, dogs" in other.err
