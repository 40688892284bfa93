"""``diffcli schedule-plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffcli.assembly import build_degradation, resolve
from diffcli.commands.sample import check_output
from diffcli.config import load_preset
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.errors import UserError
from diffcli.reporting.figures import schedule_figure, schedule_table, write_schedules
from diffcli.runs import written_whole

SUFFIXES = (".png", ".svg", ".pdf", ".csv")


def schedule_plot(presets: Sequence[str], overrides: list[str], out: Path) -> Path:
    """Plots beta_t, alpha_t and log SNR of presets over t/T, or writes the numbers as .csv; returns the file.

    Raises:
        UserError: a preset is not usable, or the file cannot be written.
    """
    check_output(out, SUFFIXES, "--out")
    tables = {}
    for chosen in presets:
        name, preset = load_preset(chosen, overrides)
        degradation = build_degradation(resolve(preset))
        if not isinstance(degradation, GaussianNoise):
            raise UserError(f"preset {name} has no noise schedule to plot")
        tables[name] = schedule_table(degradation)
    with written_whole(out) as part:
        if out.suffix.lower() == ".csv":
            write_schedules(tables, part)
        else:
            schedule_figure(tables).savefig(part)
    return out
