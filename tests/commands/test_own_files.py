"""Each output has a file of its own: none takes another's name, and none takes the place of what it is made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from PIL import Image

from diffcli.utils.files import separate_names

RESTORE = ["restore", "--accelerator", "cpu", "--steps", "1", "--t", "1", "-q"]


def save_levels(*files: str) -> None:
    """Grey images, each of a level of its own."""
    for number, file in enumerate(files):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 30 + 40 * number).save(file)


@pytest.mark.parametrize("files", [["a.jpg", "a.png", "a-2.png"], ["x/1.png", "y/1.png", "y/1-2.png"]])
def test_as_many_images_are_restored_as_were_named(cli: Cli, workplace: Path, hot_run: Path, files: list[str]) -> None:
    save_levels(*files)
    result = cli(*RESTORE[:-1], *files, "--run", hot_run, "--out", "restored")
    assert (result.code, result.out) == (0, "restored\n"), result
    for file, name in zip(files, separate_names([Path(file).stem for file in files]), strict=True):
        assert cli(*RESTORE, file, "--run", hot_run, "--out", "alone").code == 0
        (alone,) = Path("alone").iterdir()
        picture, expected = (np.asarray(Image.open(one)) for one in (Path("restored") / f"{name}.png", alone))
        # Of the same image, but for the noise, which goes by an image's place.
        assert abs(picture.mean() - expected.mean()) < 15, file
        alone.unlink()
        alone.parent.rmdir()
    assert len(list(Path("restored").iterdir())) == 3
    assert f"note: {files[1]} is restored as" in result.err


def test_what_is_restored_is_not_written_over(cli: Cli, workplace: Path, hot_run: Path) -> None:
    save_levels("restored.png", "mask.png", "b.png")
    mask = Image.new("L", (9, 9), 0)
    mask.paste(255, (2, 2, 6, 6))
    mask.save("mask.png")
    Path("link.png").hardlink_to("b.png")
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path().iterdir()}
    for words, name in (
        (["restored.png"], "restored.png"),
        (["b.png", "--out", "../" + workplace.name + "/b.png"], "b.png"),
        (["b.png", "--out", "link.png"], "b.png"),
    ):
        result = cli(*RESTORE, *words, "--run", hot_run)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert f"is {name}, which is restored; name another file" in result.err
    words = ["restore", "b.png", "--mask", "mask.png", "--steps", "2", "--out", "mask.png", "--run", hot_run, "-q"]
    result = cli(*words)
    assert result.code == 2
    assert "--out mask.png is the mask; name another file" in result.err
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path().iterdir()} == before


def test_a_model_is_not_exported_over_itself(cli: Cli, workplace: Path, hot_run: Path) -> None:
    assert cli("export", hot_run, "--out", "m.safetensors", "-q").code == 0
    before = Path("m.safetensors").read_bytes()
    result = cli("export", "m.safetensors", "--half", "--out", "m.safetensors", "-q")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "--out m.safetensors is the model's own file; name another" in result.err
    assert Path("m.safetensors").read_bytes() == before


def test_what_is_written_beside_a_file_takes_no_others_place(cli: Cli, workplace: Path, hot_run: Path) -> None:
    for file in ("page.md", "m-step.onnx"):
        Path(file).write_text("precious")
    for words, expected in (
        (
            ["study", "degradations", "--page", "page.html"],
            "--page page.html: page.md, which is written with it, is there",
        ),
        (
            ["export", hot_run, "--out", "m.onnx"],
            "--out m.onnx: m-step.onnx, which is written with it, is there already",
        ),
    ):
        result = cli(*words, "-q")
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert {path.read_text() for path in Path().iterdir()} == {"precious"}


def test_the_order_of_arguments_decides_no_name_and_every_changed_name_is_told(
    cli: Cli, workplace: Path, hot_run: Path
) -> None:
    save_levels("a.jpg", "a.png", "y/a.png", "b.png")
    notes = []
    for out, files in (
        ("one", ["a.jpg", "a.png", "y/a.png", "b.png"]),
        ("two", ["y/a.png", "b.png", "a.png", "a.jpg"]),
    ):
        result = cli(*RESTORE, *files, "--run", hot_run, "--out", out)
        assert result.code == 0, result.err
        notes.append(sorted(line for line in result.err.splitlines() if "is restored as" in line))
        # The grey of what was read, but for the noise.
        levels = {file.stem: np.asarray(Image.open(file)).mean() for file in Path(out).iterdir()}
        assert levels["a"] < levels["a-2"] < levels["a-3"] < levels["b"], levels
    assert notes[0] == notes[1]
    assert notes[0] == [
        "note: a.png is restored as a-2.png: a.png is of a.jpg",
        "note: y/a.png is restored as a-3.png: a.png is of a.jpg",
    ]
