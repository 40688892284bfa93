"""``diffcli train --images``: a folder of pictures, and the preset that fits it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import Cli
from PIL import Image

import diffcli
from diffcli.checkpoints.runs import Run
from diffcli.play.choices import label_choices
from diffcli.training.recipes import RECIPES, recipe_for

CPU = ["--accelerator", "cpu"]
QUICK = [*CPU, "--epochs", 1, "--limit-batches", 1, "--set", "training.sample_epochs=[]"]


def pictures(place: str, count: int, *, size: tuple[int, int] = (32, 32), colour: bool = True, **others: Any) -> None:
    """Noise of one hue for each picture; ``alpha`` leaves a part transparent."""
    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(place))
    for number in range(count):
        levels = rng.integers(0, 256, (size[1], size[0]), np.uint8)
        pixels = np.stack([levels, levels // (1 + number % 7 if colour else 1), levels], axis=2)
        picture = Image.fromarray(pixels)
        if others.get("alpha"):
            picture.putalpha(Image.radial_gradient("L").resize(size))
        picture.save(folder / f"{number}.{others.get('suffix', 'png')}")


def resolved(cli: Cli, *words: object) -> tuple[dict[str, Any], str]:
    """The preset that a dry run prints, and all that it says beside it."""
    result = cli("train", *words, "--dry-run", *CPU)
    assert result.code == 0, result.err
    notes = "".join(line + "\n" for line in result.out.splitlines() if line.startswith("#"))
    return yaml.safe_load(result.out), notes + result.err


def test_the_first_fitting_row_of_the_table_is_taken() -> None:
    assert recipe_for(1, 28, 301) == recipe_for(1, 32, 70_000) == RECIPES[0]
    assert recipe_for(3, 32, 70_000) == recipe_for(1, 32, 300) == RECIPES[1]
    assert recipe_for(3, 33, 301) == recipe_for(3, 64, 20) == recipe_for(1, 200, 70_000) == RECIPES[-1]


def test_classes_sizes_and_transparency_are_seen(cli: Cli, workplace: Path, small_presets: None) -> None:
    for name in ("cats & dogs", "birds"):
        pictures(f"pets/{name}", 160, size=(64, 64), alpha=True)
    preset, notes = resolved(cli, "--images", "pets", "--max-time", "10s")
    assert preset["data"]["path"] == "pets"
    assert (preset["data"]["size"], preset["data"]["channels"], preset["data"]["background"]) == (64, 3, "white")
    assert preset["labels"]["classes"] == ["birds", "cats & dogs"]
    assert preset["labels"]["clusters"] is None
    assert preset["training"]["max_time"] == "10s"
    recipe = recipe_for(3, 64, 320)
    assert preset["description"].endswith(f"in 2 sub-folders, by {recipe.preset}")
    line = f"pets: 320 colour pictures of 64x64 in 2 sub-folders: preset {recipe.preset}, for {recipe.purpose}"
    assert f"# {line}\n" in notes
    assert "# they are read as 64x64, transparent ones on white, by class, which are the 2 sub-folders\n" in notes
    assert "warning: 320 pictures are few" not in notes
    small, notes = resolved(cli, "--images", "pets", "--size", 32)
    assert small["data"]["size"] == 32
    assert f"preset {recipe_for(3, 32, 320).preset}, for {recipe_for(3, 32, 320).purpose}\n" in notes


def test_grey_pictures_of_their_own_size(cli: Cli, workplace: Path, small_presets: None) -> None:
    pictures("scans", 401, size=(30, 28), colour=False, suffix="jpg")
    preset, notes = resolved(cli, "--images", "scans")
    assert (preset["data"]["size"], preset["data"]["channels"]) == (28, 1)
    assert preset["labels"]["clusters"] == 2
    assert "scans: 401 grey pictures of 30x28: preset mnist-fast, for many small grey pictures\n" in notes
    assert "they are read as 28x28, cropped, by 2 clusters of pictures that are alike (labels.clusters)\n" in notes
    in_colour, notes = resolved(cli, "--images", "scans", "--set", "data.channels=3", "--set", "labels=null")
    assert in_colour["data"]["channels"] == 3
    assert f"preset {recipe_for(3, 28, 401).preset}" in notes
    assert "without labels" in notes


def test_a_few_in_colour_make_no_folder_of_colour(cli: Cli, workplace: Path, small_presets: None) -> None:
    pictures("scans", 310, colour=False)
    pictures("scans/more", 4, size=(20, 20))
    preset, notes = resolved(cli, "--images", "scans")
    assert preset["data"]["channels"] == 1
    assert preset["labels"] is None
    assert "scans: 314 grey pictures with sides of 20 to 32 pixels: preset mnist-fast" in notes
    assert "they are read as 32x32, smaller ones enlarged, colour as grey, without labels\n" in notes


def test_sub_folders_of_a_picture_or_two_are_no_classes(cli: Cli, workplace: Path, small_presets: None) -> None:
    for day in range(8):
        pictures(f"album/day {day}", 2)
    preset, notes = resolved(cli, "--images", "album")
    assert preset["labels"] is None
    assert "without labels: most sub-folders hold fewer than 5 pictures\n" in notes


def test_few_pictures_are_warned_of_and_what_is_said_is_done(cli: Cli, workplace: Path, small_presets: None) -> None:
    pictures("few", 40)
    preset, notes = resolved(cli, "--images", "few")
    warning = re.search(
        r"warning: 40 pictures are few, and a model may copy them; against that the training ends after ([\d,]+) "
        r"steps at most, the checkpoint of the lowest validation loss is used, pictures are mirrored, too \(of text: "
        r"data.mirrored=false\). See the nearest of 'diffcli eval'",
        notes,
    )
    assert warning
    assert preset["data"]["mirrored"] is True
    assert preset["training"]["epochs"] == int(warning[1].replace(",", ""))  # of one batch each
    assert preset["training"]["val_share"] == 0.1
    plain, notes = resolved(
        cli, "--images", "few", "--set", "data.mirrored=false", "--epochs", 7, "--set", "training.val_share=0.3"
    )
    assert "ends after 7 steps at most" in notes
    assert "mirrored" not in notes
    assert (plain["data"]["mirrored"], plain["training"]["val_share"]) == (False, 0.3)


def test_a_preset_of_ones_own_keeps_what_it_says_of_folders(cli: Cli, workplace: Path, small_presets: None) -> None:
    pictures("few", 20, alpha=True)
    words = ["--preset", "quickstart", "--images", "few"]
    preset, notes = resolved(cli, *words)
    assert (preset["data"]["size"], preset["data"]["channels"], preset["labels"]) == (32, 3, None)
    assert preset["schedule"]["T"] == 100
    assert "preset quickstart, as asked for\n" in notes
    assert "no longer hold" not in notes
    assert resolved(cli, *words, "--size", 16)[0]["data"]["size"] == 16
    guided = yaml.safe_load(diffcli_preset("blur-fast")) | {
        "data": {"name": "folder", "path": "nowhere", "size": [8, 12], "background": "red", "channels": 1}
    }
    Path("mine.yaml").write_text(yaml.safe_dump(guided))
    preset, notes = resolved(cli, "--preset", "mine.yaml", "--images", "few", "--set", "schedule.T=70")
    assert preset["data"]["size"] == [8, 12]
    assert preset["data"]["background"] == "red"
    assert preset["data"]["channels"] == 3
    assert "transparent ones on red" in notes
    assert (preset["schedule"]["T"], preset["sampler"]["guidance"]) == (70, 1.0)  # no labels to be guided towards


def diffcli_preset(name: str) -> str:
    from diffcli.config.presets import find_preset

    return find_preset(name).read_text()


def test_it_trains_as_its_preset_does_and_is_gone_on_with(cli: Cli, workplace: Path, small_presets: None) -> None:
    for name in ("a", "b"):
        pictures(f"two/{name}", 20)
    by_steps = ["--set", "training.lr_decay=false"]  # not by the clock
    result = cli("train", "--images", "two", "--out", "run", *QUICK, *by_steps)
    assert result.code == 0, result.err
    assert result.out == "run\n"
    assert re.search(
        r"time: about \d+ s for 1 epochs, fitting the prior and drawing samples come on top; memory: at least "
        r"\d+\.\d\d GiB of the machine's \(estimated from \d+ steps? on 1 thread of a CPU\)\n",
        result.err,
    ), result.err
    assert result.err.count("two: 40 colour pictures of 32x32 in 2 sub-folders: preset") == 1
    assert cli("train", "--images", "two", "--out", "silent", *QUICK, "-q").err == ""
    preset = Run(Path("run")).preset_file
    shutil.copy(preset, "same.yaml")
    assert cli("train", "--preset", "same.yaml", "--out", "again", *QUICK[:-2], "-q").code == 0
    weights = [torch.load(Run(Path(name)).last, weights_only=True)["state_dict"] for name in ("run", "again")]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key
    assert cli("train", "--resume", "run", "--epochs", 2, "-q").code == 0
    assert cli("sample", "--run", "run", "--label", "b", "--n", 2, "--steps", 2, *CPU, "-q").code == 0
    assert {"a", "b"} < set(label_choices([diffcli.load("run")]))  # on the page of diffcli play
    in_python = diffcli.train(images="two", overrides={"training.epochs": 1}, limit_batches=1, quiet=True)
    assert in_python.folder.parent.name == "two"
    with_preset = diffcli.train("quickstart", {"training.epochs": 1}, images="two", limit_batches=1, quiet=True)
    assert with_preset.folder.parent.name == "quickstart"
    assert cli("sample", "--run", "two", "--label", "a", "--n", 1, "--steps", 2, *CPU, "-q").code == 0


BAD: dict[str, tuple[list[object], str]] = {
    "nowhere": (["--images", "nowhere"], "--images nowhere is not there; name a folder of pictures"),
    "file": (["--images", "file.png"], "--images file.png is a file; name a folder of pictures"),
    "empty": (["--images", "empty"], "--images empty holds 0 pictures of 0 files; at least 10 are needed"),
    "texts": (
        ["--images", "texts"],
        "--images texts holds 0 pictures of 1 files; passed over: 1 .txt; at least 10 are needed",
    ),
    "one": (["--images", "one"], "--images one holds 1 picture of 1 files; at least 10 are needed"),
    "unreadable": (["--images", "bad"], "--images: no picture of bad can be read; bad/9.png is not a readable image"),
    "damaged": (["--images", "damaged"], "damaged/x.png is not a readable image; remove it, save it again, or leave"),
    "odd size": (
        ["--images", "good", "--size", 50],
        "--size 50: preset colour-64-fast reads squares whose sides 8 divides, of 8 pixels or more; take 48 or 56",
    ),
    "tiny size": (["--images", "good", "--size", 4], "take 8 or 12"),
    "no size": (["--images", "good", "--size", 0], "--size must be in 4..1,024, got 0"),
    "size alone": (["--preset", "quickstart", "--size", 32], "--size is of --images FOLDER"),
    "resume": (["--images", "good", "--resume", "last"], "give one of them"),
    "path": (
        ["--images", "good", "--set", "data.path=other"],
        "--images good and the key data.path both say which pictures; give one of them",
    ),
    "data": (["--images", "good", "--set", "data={name: digits}"], "the key data both say which pictures"),
    "data.size": (["--images", "good", "--set", "data.size=32"], "the size of --images is --size"),
    "channels": (["--images", "good", "--set", "data.channels=2"], "data.channels: input should be 1 or 3"),
    "preset": (["--images", "good", "--preset", "quikstart"], "did you mean 'quickstart'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_costs_one_line(cli: Cli, workplace: Path, case: str) -> None:
    pictures("good", 12)
    pictures("one", 1)
    pictures("damaged", 12)
    pictures("bad", 0)
    Path("damaged/x.png").write_text("x")
    for number in range(10):
        Path(f"bad/{number}.png").write_text("x")
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/notes.txt").write_text("x")
    Path("file.png").write_bytes(Path("one/0.png").read_bytes())
    before = sorted(workplace.rglob("*"))
    words, expected = BAD[case]
    result = cli("train", *words, *CPU)
    assert result.code == 2, result.err
    assert result.err.count("\n") == 1
    assert expected in result.err
    assert sorted(workplace.rglob("*")) == before


def test_what_is_left_out_is_named(cli: Cli, workplace: Path, small_presets: None) -> None:
    pictures("mixed", 12)
    Path("mixed/x.png").write_text("x")
    Path("mixed/notes.txt").write_text("x")
    result = cli("train", "--images", "mixed", "--on-bad-image", "skip", "--out", "run", *QUICK)
    assert result.code == 0, result.err
    assert "skipped: mixed/x.png is not a readable image\n" in result.err
    assert "mixed: 12 images of 14 files; passed over: 1 .txt; 1 unusable, skipped\n" in result.err


def test_a_checkpoint_from_before_its_early_average_is_drawn_from(cli: Cli, workplace: Path, guided_run: Path) -> None:
    # The lowest validation loss comes early where pictures are few.
    content = torch.load(Run(guided_run).best, weights_only=True)
    del content["guide"]
    torch.save(content, "early.ckpt")
    draw = ["sample", "--checkpoint", "early.ckpt", "--n", 2, "--steps", 2, "--out", "s.npz", *CPU]
    result = cli(*draw)
    assert result.code == 0, result.err
    assert result.err.count("is of before its early average of the weights (training.guide_at): no autoguidance\n") == 1
    images = np.load("s.npz")["images"]
    assert cli(*draw, "--autoguidance", 1).code == 0
    assert np.array_equal(np.load("s.npz")["images"], images)
    refusal = cli(*draw, "--autoguidance", 1.5)
    assert refusal.code == 2
    assert "no early average to be guided by" in refusal.err
