"""The wheel and the sdist in empty environments, with the newest and with the lowest dependencies that
``pyproject.toml`` allows: installed by pip, and tried in an empty folder outside the checkout.

    python -m benchmarks.environments --python python3.10 python3.13    # the wheel, with the newest
    python -m benchmarks.environments --python python3.10 --lowest      # each dependency at its lower bound
    python -m benchmarks.environments --python python3.12 --sdist
    python -m benchmarks.environments                                   # writes the table into docs/stability.md

An environment takes minutes and, with CUDA's packages, six gigabytes, which are given back.
``--index-url`` is pip's, for an index of builds without CUDA.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import diffcli
from benchmarks.cells import keep, read_cells
from benchmarks.rounds import put, table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "stability.md"
STORE = ROOT / "docs" / "evaluations" / "environments.json"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
NOT_TRIED = "not tried"
PACKAGES = ("torch", "torchvision", "lightning", "numpy")
"""Dependencies whose versions the table has."""
COMMANDS = (
    "presets",
    "doctor",
    "train --preset quickstart --epochs 2 --out run",
    "train --resume run --epochs 3",
    "sample --run run --n 4 --steps 20 --out grid.png --trajectory grid.gif",
    "sample --model mnist-fast --label 0-9 --steps 4 --out digits.png",
    "eval --run run --n-fid 50 --n-test 20 --steps 10",
    "compare run --n-fid 50 --n-test 20 --steps 10 --out compare.html",
    "restore digits.png --run mnist-fast --t 10 --out restored.png",
    "schedule-plot --preset ddpm-const-lowbeta --preset ddpm-const-highbeta --out schedules.png",
    "export run --out model.safetensors",
)
"""Of diffcli, one after the other, in a folder that is empty before the first."""
TRIAL = """
import sys, warnings
# What a library announces to take away, where it is diffcli that uses it.
for category in (DeprecationWarning, FutureWarning):
    warnings.filterwarnings("error", category=category, module="diffcli")
import diffcli
from diffcli.cli import main
assert diffcli.__file__.startswith(sys.prefix), diffcli.__file__
for line in sys.argv[1:]:
    print("diffcli", line, file=sys.stderr, flush=True)
    try:
        main(line.split())
    except SystemExit as end:
        if end.code:
            sys.exit(f"`diffcli {line}`: code {end.code}")
assert diffcli.load("run").sample(4, seed=0, quiet=True).shape == (4, 1, 8, 8)
"""
VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in sys.argv[1:]}}))
"""


class Failure(Exception):
    """A command that ended with another code than 0."""


