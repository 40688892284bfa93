"""``diffcli schedule-plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffcli.assembly import build_degradation, image_shape_of, resolve
from diffcli.commands.sample import check_output
from diffcli.config import load_preset
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.errors import UserError
from diffcli.reporting.figures import blur_figure, noise_figure, schedule_table, write_schedules
from diffcli.runs import written_whole

SUFFIXES = (".png", ".svg", ".pdf", ".csv")


def schedule_plot(presets: Sequence[str], overrides: list[str], out: Path) -> Path:
    """Plots the schedules of presets over t/T, or writes the numbers as .csv; returns the file.

    For noise: beta_t, alpha_t and log SNR (report Figure 5). For blur: the total width and which spatial modes survive.

    Raises:
        UserError: a preset is not usable, noise and blur are mixed, or the file cannot be written.
    """
    check_output(out, SUFFIXES, "--out")
    degradations = {}
    for chosen in presets:
        name, preset = load_preset(chosen, overrides)
        resolved = resolve(preset)
        degradations[name] = build_degradation(resolved, image_shape_of(resolved))
    kinds = {type(degradation) for degradation in degradations.values()}
    if len(kinds) > 1:
        raise UserError(f"noise and blur have no axis in common: plot {' and '.join(degradations)} one by one")
    tables = {name: schedule_table(degradation) for name, degradation in degradations.items()}
    with written_whole(out) as part:
        if out.suffix.lower() == ".csv":
            write_schedules(tables, part)
        else:
            draw = noise_figure if GaussianNoise in kinds else blur_figure
            draw(tables).savefig(part)
    return out
