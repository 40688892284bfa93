"""What each command loads, counted in modules: none imports what it does not use."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
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
CODE = (
    "import sys\n"
    "from diffcli.cli import main\n"
    "try: main(sys.argv[2:])\n"
    "except SystemExit as end: assert not end.code, end.code\n"
    "print(sorted(set(sys.argv[1].split(',')) & set(sys.modules)))\n"
)
OF_DIGITS = {"sklearn", "scipy", "rich.progress"}
"""scikit-learn, which holds the digits, and what it may load."""


@pytest.fixture
def copied(trained: Path, workplace: Path) -> Path:
    """A run that an evaluation may write into; beside it an image and a mask."""
    for name, levels in (("photo", [90] * 4), ("mask", [0, 255] * 2)):
        Image.frombytes("L", (2, 2), bytes(levels)).save(workplace / f"{name}.png")
    return Path(shutil.copytree(trained, workplace / "run"))


def loaded(*words: object) -> set[str]:
    """The heavy packages that a process has loaded when the command is done."""
    command = [sys.executable, "-c", CODE, ",".join(HEAVY), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(ast.literal_eval(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["runs"], set()),
        (["presets"], set()),
        (["models"], set()),
        (["doctor"], {"torch"}),
        (["sample", "RUN", "--n", "2", "--out", "two.png", "--trajectory", "two.gif"], {"torch"}),
        (["sample", "RUN", "--n", "2", "--conditional", "--out", "rows.png"], {"torch", "matplotlib"} | OF_DIGITS),
        (["restore", "photo.png", "RUN", "--out", "rows.png"], {"torch"}),
        (["restore", "photo.png", "RUN", "--mask", "mask.png", "--out", "painted"], {"torch"}),
        (["eval", "RUN", "--rmse", "--loss", "--n-test", "2"], {"torch"} | OF_DIGITS),
        (["schedule-plot", "--preset", "quickstart", "--out", "plot.csv"], {"torch"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_what_it_uses(copied: Path, words: list[str], allowed: set[str]) -> None:
    run = ["--run", copied, "--steps", "2", "--accelerator", "cpu"]
    command = [part for word in words for part in (run if word == "RUN" else [word])]
    assert loaded(*command) <= allowed


def test_a_comparison_of_evaluated_runs_loads_no_metrics(copied: Path) -> None:
    effort = ["--n-test", "2", "--n-fid", "4", "--steps", "2", "--extractor", "classifier", "--accelerator", "cpu"]
    loaded("compare", copied, *effort)
    assert loaded("compare", copied, *effort) <= {"torch"} | OF_DIGITS


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
