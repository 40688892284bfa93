"""The house rules: imports point one way, and the command line answers without loading PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "diffcli"
ALLOWED = {
    "diffusion": {"diffusion"},
    "networks": {"networks"},
    "data": {"data", "config", "errors"},
    "evaluation": {"evaluation", "data", "diffusion", "errors"},
    "reporting": {"reporting", "report", "data", "diffusion", "errors"},
}


def imported(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("diffcli."):
            modules.add(node.module.split(".")[1])
    return modules


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_one_way(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        assert imported(file) <= ALLOWED[room], file


def test_nothing_below_imports_the_commands() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.parent.name != "experiments" and file.name != "cli.py":
            assert "experiments" not in imported(file), file


def test_help_loads_no_heavy_package() -> None:
    code = "import sys, diffcli.cli; print(sorted({'torch', 'lightning', 'matplotlib', 'pydantic'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Newer Typer releases bring pydantic along themselves.
    assert result.stdout.strip() in ("[]", "['pydantic']")


def test_sampling_and_evaluation_load_no_lightning(trained: Path) -> None:
    code = (
        "import sys\n"
        "from diffcli.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'lightning', 'sklearn', 'torchmetrics'} & set(sys.modules)))\n"
    )
    run = ["--run", str(trained), "--steps", "2", "-q", "--accelerator", "cpu"]
    for words, expected in (
        (["sample", *run, "--n", "1", "--out", "one.png"], []),
        (["eval", *run, "--rmse", "--n-test", "2"], ["sklearn", "torchmetrics"]),
    ):
        result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert result.stdout.splitlines()[-1] == str(expected)
