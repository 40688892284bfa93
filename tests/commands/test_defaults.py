"""What a command does when an option is left out: what its help says, and what Python does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from conftest import Cli
from PIL import Image

import diffcli
from diffcli.cli import app
from diffcli.evaluation.metrics import METRICS
from diffcli.inference.options import N_PER_LABEL, N_RECONSTRUCTIONS, N_SAMPLES

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture
def model(guided_run: Path) -> diffcli.Model:
    return diffcli.load(guided_run)


def sample(cli: Cli, run: Path, *options: object) -> np.ndarray:
    result = cli("sample", "--run", run, "--steps", 2, "--out", "s.npz", "--quiet", *options)
    assert result.code == 0, result.err
    images: np.ndarray = np.load("s.npz")["images"]
    return images


def test_as_many_samples_as_python_draws(cli: Cli, guided_run: Path, model: diffcli.Model) -> None:
    images = sample(cli, guided_run)
    assert len(images) == N_SAMPLES
    assert np.array_equal(images, model.sample(steps=2, quiet=True).permute(0, 2, 3, 1).numpy())
    first = next(model.trajectory(steps=2))
    assert len(first.xs) == N_SAMPLES


def test_some_of_each_label(cli: Cli, guided_run: Path) -> None:
    assert len(sample(cli, guided_run, "--label", "0-2")) == 3 * N_PER_LABEL
    assert len(sample(cli, guided_run, "--label", 3)) == N_SAMPLES


def test_a_few_reconstructions(cli: Cli, guided_run: Path) -> None:
    pictures = []
    for count in ([], ["--n", N_RECONSTRUCTIONS], ["--n", N_RECONSTRUCTIONS - 1]):
        result = cli("sample", "--run", guided_run, "--steps", 2, "--conditional", "--out", "r.png", "--quiet", *count)
        assert result.code == 0, result.err
        pictures.append(np.asarray(Image.open("r.png")))
    assert np.array_equal(pictures[0], pictures[1])
    assert pictures[0].shape != pictures[2].shape


@pytest.mark.parametrize("command", ["eval", "compare"])
def test_the_help_names_every_metric_that_has_to_be_asked_for(command: str) -> None:
    match = re.search(r"no metric named: ([^.)]*)", COMMANDS[command].help, flags=re.IGNORECASE)
    assert match is not None
    left_out = {f"--{metric.name}" for metric in METRICS.values() if metric.costly or metric.for_own}
    assert set(re.findall(r"--\w+", match[1])) == left_out
