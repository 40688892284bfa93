"""Two commands that write to one place at the same time: both end well, and what is there is whole, or one says why."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from comparisons import OPTIONS, Reader
from conftest import TINY
from killing import start
from PIL import Image

from diffcli.utils.errors import RunError
from diffcli.utils.files import written_whole

SAMPLE = ["sample", "--run", "run", "--steps", 2, "--accelerator", "cpu", "-q"]
EVAL = ["eval", "--run", "run", *OPTIONS]


@pytest.fixture
def place(hot_run: Path, workplace: Path) -> Path:
    """The folder that the commands work in, with a run."""
    shutil.copytree(hot_run, workplace / "run", ignore=shutil.ignore_patterns("eval.json", "compare"))
    return workplace


def together(place: Path, *commands: list[object]) -> str:
    """Runs commands at once, all of which have to end well; what they print."""
    processes = [start(place, *command) for command in commands]
    for process in processes:
        process.join()
    messages = (place / "messages.txt").read_text()
    assert [process.exitcode for process in processes] == [0] * len(processes), messages
    return messages


def leftovers(place: Path) -> list[Path]:
    """Scratch folders that were not removed."""
    return list(place.rglob(".*"))


def test_commands_that_write_one_file_at_once_leave_it_whole(place: Path) -> None:
    (place / "tiny.yaml").write_text(TINY)
    few, many = [*SAMPLE, "--n", 4], [*SAMPLE, "--n", 64]
    together(
        place,
        *([*command, "--out", out] for out in ("grid.png", "images.npz") for command in (few, many)),
        *[["schedule-plot", "--preset", "tiny.yaml", "--out", "plot.png"]] * 2,
    )
    for name in ("grid.png", "plot.png"):
        Image.open(name).load()
    assert len(np.load("images.npz")["images"]) in (4, 64)
    assert not leftovers(place)


def test_two_evaluations_of_one_run_leave_one_whole_file(place: Path) -> None:
    together(place, [*EVAL, "--seed", 1], [*EVAL, "--seed", 2])
    report = json.loads(Path("run/eval.json").read_text())
    assert report["settings"]["seed"] in (1, 2)
    assert report["scores"]["rmse"] > 0
    assert not leftovers(place)


def test_two_comparisons_with_different_settings_do_not_mix(place: Path) -> None:
    shutil.copytree("run", "other")
    base = ["compare", "run", "other", *OPTIONS, "--out"]
    slow = [5 if word == 4 else word for word in base]  # sampler steps
    together(place, [*base, "page.html"], [*base, "page.html"], [*base, "four.json"], [*slow, "five.json"])
    for file, steps in (("four.json", 4), ("five.json", 5)):
        runs = json.loads(Path(file).read_text())["runs"]
        assert [run["settings"]["sampler"]["steps"] for run in runs] == [steps, steps]
    page = Path("page.html").read_text()
    assert page.rstrip().endswith("</html>")
    assert len(Reader(page).sources) == 2 * 4 + 3
    assert not leftovers(place)


def test_of_two_that_fill_one_folder_one_says_where_its_images_are(place: Path) -> None:
    slow = start(place, "sample", "--run", "run", "--accelerator", "cpu", "-q", "--n", 1000, "--out", "images")
    deadline = time.monotonic() + 60
    while not list(place.glob(".images.*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    together(place, [*SAMPLE, "--n", 3, "--out", "images"])
    slow.join()
    messages = (place / "messages.txt").read_text().splitlines()
    assert (slow.exitcode, messages[0]) == (1, "images"), messages
    assert messages[1:] == ["error: images was made by another command meanwhile; what this one made is in images-2"]
    assert (len(os.listdir("images")), len(os.listdir("images-2"))) == (3, 1000)
    assert not leftovers(place)


@pytest.mark.parametrize(
    ("path", "mine", "theirs", "aside"),
    [
        ("out", "a.png", "b.png", "out-2"),
        ("out", "a.png", None, "out-2"),
        ("out.png", None, "b.png", "out-2.png"),
    ],
)
def test_what_cannot_take_its_place_is_kept_beside_it(
    workplace: Path, path: str, mine: str | None, theirs: str | None, aside: str
) -> None:
    def make(place: Path, content: str | None) -> None:
        if content is None:
            place.write_text("a file")
        else:
            place.mkdir()
            (place / content).touch()

    def work() -> None:
        with written_whole(Path(path)) as part:
            make(part, mine)
            make(Path(path), theirs)

    with pytest.raises(RunError, match=rf"{path} was made by another command meanwhile; .* in {aside}$"):
        work()
    for place, content in ((Path(aside), mine), (Path(path), theirs)):
        assert place.is_file() if content is None else os.listdir(place) == [content]
    assert not leftovers(workplace)
