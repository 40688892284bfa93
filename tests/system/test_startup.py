"""What each command loads, counted in modules: none imports what it does not use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Cli
from PIL import Image

HEAVY = {
    "gradio",
    "jinja2",
    "lightning",
    "matplotlib",
    "rich.progress",
    "scipy",
    "sklearn",
    "sympy",
    "tensorboard",
    "torch",
    "torch._dynamo",
    "torchmetrics",
    "torchvision",
}
CODE = """\
import json, sys
from diffcli.cli import main

heavy, commands = json.loads(sys.argv[1])
for command in commands:
    try: main(command)
    except SystemExit as end: assert not end.code, (command, end.code)
    print("loaded", json.dumps(sorted(set(heavy) & set(sys.modules))))
"""
OF_DIGITS = {"sklearn", "scipy", "rich.progress"}
"""scikit-learn, which holds the digits, and what it may load."""


@pytest.fixture
def copied(trained: Path, workplace: Path) -> Path:
    """A run that an evaluation may write into; beside it an image and a mask."""
    for name, levels in (("photo", [90] * 4), ("mask", [0, 255] * 2)):
        Image.frombytes("L", (2, 2), bytes(levels)).save(workplace / f"{name}.png")
    return Path(shutil.copytree(trained, workplace / "run"))


def loaded(*commands: Sequence[object]) -> list[set[str]]:
    """The heavy packages that a new process has loaded after each of its commands."""
    words = [[str(word) for word in command] for command in commands]
    argument = json.dumps([sorted(HEAVY), words])
    done = subprocess.run([sys.executable, "-c", CODE, argument], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("loaded ") for line in done.stdout.splitlines() if line.startswith("loaded [")]
    assert len(lines) == len(commands)
    return [set(json.loads(line)) for line in lines]


# In one process, commands that may load the same: what any of them loads is there after it.
@pytest.mark.parametrize(
    ("commands", "allowed"),
    [
        ([["runs"], ["presets"], ["models"]], set()),
        (
            [
                ["doctor"],
                ["schedule-plot", "--preset", "quickstart", "--out", "plot.csv"],
                ["sample", "RUN", "--n", "2", "--out", "two.png", "--trajectory", "two.gif"],
                ["restore", "photo.png", "RUN", "--out", "rows.png"],
                ["restore", "photo.png", "RUN", "--mask", "mask.png", "--out", "painted"],
            ],
            {"torch"},
        ),
        ([["sample", "RUN", "--n", "2", "--conditional", "--out", "rows.png"]], {"torch", "matplotlib"} | OF_DIGITS),
    ],
    ids=lambda value: value[0][0] if isinstance(value, list) else "",
)
def test_a_command_loads_what_it_uses(copied: Path, commands: list[list[str]], allowed: set[str]) -> None:
    run = ["--run", str(copied), "--steps", "2", "--accelerator", "cpu"]
    typed = [[part for word in words for part in (run if word == "RUN" else [word])] for words in commands]
    for command, heavy in zip(typed, loaded(*typed), strict=True):
        assert heavy <= allowed, command


def test_an_evaluation_and_a_comparison_of_evaluated_runs_load_no_metrics(cli: Cli, copied: Path) -> None:
    effort = ["--n-test", "2", "--n-fid", "4", "--steps", "2", "--extractor", "classifier", "--accelerator", "cpu"]
    compared = ["compare", copied, *effort]
    assert cli(*compared).code == 0
    evaluated = ["eval", "--run", copied, "--rmse", "--loss", *effort[:2], *effort[4:6], *effort[-2:]]
    for heavy in loaded(compared, evaluated):
        assert heavy <= {"torch"} | OF_DIGITS


SPINS = (
    "import os, sys\n"
    "from diffcli.cli import main\n"
    "try: main(['--version'])\n"
    "except SystemExit: pass\n"
    "print({name: os.environ.get(name) for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')}, 'torch' in sys.modules)\n"
)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": None}),
        ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "7"}),
    ],
)
def test_waiting_threads_yield_unless_the_user_says_otherwise(
    chosen: dict[str, str], expected: dict[str, str | None]
) -> None:
    outside = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, "-c", SPINS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=outside | chosen)
    assert done.stdout.splitlines()[-1] == f"{expected} False"


def test_the_spins_are_not_set_once_pytorch_is_loaded() -> None:
    import torch  # noqa: F401

    from diffcli.utils.devices import yield_cores

    environment: dict[str, str] = {}
    yield_cores(environment)
    assert environment == {}
