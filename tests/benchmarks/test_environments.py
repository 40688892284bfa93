"""The wheel in empty environments: what of it is tried, and the table of what came of that."""

from __future__ import annotations

import re
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from benchmarks import environments
from benchmarks.cells import read_cells
from benchmarks.rounds import put

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


CELLS = list(read_cells(environments.STORE).values())


def test_each_python_that_the_package_names_has_a_row_and_none_fails() -> None:
    versions = set(re.findall(r"Programming Language :: Python :: (3\.\d+)", PYPROJECT))
    first = re.search(r'requires-python = ">=(3\.\d+)"', PYPROJECT)
    assert first is not None
    assert environments.minor(first[1]) == min(map(environments.minor, versions))
    outcomes = [(environments.minor(row[0]), row[-1]) for row in environments.rows()]
    assert set(map(environments.minor, versions)) <= {version for version, _ in outcomes}
    assert {outcome for _, outcome in outcomes} <= {"works", environments.NOT_TRIED}


def test_the_lower_bounds_were_tried_and_work() -> None:
    """Those of ``pyproject.toml`` as it is now: a bound that moves is tried again."""
    block = re.search(r"^dependencies = \[\n(.*?)^\]", PYPROJECT, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    requirements = list(map(Requirement, re.findall(r'"([^"]+)"', block[1])))
    lowest = [cell for cell in CELLS if cell["dependencies"] == "lowest"]
    assert lowest
    for cell in lowest:
        assert cell["outcome"] == "works"
        assert set(cell["versions"]) == {one.name for one in requirements}
        for one in requirements:
            assert cell["versions"][one.name] in Requirement(environments.lowest(one)).specifier, one


def test_the_table_is_that_of_the_store() -> None:
    page = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    assert put(page, "environments", environments.text()) == page


def test_a_file_that_a_wheel_lacks_is_named(tmp_path: Path) -> None:
    for name in ("diffcli/py.typed", "diffcli/play/page.css", "presets/quickstart.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with zipfile.ZipFile(tmp_path / "one.whl", "w") as archive:
        archive.writestr("diffcli/py.typed", "")
    lacks = {"diffcli/play/page.css", "diffcli/config/preset_files/quickstart.yaml"}
    assert environments.missing_files(tmp_path / "one.whl", tmp_path) == lacks


def test_the_lowest_dependencies_are_those_without_extras() -> None:
    about = Message()
    for line in ("torch>=2.11", "lightning<2.7,>=2.6", "onnx>=1.17; extra == 'fast'"):
        about["Requires-Dist"] = line
    requirements = environments.dependencies(about)
    assert [environments.lowest(one) for one in requirements] == ["torch==2.11", "lightning==2.6"]
    with pytest.raises(ValueError, match="not enough values"):
        environments.lowest(Requirement("numpy"))


def test_a_cap_in_the_settings_of_pip_stands_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "caps.txt").write_text("# of this machine\ntorch<=2.14.1  # on its disk\n\n")
    settings = f":env:.timeout='9'\nglobal.constraint='{tmp_path / 'caps.txt'}'\nglobal.cert='/constraint'\n"
    monkeypatch.setattr(environments, "call", lambda *command: settings)
    assert environments.pip_constraints(Path("python")) == ["torch<=2.14.1"]
    facts = {"python": "3.12.1", "package": "wheel", "versions": {}, "outcome": "works", "date": "today"}
    cells = {name: facts | {"dependencies": name, "constraints": ["torch<=2.14.1"]} for name in ("lowest", "newest")}
    monkeypatch.setattr(environments, "read_cells", lambda file: cells)
    assert [row[2] for row in environments.rows() if row[0] == "3.12.1"] == ["lowest", "newest of `torch<=2.14.1`"]
    monkeypatch.setattr(environments, "call", lambda *command: ":env:.timeout='9'\n")
    assert environments.pip_constraints(Path("python")) == []
