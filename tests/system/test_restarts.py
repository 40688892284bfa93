"""Programs that no further process can start, and runs that nothing can be written into: a line before any work."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

import diffcli
from diffcli.utils.devices import devices_of

CPU = diffcli.Devices("cpu", "1")
PROGRAM = """\
import sys, diffcli

two = diffcli.Devices("cpu", "2", strategy="ddp")
CALLS = {
    "train": lambda: diffcli.train("tiny.yaml", {"training.epochs": 1}, out="run", devices=two, quiet=True),
    "number": lambda: diffcli.train("tiny.yaml", out="run", devices=2, quiet=True),
    "evaluate": lambda: diffcli.evaluate(RUN, ["loss"], devices=two, quiet=True),
    "study": lambda: diffcli.study("degradations", out="study", devices=two, quiet=True),
}
sources = SOURCES
for name, call in CALLS.items():
    for sys.argv[0] in sources:
        try:
            call()
        except diffcli.UserError as error:
            print(name, error)
if DONE:
    print(diffcli.evaluate(RUN, ["loss"], 5, out=DONE, quiet=True).file)
"""
"""Asks for two processes in each way, and for one at the end."""
CALLS = ("train", "number", "evaluate", "study")


def lines_of(run: Path, how: list[str], sources: str = "[sys.argv[0]]", out: str = "") -> list[str]:
    """What the program prints, line by line; it is given to Python as an argument or as its input."""
    program = PROGRAM.replace("RUN", repr(str(run))).replace("SOURCES", sources).replace("DONE", repr(out))
    words, text = ([*how, program], None) if how == ["-c"] else (how, program)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, *words], input=text, capture_output=True, text=True, timeout=300, env=environment
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout.splitlines()


def refusal(origin: str) -> str:
    return (
        f"2 processes are asked for, and each of them starts this program again, which came {origin}: write it into a "
        "file and run that, or take `devices` 1"
    )


def test_a_program_of_the_command_line_takes_one_process(workplace: Path, tiny: Path, hot_run: Path) -> None:
    *refusals, answer = lines_of(hot_run, ["-c"], out="x.json")
    assert refusals == [f"{name} {refusal('from python -c')}" for name in CALLS]
    assert answer == "x.json"  # one process needs no file
    assert {path.name for path in workplace.iterdir()} == {"tiny.yaml", "x.json"}


def test_a_program_of_standard_input_or_whose_file_is_gone_takes_one_process(
    workplace: Path, tiny: Path, hot_run: Path
) -> None:
    # Python calls a program of its input by a dash where that was asked for, and by nothing where it was not.
    lines = lines_of(hot_run, ["-"], sources="[sys.argv[0], '', 'gone.py']")
    origins = ["from standard input", "from standard input", "from gone.py, which is no file here"]
    assert lines == [f"{name} {refusal(source)}" for name in CALLS for source in origins]
    assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]


def test_a_number_of_devices_is_enough(workplace: Path, tiny: Path) -> None:
    assert devices_of(2) == devices_of("2") == devices_of(diffcli.Devices(devices=2)) == diffcli.Devices(devices="2")  # type: ignore[arg-type]
    for value in (None, True, ["0"]):
        with pytest.raises(diffcli.UserError, match=r"^`devices` .*: give a number, or diffcli\.Devices"):
            diffcli.train("tiny.yaml", devices=value, quiet=True)  # type: ignore[arg-type]
    assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that cannot be written; in place of chmod, which does not bind root."""
    temporary = tempfile.TemporaryFile

    def refuse(*args: Any, **kwargs: Any) -> Any:
        if Path(kwargs.get("dir") or ".").resolve().is_relative_to(folder.resolve()):
            raise OSError(30, "Read-only file system")
        return temporary(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", refuse)
        yield


def test_the_scores_of_a_run_that_cannot_be_written_go_into_a_file(cli: Cli, workplace: Path, hot_run: Path) -> None:
    run = shutil.copytree(hot_run, workplace / "run")
    (run / "eval.json").unlink(missing_ok=True)
    before = sorted(run.rglob("*"))
    words = ["eval", "--run", run, "--loss", "--n-test", 5, "--accelerator", "cpu", "-q"]
    with read_only(run):
        result = cli(*words)
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            f"error: {run} cannot be written: Read-only file system; name a file for the scores with --out, for "
            "example scores.json\n"
        )
        result = cli(*words, "--out", "scores.json", "--json")
        assert result.code == 0, result
        assert json.loads(Path("scores.json").read_text()) == json.loads(result.out)
        assert diffcli.evaluate(run, ["loss"], 5, out="py.json", devices=CPU, quiet=True).file == Path("py.json")
    assert sorted(run.rglob("*")) == before
    for out, expected in (
        ("scores.txt", "--out scores.txt: unknown extension '.txt'; use .json"),
        ("tiny.yaml/s.json", "cannot be written"),
    ):
        Path("tiny.yaml").touch()
        result = cli(*words, "--out", out)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert expected in result.err


def test_a_model_files_scores_go_where_they_are_asked_for(cli: Cli, workplace: Path, hot_run: Path) -> None:
    assert cli("export", hot_run, "--out", "m.safetensors", "-q").code == 0
    result = cli("eval", "--model", "m.safetensors", "--loss", "--n-test", 5, "--out", "scores.json", "-q")
    assert result.out.splitlines()[-1] == "scores.json"
    assert json.loads(Path("scores.json").read_text())["settings"]["n_test"] == 5


def test_runs_that_cannot_be_written_are_told_of_before_others_are_measured(
    cli: Cli, workplace: Path, hot_run: Path, guided_run: Path
) -> None:
    first, second = (shutil.copytree(run, workplace / run.parent.name) for run in (hot_run, guided_run))
    shutil.rmtree(first / "compare", ignore_errors=True)
    with read_only(second):
        result = cli("compare", first, second, "--loss", "--n-test", 5, "--accelerator", "cpu", "-q")
    assert (result.code, result.out) == (2, "")
    assert f"error: {second} cannot be written: Read-only file system, where what is measured" in result.err
    assert f"diffcli export {second} --out model.safetensors" in result.err
    assert not (first / "compare").exists()
