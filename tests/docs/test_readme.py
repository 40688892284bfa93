"""The README's commands: every one parses, and those that need no download run."""

from __future__ import annotations

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT, save_own_images
from pages import PAGES

from diffcli.config.build import resolve
from diffcli.config.notation import parse_argument, parse_value
from diffcli.config.presets import load_preset, preset_files, sampler_named


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```(?:sh|bash|text)?\n(.*?)```", page.read_text(), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").split(" # ")[0].strip() for line in lines if re.match(r"(\$ )?diffcli ", line)]


def commands_in_tables(page: Path) -> list[str]:
    """The commands that stand as code in the cells of a page's tables."""
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    return [command for row in rows for command in re.findall(r"`(diffcli [^`]+)`", row)]


def commands_in_text(page: Path) -> list[str]:
    """The commands that stand as code in a page's sentences and tables; a capital letter there stands for a number."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [" ".join(command.split()).split(" (")[0] for command in re.findall(r"`(diffcli [^`]+)`", text)]
    return [re.sub(r" [A-Z]$", " 1", command) for command in lines if not command.startswith("diffcli --")]


def test_the_readme_is_short_and_begins_with_what_diffcli_is() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    first = next(line for line in lines[1:] if line)
    for word in ("hot", "Gaussian noise", "cold", "blur", "pixelation", "fading", "masks", "your own"):
        assert word in first, word


def test_the_readme_names_every_folder() -> None:
    text = (ROOT / "README.md").read_text()
    tree = set(re.findall(r"^(diffcli/\w+)/ ", text, flags=re.MULTILINE))
    assert tree == {f"diffcli/{path.parent.name}" for path in (ROOT / "diffcli").glob("*/__init__.py")}
    for name in ("presets", "tests", "docs", "book", "benchmarks", "findings"):
        assert re.search(rf"^(\w+/ +)?{name}/ ", text, flags=re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_parses(page: Path) -> None:
    import typer

    from diffcli.cli import app

    root = typer.main.get_command(app)
    whole = commands(page)
    for command in whole + commands_in_text(page):
        _, name, *words = shlex.split(command.split(" > ")[0].replace("diffcli --plugin swirl.py", "diffcli"))
        child = root.commands[name]  # type: ignore[attr-defined]
        try:
            child.make_context(name, words)  # raises on an unknown option or a value of the wrong type
        except typer.BadParameter as error:  # a sentence may name a command without what it is given
            if type(error).__name__ != "MissingParameter" or command in whole:
                raise
        for preset in re.findall(r"--preset (\S+)", command):
            assert preset in preset_files() or preset.endswith(".yaml"), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_and_sampler_that_a_command_names_is_one(page: Path) -> None:
    for command in commands(page) + commands_in_text(page):
        words = shlex.split(command.split(" > ")[0])
        after = [(word, following) for word, following in pairwise(words) if word in ("--set", "--preset", "--sampler")]
        for sampler in [value for word, value in after if word == "--sampler"]:
            sampler_named(parse_argument(sampler, "--sampler"))
        assignments = dict(value.split("=", 1) for word, value in after if word == "--set")
        overrides = {key: parse_value(value, key) for key, value in assignments.items()}
        presets = [value for word, value in after if word == "--preset" and value in preset_files()]
        for preset in presets or (["quickstart"] if overrides else []):
            _, content = load_preset(preset, overrides)
            if content.data.name != "npz":  # whose shape is that of a file
                resolve(content, network=False)


def test_the_readme_shows_all_four_commands() -> None:
    names = {shlex.split(command)[1] for command in commands(ROOT / "README.md")}
    assert {"train", "sample", "eval", "schedule-plot"} <= names


def test_the_four_commands_run_one_after_another(cli, workplace: Path, small_presets: None) -> None:
    quick = {
        "train": "--epochs 1 --limit-batches 2 --accelerator cpu",
        "eval": "--n-test 5 --n-fid 5 --steps 2 --extractor classifier",
    }
    quick |= {"sample": "--steps 2", "restore": "--steps 2"}
    save_own_images()
    shutil.copytree("drawings", "photos")
    for copy in range(9):
        shutil.copy("photo.jpg", f"photos/{copy}.jpg")
    ran = set()
    of_ready_models = [command for command in commands_in_tables(ROOT / "README.md") if " --model " in command]
    for command in commands(ROOT / "README.md") + of_ready_models:
        _, name, *words = shlex.split(command)
        model = "ready" if "--model" in words else "own images" if "--images" in words else "digits"
        if (name, model) in ran or ">" in words:
            continue
        result = cli(name, *words, *shlex.split(quick.get(name, "")))
        assert result.code == 0, (command, result.err)
        ran.add((name, model))
    assert {"train", "sample", "eval", "schedule-plot", "restore"} <= {name for name, _ in ran}
    assert {("sample", "ready"), ("train", "own images")} <= ran
    assert Path("grid.png").is_file()


def test_every_preset_is_in_the_table() -> None:
    text = (ROOT / "docs" / "presets.md").read_text().split("## ")[0]
    names = {path.stem for path in (ROOT / "presets").glob("*.yaml")}
    assert names == set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, flags=re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text) + re.findall(r'<img src="([^"]+)"', text):
        assert (page.parent / target).is_file(), target
