"""Runs and presets of the same name: each has a label of its own wherever results are laid side by side."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from comparisons import OPTIONS
from conftest import TINY


@pytest.fixture(scope="module")
def namesakes(hot_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of one preset, n1/run and n2/run."""
    place = tmp_path_factory.mktemp("namesakes")
    for name in ("n1", "n2"):
        shutil.copytree(hot_run, place / name / "run", ignore=shutil.ignore_patterns("eval.json", "compare"))
    return place


def test_two_runs_of_one_name_are_two_columns(cli, namesakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(namesakes)
    labels = ["tiny (n1/run)", "tiny (n2/run)"]
    for file in ("out.html", "out.md", "out.json"):
        result = cli("compare", "n1/run", "n2/run", "--out", file, *OPTIONS)
        assert result.code == 0, result.err
        for label in labels:
            assert label in Path(file).read_text()
            assert label.split()[1] in result.out
    report = json.loads(Path("out.json").read_text())
    assert [run["name"] for run in report["runs"]] == labels


def test_schedule_plot_keeps_two_files_of_one_name_apart(cli, workplace: Path) -> None:
    for folder, T in (("a", 5), ("b", 7)):
        (workplace / folder).mkdir()
        (workplace / folder / "x.yaml").write_text(TINY.replace("T: 20", f"T: {T}"))
    both = ["--preset", "a/x.yaml", "--preset", "b/x.yaml"]
    result = cli("schedule-plot", *both, "--out", "numbers.csv")
    assert result.code == 0, result.err
    with Path("numbers.csv").open() as stream:
        names = [row["preset"] for row in csv.DictReader(stream)]
    assert names == ["x (a/x.yaml)"] * 5 + ["x (b/x.yaml)"] * 7
    assert cli("schedule-plot", *both, "--out", "numbers.svg").code == 0
    twice = cli("schedule-plot", "--preset", "a/x.yaml", "--preset", "./a/x.yaml", "--out", "twice.csv")
    assert (twice.code, twice.err.count("\n"), Path("twice.csv").exists()) == (2, 1, False)
    assert "named twice" in twice.err


BLUR = """\
description: a blur of small images
data: {name: folder, path: images, size: SIDE, channels: 1}
schedule: {name: constant, T: 3, beta: 0.3}
degradation: {name: gaussian-blur, kernel_size: 3}
network: {name: cnn, channels: [4, 4], kernel_size: 3}
prediction: x0
prior: {name: uniform}
sampler: {name: cold}
training: {epochs: 1}
"""


def test_blurs_of_different_sizes_share_one_csv(cli, workplace: Path) -> None:
    # An image of 4 pixels has fewer cosine modes than one of 8: their columns are not the same.
    for name, side in (("small", "4"), ("large", "8")):
        Path(f"{name}.yaml").write_text(BLUR.replace("SIDE", side))
    for order in (["small.yaml", "large.yaml"], ["large.yaml", "small.yaml"]):
        result = cli("schedule-plot", "--preset", order[0], "--preset", order[1], "--out", "numbers.csv")
        assert result.code == 0, result.err
        with Path("numbers.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert {row["preset"]: (bool(row["mode_1"]), bool(row["mode_6"])) for row in rows} == {
            "small": (True, False),
            "large": (True, True),
        }


@pytest.mark.parametrize("name", ["$x$", "$\\foo$", "_hidden", "a_b^c"])
def test_a_name_stands_in_a_figure_as_written(cli, workplace: Path, name: str) -> None:
    Path(f"{name}.yaml").write_text(TINY)
    Path("other.yaml").write_text(TINY)
    result = cli("schedule-plot", "--preset", f"{name}.yaml", "--preset", "other.yaml", "--out", "plot.svg")
    assert result.code == 0, result.err
    assert re.search(rf"<!-- +{re.escape(name)} -->", Path("plot.svg").read_text())
