"""The table of the transformer beside the UNet: each number from what the benchmark kept."""

from __future__ import annotations

import re

from conftest import ROOT

from benchmarks import transformer
from benchmarks.cells import read_cells
from diffcli.config.build import resolve
from diffcli.config.presets import load_preset


def test_the_page_shows_what_was_measured() -> None:
    page = transformer.PAGE.read_text(encoding="utf-8")
    block = re.search(r"<!-- transformer -->\n\n(.*?)\n\n<!-- /transformer -->", page, flags=re.DOTALL)
    assert block is not None
    cells = read_cells(transformer.STORE)
    assert block[1] == transformer.page_tables(cells)
    by_setting: dict[tuple[str, str], set[str]] = {}
    for key in cells:
        name, seconds, _ = key.split("; ")
        data, _, kind = name.partition("-")
        by_setting.setdefault((data, seconds), set()).add(kind.partition("-")[0])
    assert by_setting
    assert all(kinds == {"unet", "dit"} for kinds in by_setting.values()), by_setting


def test_recipes_are_presets_that_fit_and_differ_in_their_networks() -> None:
    for recipe in transformer.RECIPES.values():
        data = {"data": {"name": "folder", "path": str(ROOT), "size": 32, "channels": 3}} if recipe.folder else {}
        preset = resolve(load_preset(recipe.preset, {**data, **recipe.changes, "labels": None})[1], network=True).preset
        assert preset.network.name in ("dit", "compact-unet")


def test_lines_stand_by_data_then_time_then_recipe() -> None:
    scores = {f"fid_{judge}{part}": 0.2 for judge in transformer.JUDGES for part in ("", "_floor", "_error")}
    facts = {"steps": 10, "batch": 64, "training seconds": 20, "parameters": 1_234_567, "gigabytes": 1.04}
    facts["scores"] = {**scores, "label_kept": 0.5}  # type: ignore[assignment]
    keys = [
        "emoji-dit; 60 s; seed 0",
        "mnist-dit; 120 s; seed 0",
        "mnist-dit; 60 s; seed 0",
        "mnist-unet; 120 s; seed 0",
    ]
    lines = transformer.page_tables(dict.fromkeys(keys, facts)).splitlines()[2:]
    names = ["mnist-dit", "mnist-unet", "mnist-dit", "emoji-dit"]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == [transformer.RECIPES[name].name for name in names]
    assert lines[0].endswith("| 60 s | 10 | 32 | 1.23 M | 1.0 GB | 1.0 ± 1.0 | 1.0 ± 1.0 | 0.500 |")
