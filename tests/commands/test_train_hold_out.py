"""Trainings on classes of a folder: what is held out, and the names of the classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY, Cli, Result
from pictures import images_with, make_folders

import diffcli
from diffcli.config.build import load_source, splits, training_split
from diffcli.data.sources import NO_LABEL, Source, renumber_labels
from diffcli.training.options import TrainOptions
from diffcli.training.plan import plan
from diffcli.utils.errors import UserError

CPU = diffcli.Devices("cpu", "1")


RECIPE = (
    TINY.replace("{name: digits}", "{name: folder, path: images, size: 8, channels: 1}").replace(
        "epochs: 2", "epochs: 1"
    )
    + "labels: {}\n"
)


RANDOM = "--set=data.hold_out=random"


TRAIN = ["train", "--preset", "recipe.yaml", "--accelerator", "cpu", "--out", "run"]


@pytest.fixture
def recipe(workplace: Path) -> Path:
    """A preset's file for the images in the folder ``images``."""
    file = workplace / "recipe.yaml"
    file.write_text(RECIPE)
    return file


def success(result: Result) -> Result:
    assert result.code == 0, result.err
    return result


def test_every_class_of_a_folder_is_trained_on(cli: Cli, workplace: Path, recipe: Path) -> None:
    make_folders(workplace / "images", {"many": 60, **{f"few{number}": 2 for number in range(6)}})
    # Before, all images of a few classes fell into the test or the validation split.
    at_random = plan(TrainOptions("recipe.yaml", {"data.hold_out": "random"}))
    assert at_random.untrained_classes
    training = plan(TrainOptions("recipe.yaml"))
    assert training.untrained_classes == []
    assert training.preset.data.parameters["hold_out"] == "by-class"
    success(cli(*TRAIN, "-q"))
    model = diffcli.load("run", devices=CPU)
    assert min(model.class_shares) > 0
    assert model.sample(1, label="few3", quiet=True).shape == (1, 1, 8, 8)


def test_a_class_without_training_images_is_named_and_cannot_be_asked_for(
    cli: Cli, workplace: Path, recipe: Path
) -> None:
    make_folders(workplace / "images", {"many": 60, **{f"few{number}": 2 for number in range(6)}})
    missing = plan(TrainOptions("recipe.yaml", {"data.hold_out": "random"})).untrained_classes
    line = f"note: no training image is of class {', '.join(missing)}: too few images; its label cannot be asked for"
    assert f"# {line}\n" in success(cli(*TRAIN, RANDOM, "--dry-run")).out
    assert f"{line}\n" in success(cli(*TRAIN, RANDOM)).err
    assert line not in success(cli(*TRAIN, "--dry-run")).out
    for command in (["sample"], ["eval", "--rmse"]):
        result = cli(*command, "--run", "run", "--label", missing[0], "--accelerator", "cpu")
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert f"--label {missing[0]}: none of the training images was of this class; there are " in result.err
        assert result.err.rstrip().endswith("many")
    model = diffcli.load("run", devices=CPU)
    assert set(model.untrained_classes) == set(missing)
    with pytest.raises(UserError, match=f"`label` {missing[0]}"):
        model.sample(1, label=["many", missing[0]])
    # Of an image of such a class no label is told, in place of one that was not learnt.
    images = load_source(model.preset, None).development
    labels = model.labelled(images).labels
    mask = torch.isin(images.labels, torch.tensor([model.classes.index(name) for name in missing]))
    assert bool(mask.any())
    assert torch.equal(labels, torch.where(mask, NO_LABEL, images.labels))


def test_the_numbers_of_training_validation_and_test_images_are_told(cli: Cli, workplace: Path, recipe: Path) -> None:
    make_folders(workplace / "images", {"a": 30, "b": 10, "": 10})
    text = "32 training, 8 validation and 10 test images"
    output = success(cli(*TRAIN, "--dry-run")).out
    for line in (
        "training images: 32",
        "validation images: 8",
        "test images: 10",
        text,
        "note: 6 training images have no label",
    ):
        assert f"# {line}\n" in output
    assert f"{text}\n" in success(cli(*TRAIN)).err
    assert json.loads(Path("run/run.json").read_text())["test_images"] == 10
    digits = success(cli("train", "--preset", "quickstart", "--dry-run", "--set", "data={name: digits}")).out
    assert "# test images: 359\n" in digits


def test_a_preset_may_name_the_classes_in_its_own_order(cli: Cli, workplace: Path, recipe: Path) -> None:
    make_folders(workplace / "images", {"a": 20, "b": 20})
    success(cli(*TRAIN, "-q", "--set", "labels.classes=[b, a]"))
    model = diffcli.load("run", devices=CPU)
    assert model.classes == ["b", "a"]
    source = load_source(model.preset, None)
    assert source.classes == ("b", "a")
    assert {bool(image[0, 0, 0] < 20) for image in source.test.images[source.test.labels == 1]} == {True}


