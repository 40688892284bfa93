"""The house rules: imports point one way, flags belong to the command line, nothing heavy loads before it is used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "diffcli"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS: list[set[str]] = [
    {"errors", "diffusion", "networks"},
    {"paths"},
    {"config", "data", "files", "output", "bars", "options", "checkpoints", "origins", "notation"},
    {"presets", "registry", "peers", "progress", "evaluation", "testing"},
    {"plugins", "devices", "runs", "reporting", "sampler_options", "stored"},
    {"assembly", "computing", "sessions", "studies", "ready"},
    {"generation"},
    {"restoration", "trained", "trial"},
    {"model", "training", "graphs"},
    {"loading"},
    {"experiments", "play"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
"""Each module imports from its own package and from the layers before its own."""
LONGEST = 500
MOST_PARAMETERS = 6


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """The parts of diffcli that a file imports, wherever it does."""
    parts = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "diffcli":
            _, *rest = node.module.split(".")
            parts |= {rest[0]} if rest else {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            parts |= {name.name.split(".")[1] for name in node.names if name.name.startswith("diffcli.")}
    return parts - {part_of(file), "__version__"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    (layer,) = [number for number, layer in enumerate(LAYERS) if part_of(file) in layer]
    below = set().union(*LAYERS[:layer])
    assert imported(file) <= below


def test_flags_belong_to_the_command_line() -> None:
    # The training of the shipped classifier is a program of its own.
    for file in set(FILES) - {PACKAGE / "evaluation" / "train_classifier.py"}:
        if part_of(file) != "cli":
            assert not re.search(r"(?<![\w-])--[a-z]", file.read_text()), file


def test_files_and_parameter_lists_are_short() -> None:
    for file in [
        *FILES,
        *(ROOT / "tests").glob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
        *(ROOT / "book").glob("*.py"),
    ]:
        text = file.read_text()
        assert len(text.splitlines()) <= LONGEST, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and part_of_command(file) is False:
                own = [*node.args.posonlyargs, *node.args.args]
                count = len([argument for argument in own if argument.arg not in ("self", "cls")])
                assert count <= MOST_PARAMETERS, f"{file}: {node.name} has {count} positional parameters"


def part_of_command(file: Path) -> bool:
    """Whether a file's functions are Typer commands."""
    return file.parent.name == "cli"


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_package_and_its_help_load_no_heavy_package() -> None:
    code = "import sys, {}; print(sorted({{'torch', 'lightning', 'matplotlib', 'pydantic', 'rich', 'yaml'}} & set(sys.modules)))"
    assert run(code.format("diffcli")) == "[]"
    # Newer Typer releases bring Rich and pydantic along themselves.
    assert not {"torch", "lightning", "matplotlib", "yaml"} & set(ast.literal_eval(run(code.format("diffcli.cli"))))


def test_every_public_name_is_there() -> None:
    import diffcli

    for name in diffcli.__all__:
        assert getattr(diffcli, name) is not None
    assert set(diffcli.__all__) <= set(dir(diffcli))
