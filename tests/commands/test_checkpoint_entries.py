"""The entries of a checkpoint: the table of them in contributing.md is whole and true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from diffcli.checkpoints.model_file import read_checkpoint, read_stored
from diffcli.checkpoints.runs import Run
from diffcli.utils.errors import UserError

Row = tuple[str, str, str, str]


def table() -> list[Row]:
    """(entry, when it is there, who writes it, who reads it) of each row; an entry may be several of one row."""
    page = (ROOT / "docs" / "contributing.md").read_text()
    section = page.partition("\n## What a checkpoint holds\n")[2].partition("\n## ")[0]
    rows = []
    for line in re.findall(r"^\| (`.*) \|$", section, flags=re.MULTILINE):
        entries, when, writer, reader = (cell.strip() for cell in line.split("|"))
        rows += [(entry, when, writer, reader) for entry in re.findall(r"`([^`]+)`", entries)]
    return rows


def expected(*conditions: str) -> set[str]:
    """The entries of a checkpoint of a model to which these conditions apply."""
    return {entry for entry, when, _, _ in table() if when in ("always", *conditions)}


def entries_of(run: Path) -> set[str]:
    return set(torch.load(Run(run).last, weights_only=True))


def test_the_table_has_exactly_the_entries_of_a_trained_checkpoint(
    hot_run: Path, guided_run: Path, blur_run: Path, cluster_run: Path
) -> None:
    assert entries_of(hot_run) == expected()
    assert entries_of(blur_run) == expected("with labels")
    assert entries_of(guided_run) == expected("with labels", "with `ema`", "from `guide_at` on")
    assert entries_of(cluster_run) == expected("with labels", "with `labels.clusters`")
    # A scale of the gradients needs an accelerator.
    whens = {when for _, when, _, _ in table()}
    assert whens - {"with `precision: 16-mixed`"} == {
        "always",
        "with labels",
        "with `ema`",
        "from `guide_at` on",
        "with `labels.clusters`",
    }


def test_each_file_of_the_table_names_the_entry() -> None:
    rows = table()
    assert len(rows) > 15
    for entry, _, writer, reader in rows:
        for file in re.findall(r"`(\w+/\w+\.py)`", writer + reader):
            assert re.search(rf"\b{re.escape(entry)}\b", (ROOT / "diffcli" / file).read_text()), (entry, file)


def test_a_checkpoint_needs_a_preset_and_its_name(hot_run: Path, workplace: Path) -> None:
    content = torch.load(Run(hot_run).best, weights_only=True)
    about = content["hyper_parameters"]
    for key, needed in (("preset", True), ("preset_name", True), ("plugins", False), ("image_shape", False)):
        file = workplace / f"{key}.ckpt"
        torch.save(content | {"hyper_parameters": {name: about[name] for name in about if name != key}}, file)
        if needed:
            with pytest.raises(UserError, match="was not written by diffcli"):
                read_checkpoint(file)
        else:
            assert read_stored(file).preset_name == about["preset_name"]
