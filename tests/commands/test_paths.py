"""Paths as a user writes them: ``~`` is the home folder in each option, argument, preset key and variable."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from conftest import TINY, Cli
from PIL import Image

import diffcli
from diffcli.cli import app
from diffcli.utils.cache import Cache, cache_folder
from diffcli.utils.errors import UserError
from diffcli.utils.files import path_in_environment, user_path

CPU = diffcli.Devices("cpu", "1")
TRAIN = ["train", "--preset", "tiny.yaml", "--epochs", "1", "--limit-batches", "1", "--accelerator", "cpu", "-q"]


@pytest.fixture
def home(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder beside the current one."""
    folder = workplace / "home" / "me"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    place = workplace / "here"
    place.mkdir()
    (place / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(place)
    return folder


@pytest.fixture
def homeless(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As in a container: no HOME, and a user whom the system does not know."""
    import pwd

    def nobody(user: object) -> None:
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    return workplace


def test_a_training_goes_whole_into_the_home_folder(home: Path, cli: Cli) -> None:
    result = cli(*TRAIN, "--out=~/run")
    assert (result.code, result.out) == (0, f"{home / 'run'}\n"), result
    assert {path.name for path in (home / "run").iterdir()} >= {"preset.yaml", "run.json", "checkpoints", "logs"}
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.yaml"]


def test_python_and_variables_mean_the_home_folder_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = Path("tiny.yaml").rename(home / "tiny.yaml")
    overrides = {"training.epochs": 1}
    run = diffcli.train("~/tiny.yaml", overrides, out="~/run", devices=CPU, quiet=True, limit_batches=1)
    assert run.folder == home / "run"
    assert diffcli.Run(Path("~/run")) == run
    monkeypatch.setenv("DIFFCLI_RUNS", "~/runs")
    mine = diffcli.train(preset, overrides, devices=CPU, quiet=True, limit_batches=1)
    assert mine.folder.parents[1] == home / "runs"
    assert diffcli.load("last", devices=CPU).run == mine
    assert diffcli.export("~/run", "~/model.safetensors") == [home / "model.safetensors"]
    monkeypatch.setenv("DIFFCLI_DATA", "~/data")
    with pytest.raises(UserError, match=f"{home}/data"):
        diffcli.train("ddpm-linear", devices=CPU, quiet=True)
    with pytest.raises(UserError, match=f"{home}/sets"):
        diffcli.train("ddpm-linear", data_dir="~/sets", devices=CPU, quiet=True)
    monkeypatch.setenv("DIFFCLI_CACHE", "~/cache")
    assert cache_folder() == home / "cache"
    assert not list(Path().iterdir())


def test_outputs_go_into_the_home_folder(home: Path, cli: Cli, hot_run: Path) -> None:
    Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12)).save(home / "a.png")
    for words in (
        ["sample", "--run", hot_run, "--n", 4, "--steps", 2, "--out=~/s.png", "--trajectory=~/t.gif"],
        ["restore", "~/a.png", "--run", hot_run, "--steps", 2, "--out=~/r.png"],
        ["export", hot_run, "--out=~/m.safetensors"],
        ["schedule-plot", "--preset", "~/../../here/tiny.yaml", "--out=~/p.csv"],
        ["degradation-report", "--preset", "tiny.yaml", "--n", 10, "--out=~/d.png"],
    ):
        result = cli(*words)
        assert result.code == 0, result
    assert {path.name for path in home.iterdir()} == {
        "a.png", "s.png", "t.gif", "r.png", "m.safetensors", "p.csv", "d.png"
    }  # fmt: skip
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.yaml"]


def test_every_path_of_the_command_line_is_a_users() -> None:
    count = 0
    for command in app.registered_commands:
        assert command.callback is not None
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items():
            kind, *settings = get_args(parameter.annotation)
            if kind is Path or Path in get_args(kind):
                assert settings[0].parser is user_path, f"{command.callback.__name__}: {name}"
                count += 1
    assert count > 20


NAMES_OF_RUNS = {"run", "runs", "preset", "resume", "init", "teacher", "study", "files"}
"""Fields that hold a name or a path; what looks the name up expands it."""


def option_classes() -> list[type[Any]]:
    from diffcli.evaluation.options import EvaluateOptions
    from diffcli.inference.options import ExportOptions, SampleOptions
    from diffcli.inference.restore_options import RestoreOptions
    from diffcli.studies.options import CompareOptions, StudyOptions
    from diffcli.training.options import TrainOptions

    return [CompareOptions, EvaluateOptions, ExportOptions, RestoreOptions, SampleOptions, StudyOptions, TrainOptions]


@pytest.mark.parametrize("kind", option_classes(), ids=lambda kind: kind.__name__)
def test_every_path_of_the_options_is_expanded(kind: type[Any], home: Path) -> None:
    arguments = {"TrainOptions": {"preset": "quickstart"}, "RestoreOptions": {"files": ["a.png"]}}
    arguments |= {"CompareOptions": {"runs": ["last"]}, "ExportOptions": {"out": "m.pt2"}}
    suffixes = {"trajectory": ".gif", "page": ".html", "out": ".png"}
    suffixes |= {"EvaluateOptions": {"out": ".json"}, "ExportOptions": {"out": ".pt2"}}.get(kind.__name__, {})
    suffixes |= {"CompareOptions": {"out": ".html"}}.get(kind.__name__, {})
    (home / "x").touch()
    names = [field.name for field in dataclasses.fields(kind) if "Path" in str(field.type)]
    assert set(names) - NAMES_OF_RUNS
    for name in set(names) - NAMES_OF_RUNS:
        path = f"~/x{suffixes.get(name, '')}"
        options = kind(**(arguments.get(kind.__name__, {}) | {name: path}))
        assert getattr(options, name) == home / path[2:], name


def test_names_that_begin_with_a_tilde_are_no_homes(home: Path) -> None:
    assert user_path("~") == home
    assert user_path(Path("~/a")) == home / "a"
    assert user_path("a/~/b") == Path("a/~/b")
    # Written with its folder, the name is a file's; and stays so when it is looked at again.
    assert user_path("./~x.png") == user_path(user_path("./~x.png")) == Path("~x.png").absolute()
    assert user_path("~$letter.png") == Path("~$letter.png")
    assert user_path("~nobody/x") == Path("~nobody/x")


def test_a_home_that_is_unknown_costs_a_line(homeless: Path, cli: Cli, tiny: Path, hot_run: Path) -> None:
    for words in (
        [*TRAIN, "--out=~/run"],
        ["sample", "--run", hot_run, "--out=~/s.png"],
        ["sample", "--run", "~/run"],
        ["restore", "~/a.png", "--run", hot_run],
        ["compare", hot_run, "--out=~/c.html"],
        ["train", "--preset", "~/x.yaml"],
        [*TRAIN, "--set", "data={name: folder, path: ~/pics, size: 8}"],
    ):
        result = cli(*words)
        assert (result.code, result.out) == (2, ""), result
        assert "the home folder is unknown here (HOME is not set); write the path out" in result.err
        assert result.err.count("\n") == 1
    assert [path.name for path in homeless.iterdir()] == ["tiny.yaml"]


def test_a_variable_whose_home_is_unknown_is_named(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIFFCLI_RUNS", "DIFFCLI_DATA", "DIFFCLI_CACHE"):
        monkeypatch.setenv(name, "~/x")
        with pytest.raises(UserError, match=f"^{name}: ~/x: the home folder is unknown here"):
            path_in_environment(name)
        monkeypatch.setenv(name, "")
        assert path_in_environment(name) is None


def test_without_a_home_nothing_is_cached(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from diffcli.cli.doctor import models
    from diffcli.evaluation.extractors import inception_cache

    monkeypatch.delenv("DIFFCLI_CACHE")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() is None
    cache = Cache()
    cache.save({"a": 1}, torch.zeros(2))
    assert cache.load({"a": 1}) is None
    assert inception_cache() is None
    assert models()["cache"] is None
    assert not list(homeless.iterdir())


def test_an_evaluation_without_a_home_makes_no_folder_of_that_name(homeless: Path, hot_run: Path) -> None:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("HOME", "DIFFCLI_CACHE", "TORCH_HOME")
    }
    code = (
        "import pwd\n"
        "def nobody(user): raise KeyError(user)\n"
        "pwd.getpwuid = nobody\n"
        "import diffcli, shutil\n"
        f"shutil.copytree({str(hot_run)!r}, 'run')\n"
        "print(diffcli.evaluate('run', ['fid'], 10, 10, devices=diffcli.Devices('cpu', '1'), quiet=True).scores)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    assert "classifier" in process.stdout
    assert [path.name for path in homeless.iterdir()] == ["run"]
