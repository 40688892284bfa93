"""The house rules: imports point one way, flags belong to the command line, nothing heavy loads before it is used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT, TESTS

PACKAGE = ROOT / "diffcli"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}
ORDER = [
    "utils",
    "diffusion",
    "networks",
    "data",
    "config",
    "checkpoints",
    "inference",
    "training",
    "evaluation",
    "studies",
    "play",
    "__init__",
    "cli",
    "__main__",
]
"""The packages, each of which imports from those before it alone."""
LONGEST = 500
MOST_PARAMETERS = 6


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """The modules of diffcli that a file imports, wherever it does, and for types alone, too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 0
            and node.module
            and node.module.split(".")[0] == "diffcli"
        ):
            wholes = {f"{node.module}.{name.name}" for name in node.names}
            names |= wholes & set(MODULES) or {node.module}
        elif isinstance(node, ast.Import):
            names |= {name.name for name in node.names if name.name.startswith("diffcli.")}
    return names & set(MODULES)


def test_the_tree_has_fourteen_names() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {part_of(file) for file in files} == {*ORDER, "py.typed"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_downwards(file: Path) -> None:
    below = {*ORDER[: ORDER.index(part_of(file))], part_of(file)}
    assert {part_of(MODULES[name]) for name in imports(file) if name != "diffcli"} <= below


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: imports(file) - {"diffcli", name} for name, file in MODULES.items() if name != "diffcli"}
    TopologicalSorter(graph).prepare()  # raises a CycleError that names them


def test_flags_belong_to_the_command_line() -> None:
    # The training of the shipped classifier is a program of its own.
    for file in set(FILES) - {PACKAGE / "evaluation" / "train_classifier.py"}:
        if part_of(file) != "cli":
            assert not re.search(r"(?<![\w-])--[a-z]", file.read_text()), file


def test_files_and_parameter_lists_are_short() -> None:
    for file in [
        *FILES,
        *TESTS.rglob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
        *(ROOT / "book").glob("*.py"),
    ]:
        text = file.read_text()
        assert len(text.splitlines()) <= LONGEST, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                own = [*node.args.posonlyargs, *node.args.args]
                count = len([argument for argument in own if argument.arg not in ("self", "cls")])
                assert count <= MOST_PARAMETERS, f"{file}: {node.name} has {count} positional parameters"


def test_unit_tests_lie_by_package_and_take_no_trained_model() -> None:
    runs = {"hot_run", "guided_run", "blur_run", "cluster_run"}
    for file in (TESTS / "unit").rglob("test_*.py"):
        assert file.parent.name in ORDER, file
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert not runs & {argument.arg for argument in node.args.args}, f"{file}: {node.name}"


def test_every_long_form_is_part_of_make_test_slow() -> None:
    makefile = (ROOT / "Makefile").read_text()
    match = re.search(r"^SLOW := ((?:.*\\\n)*.*)$", makefile, flags=re.MULTILINE)
    assert match is not None
    files = {TESTS / f"{name}.py" for name in match[1].replace("\\", " ").split()}
    long = {file for file in TESTS.rglob("test_*.py") if re.search(r"\bSLOW\b|mark\.slow", file.read_text())}
    assert files == long - {Path(__file__)}


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_package_and_its_help_load_no_heavy_package() -> None:
    code = (
        "import sys, {}; print(sorted({{'torch', 'lightning', 'matplotlib', 'pydantic', 'rich', 'yaml'}} & "
        "set(sys.modules)))"
    )
    assert run(code.format("diffcli")) == "[]"
    # Newer Typer releases bring Rich and pydantic along themselves.
    assert not {"torch", "lightning", "matplotlib", "yaml"} & set(ast.literal_eval(run(code.format("diffcli.cli"))))


def test_every_public_name_is_there() -> None:
    import diffcli

    for name in diffcli.__all__:
        assert getattr(diffcli, name) is not None
    assert set(diffcli.__all__) <= set(dir(diffcli))
