"""What one of two processes finds in the cache and the other does not is computed by both."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffcli.evaluation.distances import Distances
from diffcli.utils.cache import Cache


@pytest.mark.parametrize("theirs", [True, False])
def test_a_process_takes_what_is_kept_only_where_the_other_does(theirs: bool, tmp_path: Path) -> None:
    mine: Any = SimpleNamespace(
        cache=Cache(tmp_path),
        processes=SimpleNamespace(
            count=2, first=True, device=torch.device("cpu"), map_in_order=lambda items, work: [work(0), theirs]
        ),
    )
    mine.cache.save({"images": "abc", "device": "cpu"}, torch.zeros(3))
    features = Distances._from_cache(mine, {"images": "abc"}, lambda: torch.ones(3))
    assert features.tolist() == ([0.0] * 3 if theirs else [1.0] * 3)
