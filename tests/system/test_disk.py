"""A disk that is full from the beginning: whatever is being written when it fills, one line and nothing half
written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
import yaml
from conftest import SLOW, Cli
from killing import start
from PIL import Image

from diffcli.checkpoints.runs import Run

RESUME = ["train", "--accelerator", "cpu", "-q", "--resume"]
TRAIN = ["train", "--accelerator", "cpu", "-q", "--preset", "tiny.yaml"]


@contextmanager
def disk_of(kibibytes: int, place: Path) -> Iterator[Path]:
    """A disk of that size."""
    place.mkdir(exist_ok=True)
    mount = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", place], capture_output=True, check=False
    )
    if not mount or mount.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)


def check_whole(folder: Path) -> None:
    """Every file can be read to its end, and nothing that only a writer needs is left."""
    for file in folder.rglob("*"):
        assert not file.name.startswith("."), file
        if file.suffix == ".ckpt":
            torch.load(file, weights_only=True)
        elif file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".yaml":
            yaml.safe_load(file.read_text())
            assert file.read_text().endswith("\n"), file
        elif file.suffix == ".png":
            Image.open(file).load()
        elif file.suffix == ".csv":
            assert {line.count(",") for line in file.read_text().splitlines()} == {5}, file


# What fills the disk: run.json, the logs (twice), a picture, best.ckpt (at several places of it), last.ckpt, the second
# epoch's best.ckpt beside the first's; the last disk is large enough.
SIZES = [4, 8, 12, 20, 84, 164, 228, 300, 400, 800, 1400]


@pytest.mark.parametrize("size", range(4, 1200, 12) if SLOW else SIZES)
def test_a_training_ends_in_one_line(workplace: Path, tiny: Path, size: int) -> None:
    with disk_of(size, workplace / "disk") as disk:
        process = start(workplace, *TRAIN, "--out", "disk/run", seconds_between=1000)
        process.join()
        messages = (workplace / "messages.txt").read_text()
        check_whole(disk)
        if process.exitcode == 0 and size > 800:
            assert messages == "disk/run\n"
            return
        assert process.exitcode == 1, messages
        assert messages.startswith("error: "), messages
        assert messages.count("\n") == 1, messages
        assert "No space left" in messages
        for checkpoint in Run(disk / "run").checkpoints.glob("*"):
            assert checkpoint.name in messages or checkpoint.name in ("best.ckpt", "epoch-001.ckpt")


OUTPUTS = {
    "grid": (["sample", "--run", "RUN", "--n", "400", "--steps", "1", "--out"], "grid.png"),
    "array": (["sample", "--run", "RUN", "--n", "999", "--steps", "1", "--out"], "images.npz"),
    "files": (["sample", "--run", "RUN", "--n", "64", "--steps", "1", "--out"], "images"),
    "figure": (["sample", "--run", "RUN", "--conditional", "--out"], "figure.png"),
    "animation": (["sample", "--run", "RUN", "--n", "64", "--out", "grid.png", "--trajectory"], "walk.gif"),
    "plot": (["schedule-plot", "--preset", "tiny.yaml", "--out"], "plot.png"),
    "vectors": (["schedule-plot", "--preset", "tiny.yaml", "--out"], "plot.svg"),
    "document": (["schedule-plot", "--preset", "tiny.yaml", "--out"], "plot.pdf"),
    "table": (["schedule-plot", "--preset", "ddpm-const-lowbeta", "--out"], "table.csv"),
}


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_ends_in_one_line(
    cli: Cli, workplace: Path, tiny: Path, hot_run: Path, output: str, size: int
) -> None:
    command, name = OUTPUTS[output]
    with disk_of(size, workplace / "disk") as disk:
        result = cli(*[str(hot_run) if word == "RUN" else word for word in command], disk / name)
        assert result.code in (1, 2), result
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1, result
        assert "No space left" in result.err
        assert not any(disk.iterdir())


def test_a_comparison_ends_in_one_line(cli: Cli, workplace: Path, hot_run: Path) -> None:
    shutil.copytree(hot_run, "run")
    effort = ["--n-test", 8, "--n-fid", 8, "--steps", 2, "--extractor", "classifier", "-q"]
    for suffix in (".html", ".json", ".md"):
        with disk_of(4, workplace / "disk") as disk:
            (disk / "filler").write_bytes(b"0" * 4096)
            result = cli("compare", "run", "--out", disk / f"page{suffix}", *effort)
            assert (result.code, result.err.count("\n")) in ((1, 1), (2, 1)), result
            assert "No space left" in result.err
            assert [file.name for file in disk.iterdir()] == ["filler"]
    check_whole(workplace / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", [["runs"], ["presets"], ["presets", "quickstart"], ["presets", "--json"]])
def test_results_that_cannot_be_printed_end_in_one_line(workplace: Path, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "diffcli", *command], stdout=full, stderr=subprocess.PIPE, text=True, env=os.environ
        )
    assert process.returncode == 1, process
    assert process.stderr == "error: a file cannot be written: No space left on device\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of(1024, tmp_path / "disk") as disk:
        yield disk


def fill(file: Path) -> None:
    """Writes until the disk is full to the last block."""
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(b"\0" * 4096):
            pass


def test_a_full_disk_loses_no_checkpoint(cli, tiny: Path, small_disk: Path) -> None:
    run = small_disk / "run"
    assert cli(*TRAIN, "--out", run).code == 0
    last = Run(run).last.read_bytes()
    fill(small_disk / "filler")
    for command in (
        [*RESUME, run, "--epochs", 4],
        ["sample", "--run", run, "--n", 64, "--out", small_disk / "images.npz"],
        ["sample", "--run", run, "--n", 64, "--out", small_disk / "images"],
        ["eval", "--run", run, "--loss", "--n-test", 20],
    ):
        result = cli(*command)
        assert result.code in (1, 2), (command, result)
        assert result.err.count("\n") == 1, result.err
        assert "No space left" in result.err
        assert Run(run).last.read_bytes() == last
        assert {path.name for path in small_disk.iterdir()} == {"run", "filler"}
    (small_disk / "filler").unlink()
    assert cli(*RESUME, run, "--epochs", 4).code == 0
