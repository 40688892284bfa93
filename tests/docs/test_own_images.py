"""The README's own-images lines, run on pictures made here: they give what they promise."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Cli
from PIL import Image, ImageDraw
from test_readme import commands

from diffcli.training.recipes import RECIPES, recipe_for

COLOURS = {"limes": (110, 200, 40), "plums": (120, 30, 140)}


def save_fruit(place: Path, side: int) -> None:
    """Round fruit of two colours on transparent, a folder for each, no two alike."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (place / name).mkdir(parents=True)
        for number in range(40):
            picture = Image.new("RGBA", (side, side))
            x, y = rng.uniform(0.3, 0.4, 2) * side
            radius = rng.uniform(0.5, 0.6) * side
            ImageDraw.Draw(picture).ellipse((x - radius / 2, y - radius / 2, x + radius, y + radius), fill=colour)
            picture.save(place / name / f"{number}.png")


def section(page: Path, heading: str) -> str:
    return page.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]


def own_images_lines() -> list[str]:
    text = section(ROOT / "README.md", "Your own images")
    lines = [command for command in commands(ROOT / "README.md") if command in text]
    return [line for line in lines if not line.startswith("diffcli restore")]


def test_the_lines_of_the_readme_train_and_draw_ones_own_pictures(
    cli: Cli, workplace: Path, small_presets: None
) -> None:
    save_fruit(Path("photos"), 16)
    train, sample = own_images_lines()
    assert shlex.split(train)[:3] == ["diffcli", "train", "--images"]
    assert shlex.split(sample)[:2] == ["diffcli", "sample"]
    quick = ["--epochs", 60, "--accelerator", "cpu", "--set", "training.sample_epochs=[]"]
    quick += ["--set", "training.warmup=5", "--set", "training.ema=0.9"]
    result = cli(*shlex.split(train)[1:], *quick)
    assert result.code == 0, result.err
    # Which preset fits and why, how long it will take and how much memory.
    recipe = recipe_for(3, 16, 80)
    assert f"80 colour pictures of 16x16 in 2 sub-folders: preset {recipe.preset}, for {recipe.purpose}\n" in result.err
    assert re.search(r"time: about \d+ s .*; memory: at least \d+\.\d\d GiB", result.err)
    assert "warning: 80 pictures are few" in result.err
    drawing = cli(*shlex.split(sample)[1:], "--steps", 8, "--accelerator", "cpu")
    assert (drawing.code, drawing.out) == (0, "mine.png\n"), drawing.err
    tile = 16 * 4 + 2
    assert Image.open("mine.png").size == (6 * tile + 2, 6 * tile + 2)
    # The folders are classes: what is asked for is drawn.
    words = ["--label", "limes", "--label", "plums", "--n", 16, "--out", "s.npz"]
    assert cli("sample", *words, "--steps", 8, "--accelerator", "cpu").code == 0
    centres = np.load("s.npz")["images"][:, 6:10, 6:10].mean(axis=(1, 2))
    for which, colour in enumerate(COLOURS.values()):
        assert np.abs(centres[which::2].mean(axis=0) - colour).max() < 30, colour
    corners = np.load("s.npz")["images"][:, :2, :2]
    assert corners.mean() > 220  # white, where the pictures are transparent


def test_the_page_names_the_recipes() -> None:
    text = (ROOT / "docs" / "how-to" / "own-images.md").read_text()
    table = re.search(r"<!-- recipes -->(.*)<!-- /recipes -->", text, flags=re.DOTALL)
    assert table is not None
    assert re.findall(r"\| `([\w-]+)` \|", table[1]) == [recipe.preset for recipe in RECIPES]


@pytest.mark.parametrize("line", commands(ROOT / "docs" / "how-to" / "own-images.md"))
def test_the_commands_of_the_page_run(cli: Cli, workplace: Path, small_presets: None, line: str) -> None:
    _, name, *words = shlex.split(line)
    save_fruit(Path("photos"), 64)
    save_fruit(Path("pets"), 16)
    for new, old in (("cats", "limes"), ("dogs", "plums")):
        Path("pets", old).rename(Path("pets", new))
    quick = ["--epochs", 1, "--limit-batches", 1, "--set", "training.sample_epochs=[]"]
    if name != "train":
        training = cli("train", "--images", "pets", *quick, "--accelerator", "cpu")
        assert training.code == 0, training.err
    quick = {"sample": ["--steps", 2], "eval": ["--n-test", 5, "--n-fid", 5, "--steps", 2], "train": quick}[name]
    result = cli(name, *words, *quick, "--accelerator", "cpu")
    assert result.code == 0, result.err
