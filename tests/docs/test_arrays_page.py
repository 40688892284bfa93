"""The page on arrays: its file, its commands and its Python, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from conftest import ROOT, Cli
from pages import snippets

PAGE = ROOT / "docs" / "how-to" / "arrays.md"


def test_the_page_does_what_it_says(cli: Cli, workplace: Path, small_presets: None) -> None:
    languages = {language: text for language, _, text in snippets(PAGE)}
    exec(compile(languages["python"], str(PAGE), "exec"), {})
    quick = {"train": ["--epochs", 1, "--limit-batches", 2], "sample": ["--steps", 2]}
    lines = re.findall(r"^diffcli .*$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(lines) == 3
    for command in lines:
        _, name, *words = shlex.split(command)
        result = cli(name, *words, *quick[name], "--accelerator", "cpu")
        assert result.code == 0, (command, result.err)
        if name == "train":
            assert languages["text"] in result.err
    with np.load("threes.npz") as content:
        assert (content["images"].dtype, content["images"].shape) == (np.float32, (100, 8, 8, 2))
        assert content["labels"].tolist() == [3] * 100
    names: dict[str, object] = {}
    code = re.sub(r"label=3\)", "label=3, steps=2)", languages["py"])
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["slopes"].shape == (4, 8, 8, 2)  # type: ignore[attr-defined]
    assert names["pixels"].shape == (100, 2, 8, 8)  # type: ignore[attr-defined]