def test_labels_of_images_follow_the_names_of_the_model(cli: Cli, workplace: Path, recipe: Path) -> None:
    source = Source(images_with([0, 1, NO_LABEL]), images_with([1, 0]), classes=("a", "b"))
    other = renumber_labels(source, ["x", "b", "a"])
    assert (other.development.labels.tolist(), other.test.labels.tolist()) == ([2, 1, -1], [1, 2])
    make_folders(workplace / "images", {"b": 20, "c": 20})
    success(cli(*TRAIN, "-q"))
    model = diffcli.load("run", devices=CPU)
    before = training_split(model.preset, load_source(model.preset, None))
    # A class that comes later shifted all labels, without a word.
    make_folders(workplace / "images", {"a": 5})
    result = cli("eval", "--run", "run", "--rmse", "--accelerator", "cpu")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert (
        "the classes of the images are a, b, c, and those of the model b, c: leave out the images of class a"
        in result.err
    )
    for file in (workplace / "images" / "a").iterdir():
        file.unlink()
    assert torch.equal(training_split(model.preset, load_source(model.preset, None)).labels, before.labels)


def as_of_version_0_3(run: Path) -> None:
    """Makes a run's files say no more than those of version 0.3 did."""
    values = yaml.safe_load((run / "preset.yaml").read_text())
    assert values["data"].pop("hold_out") == "random"
    (run / "preset.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    for file in (run / "checkpoints").glob("*.ckpt"):
        content: dict[str, Any] = torch.load(file, weights_only=True)
        content["hyper_parameters"]["preset"]["data"].pop("hold_out")
        content.pop("unlabelled_share", None)
        torch.save(content, file)


@pytest.mark.parametrize("labels", ["labels: {}\n", ""])
def test_a_run_of_version_0_3_keeps_its_split_and_its_classes(
    cli: Cli, workplace: Path, recipe: Path, labels: str
) -> None:
    make_folders(workplace / "images", {"1": 20, "2": 20, "3": 20, "10": 20})
    old = "labels: {classes: ['1', '10', '2', '3']}\n"
    recipe.write_text(RECIPE.replace("labels: {}\n", old if labels else ""))
    success(cli(*TRAIN, "-q", RANDOM))
    facts = json.loads(Path("run/run.json").read_text())
    former = splits(diffcli.load("run", devices=CPU).preset, load_source(diffcli.load("run", devices=CPU).preset, None))
    as_of_version_0_3(Path("run"))
    model = diffcli.load("run", devices=CPU)
    assert model.preset.data.parameters["hold_out"] == "random"
    for then, now in zip(former, splits(model.preset, load_source(model.preset, None)), strict=True):
        assert torch.equal(then.images, now.images)
        assert torch.equal(then.labels, now.labels)
    if labels:
        assert model.classes == ["1", "10", "2", "3"]
    success(cli("train", "--resume", "run", "--epochs", 2, "--accelerator", "cpu", "-q"))
    after = json.loads(Path("run/run.json").read_text())
    for key in ("training_images", "validation_images", "training_sha256", "validation_sha256"):
        assert after[key] == facts[key]
    assert yaml.safe_load(Path("run/preset.yaml").read_text())["data"]["hold_out"] == "random"
    refusal = cli("train", "--resume", "run", "--epochs", 3, "--accelerator", "cpu", "--set", "data.hold_out=by-class")
    assert (refusal.code, "data.hold_out cannot change on a resume" in refusal.err) == (2, True)


@pytest.mark.parametrize("handed", [True, False])
def test_a_study_says_how_it_takes_a_run_of_version_0_3(cli: Cli, workplace: Path, recipe: Path, handed: bool) -> None:
    make_folders(workplace / "images", {"a": 20, "b": 20})
    success(cli(*TRAIN, "-q", RANDOM, "--set", "sampler.steps=2", "--out", "run" if handed else "mine/one"))
    as_of_version_0_3(Path("run" if handed else "mine/one"))
    text = "title: t\nmodels: {one: MODEL}\nevaluation: {n_test: 5, metrics: [rmse], steps: 2}\n"
    Path("mine.yaml").write_text(text.replace("MODEL", "recipe.yaml"))
    study = [
        "study",
        "mine.yaml",
        "--out",
        "mine",
        "--accelerator",
        "cpu",
        "-q",
        *(["--run", "one=run"] if handed else []),
    ]
    refusal = cli(*study)
    assert (refusal.code, refusal.err.count("\n")) == (2, 1)
    way_out = "set: {data.hold_out: random}"
    assert f"give its model {way_out} in the study's file, where it has by-class" in refusal.err
    Path("mine.yaml").write_text(text.replace("MODEL", f"{{preset: recipe.yaml, {way_out}}}"))
    success(cli(*study))
    if not handed:
        Path("mine.yaml").write_text(Path("mine.yaml").read_text().replace("steps: 2", "steps: 3"))
        refusal = cli(*study)
        assert "sampler.steps is another; name a new folder\n" in refusal.err  # no key of the model would help
