"""``diffcli eval`` with Inception: keys of its own, and what damaged weights cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffcli.evaluation import extractors


@pytest.mark.slow
def test_eval_with_inception_has_its_own_keys(stand_in_weights: Path, hot_run: Path, cli) -> None:
    options = [
        "--fid",
        "--n-fid",
        4,
        "--steps",
        2,
        "--inception-weights",
        stand_in_weights,
        "--json",
        "--quiet",
    ]
    result = cli("eval", "--run", hot_run, *options)
    assert result.code == 0, result.err
    scores = json.loads(result.out)["scores"]
    assert set(scores) == {"fid_inception", "fid_inception_floor", "fid_inception_error"}


def test_damaged_inception_weights_are_named_and_not_passed_over(cli, hot_run: Path, no_network: None) -> None:
    cache = extractors.inception_cache()
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"half a file")
    result = cli("eval", "--run", hot_run, "--n-test", 4, "--n-fid", 4, "--steps", 1, "--accelerator", "cpu", "-q")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{cache} does not hold Inception weights" in result.err
