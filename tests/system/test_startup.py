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
def run_copy(hot_run: Path, workplace: Path) -> Path:
    """A run that an evaluation may write into; beside it an image and a mask."""
    for name, levels in (("photo", [90] * 4), ("mask", [0, 255] * 2)):
        Image.frombytes("L", (2, 2), bytes(levels)).save(workplace / f"{name}.png")
    return Path(shutil.copytree(hot_run, workplace / "run"))


def packages_of(*commands: Sequence[object]) -> list[set[str]]:
    """The heavy packages that a new process has loaded after each of its commands."""
    words = [[str(word) for word in command] for command in commands]
    argument = json.dumps([sorted(HEAVY), words])
    process = subprocess.run([sys.executable, "-c", CODE, argument], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    lines = [line.removeprefix("loaded ") for line in process.stdout.splitlines() if line.startswith("loaded [")]
    assert len(lines) == len(commands)
    return [set(json.loads(line)) for line in lines]


# In one process, commands that may load the same: what any of them loads is there after it.
@pytest.mark.parametrize(
    ("commands", "packages"),
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
def test_a_command_loads_what_it_uses(run_copy: Path, commands: list[list[str]], packages: set[str]) -> None:
    run = ["--run", str(run_copy), "--steps", "2", "--accelerator", "cpu"]
    calls = [[part for word in words for part in (run if word == "RUN" else [word])] for words in commands]
    for command, heavy in zip(calls, packages_of(*calls), strict=True):
        assert heavy <= packages, command


def test_an_evaluation_and_a_comparison_of_evaluated_runs_load_no_metrics(cli: Cli, run_copy: Path) -> None:
    effort = ["--n-test", "2", "--n-fid", "4", "--steps", "2", "--extractor", "classifier", "--accelerator", "cpu"]
    comparison = ["compare", run_copy, *effort]
    assert cli(*comparison).code == 0
    evaluation = ["eval", "--run", run_copy, "--rmse", "--loss", *effort[:2], *effort[4:6], *effort[-2:]]
    for heavy in packages_of(comparison, evaluation):
        assert heavy <= {"torch"} | OF_DIGITS


SPINS = (
    "import os, sys\n"
    "from diffcli.cli import main\n"
    "try: main(['--version'])\n"
    "except SystemExit: pass\n"
    "print({name: os.environ.get(name) for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')}, 'torch' in sys.modules)\n"
)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": None}),
        ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "7"}),
    ],
)
def test_waiting_threads_yield_unless_the_user_says_otherwise(
    settings: dict[str, str], expected: dict[str, str | None]
) -> None:
    outside = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, "-c", SPINS]
    process = subprocess.run(command, capture_output=True, text=True, check=True, env=outside | settings)
    assert process.stdout.splitlines()[-1] == f"{expected} False"


def test_the_spins_are_not_set_once_pytorch_is_loaded() -> None:
    import torch  # noqa: F401

    from diffcli.utils.devices import yield_cores

    environment: dict[str, str] = {}
    yield_cores(environment)
    assert environment == {}
