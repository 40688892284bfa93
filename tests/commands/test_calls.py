"""How far a command is to its work: the functions and files that it passes, and what it builds on the way."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from conftest import Cli

import diffcli
from diffcli.config.build import build_degradation, resolve
from diffcli.diffusion.samplers import SAMPLERS
from diffcli.inference.options import SamplerOptions
from diffcli.inference.sampling import generate
from diffcli.networks import NETWORKS
from diffcli.play.choices import choices_of
from diffcli.play.drawing import time_steps_of

PACKAGE = str(Path(diffcli.__file__).parent)
NETWORK_CODES = {vars(kind)["__init__"].__code__ for kind in NETWORKS.values()}


@dataclass
class Calls:
    """How often each of diffcli's functions was entered, until the first one of ``ends``."""

    ends: set[CodeType]
    counts: Counter[CodeType] = field(default_factory=Counter)
    over: bool = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        self.over = self.over or code in self.ends
        if event == "call" and not self.over and code.co_filename.startswith(PACKAGE):
            self.counts[code] += 1

    @property
    def functions(self) -> set[CodeType]:
        """Without lambdas, comprehensions and the bodies of modules."""
        return {code for code in self.counts if not code.co_name.startswith("<")}

    @property
    def files(self) -> set[str]:
        return {code.co_filename for code in self.functions}

    @property
    def networks(self) -> int:
        return sum(self.counts[code] for code in NETWORK_CODES)

    def of(self, function: Any) -> int:
        return self.counts[function.__code__]


@contextmanager
def recording(*ends: Any) -> Iterator[Calls]:
    calls = Calls({end.__code__ for end in ends})
    sys.setprofile(calls)
    try:
        yield calls
    finally:
        sys.setprofile(None)


FARTHEST = {
    "1": {"generate": (129, 29), "sampler": (151, 33)},
    "1.5": {"generate": (129, 29), "sampler": (154, 33)},
}
"""The most functions and files that a sample of ``quickstart`` passes before the drawing and before the sampler, by the
weight of autoguidance, of which 1 is none."""


@pytest.fixture
def quickstart(cli: Cli, workplace: Path) -> None:
    """A run of the preset itself, of a batch."""
    assert cli("train", "--preset", "quickstart", "--epochs", "1", "--limit-batches", "1", "--quiet").code == 0


@pytest.mark.parametrize("autoguidance", FARTHEST)
def test_a_sample_is_near_to_its_drawing(cli: Cli, quickstart: None, autoguidance: str) -> None:
    def sample() -> None:
        words = ["--label", "7", "--n", "8", "--steps", "1", "--autoguidance", autoguidance]
        assert cli("sample", "--run", "quickstart", *words).code == 0

    sample()  # what is imported, and made once a process
    for name, ends in {"generate": [generate], "sampler": SAMPLERS.values()}.items():
        with recording(*ends) as calls:
            sample()
        functions, files = FARTHEST[autoguidance][name]
        assert calls.over
        assert (calls.of(resolve), calls.of(build_degradation)) == (1, 1)
        assert calls.networks == 2  # the early average is the second
        assert len(calls.functions) <= functions
        assert len(calls.files) <= files


def test_an_evaluation_resolves_and_builds_once(cli: Cli, guided_run: Path, workplace: Path) -> None:
    def evaluate() -> None:
        assert cli("eval", "--run", guided_run, "--n-test", "4", "--loss", "--rmse", "--out", "x.json").code == 0

    evaluate()
    with recording() as calls:
        evaluate()
    assert (calls.of(resolve), calls.of(build_degradation)) == (1, 1)
    assert calls.networks == 2
    assert len(calls.functions) <= 248
    assert len(calls.files) <= 50


def test_a_slider_of_the_page_resolves_nothing(guided_run: Path) -> None:
    model = diffcli.load(guided_run)
    with recording() as calls:
        choices_of(model)
        time_steps_of(model, {"sampler": "ddim", "steps": 2})
        model.sampling_from(2, SamplerOptions())
        next(model.trajectory(1, sampler="ddim", steps=2))
    assert calls.functions
    assert (calls.of(resolve), calls.of(build_degradation), calls.networks) == (0, 0, 0)