def call(*command: str | Path, folder: Path | None = None) -> str:
    """The stdout of a command that sees nothing of the checkout.

    Raises:
        Failure: it fails; has the last two lines that it printed, the last one first.
    """
    own = ("PYTHON", "VIRTUAL_ENV", "DIFFCLI_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    process = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    if process.returncode:
        print(process.stdout, process.stderr, sep="\n", file=sys.stderr)
        raise Failure("; ".join(reversed(process.stderr.strip().splitlines()[-2:])))
    return process.stdout


def build(work: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made of it, which has all of the package."""
    python = environment(sys.executable, work / "build")
    call(python, "-m", "pip", "install", "--quiet", "build")
    call(python, "-m", "build", "--outdir", work / "dist", ROOT)
    (sdist,), (wheel,) = ((work / "dist").glob(f"*{suffix}") for suffix in (".tar.gz", ".whl"))
    if gaps := missing_files(wheel):
        raise SystemExit(f"the wheel lacks {', '.join(sorted(gaps))}")
    return sdist, wheel


def missing_files(wheel: Path, root: Path = ROOT) -> set[str]:
    """The files of the package and the presets of a checkout that a wheel lacks."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    files = {file.relative_to(root).as_posix() for file in (root / "diffcli").rglob("*") if file.is_file()}
    presets = {f"diffcli/config/preset_files/{file.name}" for file in (root / "presets").iterdir()}
    return {name for name in files | presets if "__pycache__" not in name} - inside


def environment(python: str, folder: Path) -> Path:
    """The interpreter of a new, empty environment."""
    call(python, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def metadata(wheel: Path) -> Message:
    """The wheel's name, requirements and classifiers."""
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(file))


def dependencies(about: Message) -> list[Requirement]:
    """What is installed with the package, without extras."""
    every = map(Requirement, about.get_all("Requires-Dist", []))
    return [one for one in every if one.marker is None or one.marker.evaluate({"extra": ""})]


def lowest(requirement: Requirement) -> str:
    """The requirement of the lowest version that is allowed."""
    (bound,) = (one.version for one in requirement.specifier if one.operator == ">=")
    return f"{requirement.name}=={bound}"


def outcome_of(python: Path, folder: Path) -> str:
    """Runs the commands with the interpreter of an environment; ``works``, or what fails and how."""
    folder.mkdir()
    try:
        call(python.with_name("diffcli"), "--version", folder=folder)
        call(python.with_name("tensorboard"), "--version_tb", folder=folder)  # docs/how-to/loggers.md says to start it
        # One process imports PyTorch once.
        call(python, "-c", TRIAL, *COMMANDS, folder=folder)
    except Failure as failure:
        return str(failure)
    return "works"


def install(
    python: Path, work: Path, package: Path, requirements: list[Requirement], options: argparse.Namespace
) -> None:
    """Installs the package into an environment.

    Raises:
        Failure: pip cannot.
    """
    bounds = work / "lowest.txt"
    bounds.write_text("\n".join(map(lowest, requirements)) if options.lowest else "")
    index = ["--index-url", options.index_url] if options.index_url else []
    # Byte code is made of what is used.
    call(python, "-m", "pip", "install", "--quiet", "--no-compile", "--constraint", bounds, *index, package)


def pip_constraints(python: Path) -> list[str]:
    """The constraints that the settings of pip put on every installation: they cap what is newest."""
    settings = call(python, "-m", "pip", "config", "list")
    files = " ".join(re.findall(r"^(?:global|install|:env:)\.constraint='(.*)'$", settings, flags=re.MULTILINE)).split()
    lines = [line for file in dict.fromkeys(files) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def cell(python: Path, outcome: str, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """What is kept of an environment.

    Args:
        names: of the dependencies whose versions are kept.
    """
    versions = json.loads(call(python, "-c", VERSIONS, *names))
    return {
        "python": versions.pop("python"),
        "package": "sdist" if options.sdist else "wheel",
        "dependencies": "lowest" if options.lowest else "newest",
        "outcome": outcome,
        "constraints": pip_constraints(python),
        "versions": versions,
        "diffcli": diffcli.__version__,
        "date": str(date.today()),
    }


def measure(
    interpreter: str, package: Path, requirements: list[Requirement], options: argparse.Namespace
) -> dict[str, Any]:
    """Makes an environment, and says what is in it and what came of the commands."""
    with tempfile.TemporaryDirectory(dir=options.at, prefix="environment-") as folder:
        work = Path(folder)
        python = environment(interpreter, work / "venv")
        try:
            install(python, work, package, requirements, options)
        except Failure as failure:
            return cell(python, f"`pip install`: {failure}", [], options)
        return cell(python, outcome_of(python, work / "empty"), [one.name for one in requirements], options)


def keep_cell(facts: dict[str, Any]) -> None:
    print(*(facts[key] for key in ("python", "package", "dependencies", "outcome")), sep="; ", flush=True)
    first, second = minor(facts["python"])
    keep(STORE, {f"{first}.{second}; {facts['package']}; {facts['dependencies']}": facts}, by_key=True)


def minor(version: str) -> tuple[int, int]:
    """3.10.13: (3, 10)."""
    first, second = version.split(".")[:2]
    return int(first), int(second)


def rows() -> Iterator[list[str]]:
    """A row for each environment that was tried, and one for each Python that was not, by Python."""
    cells = sorted(read_cells(STORE).values(), key=lambda one: minor(one["python"]))
    for version in PYTHONS:
        of_version = [one for one in cells if minor(one["python"]) == minor(version)]
        for one in of_version:
            versions = [one["versions"].get(name, "") for name in PACKAGES]
            caps = one.get("constraints", []) if one["dependencies"] == "newest" else []
            dependency_text = f"newest of {', '.join(f'`{cap}`' for cap in caps)}" if caps else one["dependencies"]
            yield [one["python"], one["package"], dependency_text, *versions, one["date"], one["outcome"]]
        if not of_version:
            yield [version, *[""] * (3 + len(PACKAGES)), NOT_TRIED]


def text() -> str:
    """The table of the environments that were tried."""
    return table(["Python", "installed", "dependencies", *PACKAGES, "tried", "outcome"], list(rows()))


def write() -> None:
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "environments", text()), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[], help="Interpreters, one environment each.")
    parser.add_argument("--lowest", action="store_true", help="Each dependency at its lower bound.")
    parser.add_argument("--sdist", action="store_true", help="The sdist in place of the wheel.")
    parser.add_argument("--at", type=Path, help="Folder that the environments are made in.")
    parser.add_argument("--index-url", help="pip's.")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=options.at, prefix="build-") as folder:
        sdist, wheel = build(Path(folder)) if options.python else (Path(), Path())
        for interpreter in options.python:
            package = sdist if options.sdist else wheel
            keep_cell(measure(interpreter, package, dependencies(metadata(wheel)), options))
    write()


if __name__ == "__main__":
    main()
