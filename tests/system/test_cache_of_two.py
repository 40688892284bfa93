"""Two processes that keep the same features at the same time."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from killing import CONTEXT

from diffcli.utils.cache import Cache

KEY = {"features": {"name": "classifier"}, "images": "abc"}
VALUES = torch.linspace(-1, 1, 12).view(4, 3)


def save_and_load(folder: Path) -> bool:
    cache = Cache(folder)
    sound = True
    for _ in range(20):
        cache.save(KEY, VALUES)
        content = cache.load(KEY)
        sound &= content is not None and torch.equal(content, VALUES)
    return sound


def test_two_processes_at_once_read_whole_files(workplace: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=CONTEXT) as pool:
        assert list(pool.map(save_and_load, [workplace] * 2)) == [True, True]
    assert len(list((workplace / "evaluation").iterdir())) == 1
