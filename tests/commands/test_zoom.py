"""How large the pixels of a grid are, and the names of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image

import diffcli
from diffcli.inference.pictures import labelled_rows, tile_scale

SAMPLE = ["sample", "--accelerator", "cpu", "--steps", 2, "--quiet"]


def pixels(file: str) -> np.ndarray:
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(
    ("width", "columns", "scale"),
    [(8, 8, 8), (28, 8, 3), (32, 8, 2), (64, 8, 1), (200, 1, 1), (28, 24, 3), (28, 30, 2), (8, 100, 4), (64, 100, 1)],
)
def test_tiles_are_64_pixels_wide_while_the_grid_fits_a_screen(width: int, columns: int, scale: int) -> None:
    assert tile_scale(width, columns) == scale


@pytest.mark.parametrize("zoom", [1, 3, 11])
def test_a_grid_and_a_trajectory_have_pixels_as_large_as_asked(
    cli: Cli, workplace: Path, hot_run: Path, zoom: int
) -> None:
    sample = [*SAMPLE, "--run", hot_run, "--n", 4]
    assert cli(*sample, "--out", "s.npz").code == 0
    assert cli(*sample, "--out", "g.png", "--trajectory", "g.gif", "--zoom", zoom).code == 0
    side, images = 8 * zoom + 2, np.load("s.npz")["images"][..., 0]
    grid = pixels("g.png")
    assert grid.shape == (2 * side + 2, 2 * side + 2)
    assert np.array_equal(grid[2:side, 2:side], np.kron(images[0], np.ones((zoom, zoom), np.uint8)))
    assert Image.open("g.gif").size == grid.shape
    assert cli(*sample, "--out", "auto.png", "--zoom", "auto").code == 0
    assert cli(*sample, "--out", "default.png").code == 0
    assert Path("auto.png").read_bytes() == Path("default.png").read_bytes()
    assert pixels("auto.png").shape == (2 * 66 + 2, 2 * 66 + 2)


def test_a_grid_in_python_has_it_too() -> None:
    images = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)
    assert diffcli.grid(images, zoom=1).size == (2 * 10 + 2, 10 + 2)
    assert np.array_equal(np.asarray(diffcli.grid(images, zoom=1))[2:10, 2:10], images[0, 0].numpy())
    with pytest.raises(diffcli.UserError, match=r"`zoom` must be a whole number in 1\.\.16, or auto, got 0"):
        diffcli.grid(images, zoom=0)


def test_rows_of_restored_pictures_have_it_too(cli: Cli, workplace: Path, hot_run: Path) -> None:
    Path("own").mkdir()
    for number in range(3):
        Image.new("L", (8, 8), 50 * number).save(f"own/{number}.png")
    restore = ["restore", "own", "--run", hot_run, "--accelerator", "cpu", "--steps", 2, "--quiet"]
    heights = []
    for zoom in ([], ["--zoom", 1], ["--zoom", 16]):
        assert cli(*restore, "--out", "r.png", *zoom).code == 0
        heights.append(Image.open("r.png").height)
    assert heights == [4 * (64 + 2) + 2, 4 * (8 + 2) + 2, 4 * (128 + 2) + 2]
    for out in ("r.npz", "folder"):
        result = cli(*restore, "--out", out, "--zoom", 2)
        assert result.code == 2
        assert "--zoom is of a picture, .png; single files and arrays keep the images' own size" in result.err
        assert not Path(out).exists()


BAD: dict[str, tuple[list[Any], str]] = {
    "zero": (["--zoom", 0], "--zoom must be a whole number in 1..16, or auto, got 0"),
    "large": (["--zoom", 17], "--zoom must be a whole number in 1..16, or auto, got 17"),
    "word": (["--zoom", "big"], "--zoom must be a whole number or auto, got big"),
    "folder": (["--zoom", 2, "--out", "folder"], "--zoom is of a grid, .png, and of --trajectory; single files"),
    "array": (["--zoom", 2, "--out", "s.npz"], "--zoom is of a grid, .png, and of --trajectory; single files"),
    "conditional": (["--zoom", 2, "--conditional"], "--zoom is of grids, and --conditional makes a figure"),
    "no labels": (
        ["--row-labels", "--label", "1"],
        "--row-labels names the rows of several labels; say which with --label, of 0, 1, 2, 3",
    ),
    "no label": (["--row-labels"], "--row-labels names the rows of several labels; say which with --label"),
    "rows of an array": (["--row-labels", "--label", "0-2", "--out", "s.npz"], "--row-labels is of a grid, .png"),
    "rows of a figure": (["--row-labels", "--label", "0-2", "--conditional"], "names its rows already"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_grid_is_refused(cli: Cli, workplace: Path, guided_run: Path, case: str) -> None:
    words, expected = BAD[case]
    result = cli(*SAMPLE, "--run", guided_run, *words)
    assert result.code == 2, result.err
    assert result.err.count("\n") == 1
    assert expected in result.err
    assert list(workplace.iterdir()) == []


def test_an_array_beside_a_trajectory_may_have_it(cli: Cli, workplace: Path, hot_run: Path) -> None:
    words = ["--run", hot_run, "--n", 1, "--out", "s.npz", "--trajectory", "t.gif", "--zoom", 2]
    assert cli(*SAMPLE, *words).code == 0
    assert Image.open("t.gif").size == (16, 16)


def test_rows_are_named_on_request(cli: Cli, workplace: Path, guided_run: Path) -> None:
    words = ["--run", guided_run, "--label", 3, "--label", "none", "--n", 5, "--zoom", 2]
    assert cli(*SAMPLE, *words, "--out", "plain.png").code == 0
    assert cli(*SAMPLE, *words, "--out", "named.png", "--row-labels").code == 0
    plain, captions = pixels("plain.png"), pixels("named.png")
    assert captions.shape[0] == plain.shape[0]
    margin = captions.shape[1] - plain.shape[1]
    assert margin > 12
    assert np.array_equal(captions[:, margin:], plain)
    beside = captions[:, : margin - 1] != captions[0, 0]
    assert all(row.any() for row in (beside[: len(beside) // 2], beside[len(beside) // 2 :]))
    assert not beside[len(beside) // 2 - 2 : len(beside) // 2 + 2].any()
    one_row = [*words[:-4], "--n", 1, "--row-labels", "--out", "one.png"]
    assert cli(*SAMPLE, *one_row).code == 0


@pytest.mark.parametrize("name", ["Animals & Nature", "数字", "a" * 200, "", "😀"])
def test_any_name_can_stand_beside_a_row(name: str) -> None:
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    picture = labelled_rows([(name, images), ("b", images)])
    assert picture.height == 2 * 66 + 2
    assert picture.width <= 2 * 66 + 2 + 300
