"""A first evaluation beside a second one, for which what was computed of real images is at hand."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

from benchmarks.rounds import alternate, rate_of, ratios, spread, table
from benchmarks.training import FAST, plan_of
from diffcli.evaluation.evaluate import evaluate
from diffcli.training.run import run_plan
from diffcli.utils.devices import Devices

METRICS = ("fid", "kid", "nearest", "label_kept")
SAMPLES = 250


@contextmanager
def _cache(folder: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, {"DIFFCLI_CACHE": folder}):
        yield


def measure_again(data_dir: Path, rounds: int) -> str:
    """Distances of 250 samples of a model for MNIST, two steps each, from the classifier's features: evaluations a
    minute."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(FAST, data_dir, 2)
        run = run_plan(replace(plan, options=replace(plan.options, out=Path(folder) / "run")))

        def score(cache: str) -> None:
            with _cache(cache):
                evaluate(
                    run=run,
                    metrics=METRICS,
                    n_fid=SAMPLES,
                    steps=2,
                    extractor="classifier",
                    data_dir=data_dir,
                    devices=Devices("cpu", "1"),
                    quiet=True,
                )

        def first() -> None:
            with tempfile.TemporaryDirectory() as empty:
                score(empty)

        sides = {"second": rate_of(lambda: score(folder), 60), "first": rate_of(first, 60)}
        rates = alternate(sides, rounds)
    rows = [[name, spread(rates[name]), spread(ratios(rates, name, "first"))] for name in ("first", "second")]
    return table([f"eval of {SAMPLES} samples, two steps each", "a minute", "times the first"], rows)
