"""YAML as presets and the command line write it: what is a number, what is text, and that both are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import TINY, Cli

from diffcli.cli.flags import overrides
from diffcli.config.notation import as_yaml, parse_argument, parse_value
from diffcli.config.presets import load_preset, sampler_named
from diffcli.utils.errors import UserError

ARGUMENTS = {
    "pics #2": "pics #2",
    "#ffffff": "#ffffff",
    "a: b": "a: b",
    "- x": "- x",
    "@home": "@home",
    "*.png": "*.png",
    "!important": "!important",
    "0123": "0123",
    "1_000": "1_000",
    "2024_01": "2024_01",
    "1:30": "1:30",
    "2024-01-01": "2024-01-01",
    "yes": "yes",
    "off": "off",
    "it's": "it's",
    " ddim ": "ddim",
    "5": 5,
    "-5": -5,
    "0": 0,
    "0x10": 16,
    "2e-4": 2e-4,
    "1.": 1.0,
    ".5": 0.5,
    "true": True,
    "False": False,
    "null": None,
    "": None,
    '"5"': "5",
    "'pics #2'": "pics #2",
    "[1, 2.5, a]": [1, 2.5, "a"],
    "{name: folder, path: pics #2, background: #fff, size: [8, 9]}": {
        "name": "folder",
        "path": "pics #2",
        "background": "#fff",
        "size": [8, 9],
    },
    "{name: ddim, eta: 1e-1}": {"name": "ddim", "eta": 0.1},
    "{classes: [no, 08, 1_000]}": {"classes": ["no", "08", "1_000"]},
}


@pytest.mark.parametrize("text", ARGUMENTS)
def test_an_argument_is_a_number_or_yaml_or_the_text_as_it_stands(text: str) -> None:
    value = parse_argument(text, "here")
    assert value == ARGUMENTS[text]
    assert type(value) is type(ARGUMENTS[text])
    assert overrides([f"data.path={text}"]) == {"data.path": ARGUMENTS[text]}


@pytest.mark.parametrize(
    "text", ["[1", "{a: 1", "[a] b", "'a", '"a" b', "{a: 1, a: 2}", "[&a 1, *a]", "[!!python/name:os 1]"]
)
def test_what_begins_as_yaml_is_yaml(text: str) -> None:
    with pytest.raises(UserError, match="here is not valid YAML") as error:
        parse_argument(text, "here")
    assert "\n" not in str(error.value)


def test_a_file_has_comments_and_the_same_scalars() -> None:
    text = "path: pics #2\nseed: 0123\nlr: 1e-3\nclip: yes\nday: 2024-01-01\ntime: 1:30\ncount: 5\n"
    assert parse_value(text, "here") == {
        "path": "pics",
        "seed": "0123",
        "lr": 1e-3,
        "clip": "yes",
        "day": "2024-01-01",
        "time": "1:30",
        "count": 5,
    }


HINTS = {
    (
        "seed: 0",
        "seed: 0123",
    ): "training.seed: input should be a valid integer, got '0123'; write it without the leading zero, 123",
    (
        "sampler: {",
        "sampler: {clip: yes, ",
    ): "sampler.clip: input should be a valid boolean, got 'yes'; write true or false",
    (
        "{name: digits}",
        "{name: folder, path: 2024, size: 8}",
    ): "data.path: input should be a valid string, got 2024; quotes make it text",
    ("{name: digits}", "{name: folder, pth: x, size: 8}"): "unknown key 'data.pth'; did you mean 'data.path'",
    ("epochs: 2", "epochs: 2, epochs: 3"): "key 'epochs' is given twice",
}


@pytest.mark.parametrize("change", HINTS, ids=range(len(HINTS)))
def test_what_reads_as_another_type_is_refused_with_what_would_be_right(
    cli: Cli, workplace: Path, change: tuple[str, str]
) -> None:
    text = TINY.replace("training: {", "training: {seed: 0, ").replace(*change)
    Path("mine.yaml").write_text(text)
    result = cli("train", "--preset", "mine.yaml", "--out", "run")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert HINTS[change] in result.err
    assert not Path("run").exists()


def test_a_folder_of_any_name_can_be_set(cli: Cli, tiny: Path) -> None:
    import numpy as np
    from PIL import Image

    for name in ("pics #2", "pics", "0123", "2024-01-01"):
        Path(name).mkdir()
        for number in range(12 if name != "pics" else 3):
            Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(f"{name}/{number}.png")
    for name in ("pics #2", "0123", "2024-01-01"):
        preset = load_preset(
            str(tiny), overrides(["data={name: folder, path: x, size: 8, channels: 1}", f"data.path={name}"])
        )[1]
        assert preset.data.parameters["path"] == name
        result = cli(
            "train",
            "--preset",
            tiny,
            "--set",
            f"data={{name: folder, path: {name}, size: 8, channels: 1}}",
            "--dry-run",
        )
        assert result.code == 0, result.err
        assert f"# {name}: 12 images of 12 files" in result.out


def test_a_sampler_is_read_as_other_arguments_are() -> None:
    assert sampler_named("ddim").name == "ddim"
    assert sampler_named("{name: ddim, eta: 0.5}").parameters == {"eta": 0.5}
    assert sampler_named("yes").name == "yes"
    assert sampler_named("0123").name == "0123"


@pytest.mark.parametrize(
    "text", ["1e-3", "08", "0123", "yes", "1:30", "null", "", "pics #2", "2024-01-01", "0x10", ".5", "<<", "=", "~"]
)
def test_text_is_written_as_text_for_every_reader(text: str) -> None:
    document = as_yaml({"path": text, "classes": [text]})
    assert parse_value(document, "here") == yaml.safe_load(document) == {"path": text, "classes": [text]}
