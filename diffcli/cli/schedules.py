"""Schedules of presets, plotted or as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffcli.config.build import resolve
from diffcli.config.presets import find_preset, load_preset
from diffcli.studies.plots import comparable, schedule_figure, schedule_table, write_schedules
from diffcli.utils.errors import UserError
from diffcli.utils.files import check_output, written_whole
from diffcli.utils.labels import unique_labels

SUFFIXES = (".png", ".svg", ".pdf", ".csv")


def schedule_plot(presets: Sequence[str], overrides: Mapping[str, Any], out: Path) -> Path:
    """Plots the schedules of presets over t/T, or writes the numbers as .csv; returns the file.

    What is drawn is what the degradation describes. For noise: beta_t, alpha_t and log SNR (report Figure 5). For blur: the
    total width and which spatial modes survive.

    Presets of the same name are told apart by their paths.

    Raises:
        UserError: a preset is not usable or given twice, two have no column in common, or the file cannot be written.
    """
    out = check_output(out, SUFFIXES, "out")
    files = [find_preset(chosen).resolve() for chosen in presets]
    if len(set(files)) < len(files):
        raise UserError("a preset is named twice; name each once")
    loaded = [load_preset(chosen, overrides) for chosen in presets]
    tables = {}
    for label, (_, preset) in zip(unique_labels([name for name, _ in loaded], files), loaded, strict=True):
        tables[label] = schedule_table(resolve(preset).degradation)
    groups = [", ".join(group) for group in comparable(tables)]
    if len(groups) > 1:
        raise UserError(f"these schedules have nothing to be compared by: plot {' and '.join(groups)} one by one")
    with written_whole(out) as part:
        if out.suffix.lower() == ".csv":
            write_schedules(tables, part)
        else:
            schedule_figure(tables).savefig(part)
    return out
