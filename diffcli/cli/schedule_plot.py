"""``diffcli schedule-plot``: schedules of presets, plotted or as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcli.cli.app import MEASURE, command
from diffcli.config.options import PresetsOptions
from diffcli.utils.errors import UserError
from diffcli.utils.files import output_of, written_whole
from diffcli.utils.options import option


@dataclass(frozen=True)
class ScheduleOptions(PresetsOptions):
    """The presets whose schedules are plotted, and the file."""

    out: Path = option(
        Path("schedule.png"),
        check=output_of(".png", ".svg", ".pdf", ".csv"),
        help=".png, .svg, .pdf, or .csv for the numbers.",
    )


@command(
    MEASURE,
    "diffcli schedule-plot --preset ddpm-const-lowbeta --preset ddpm-const-highbeta --out schedules.png",
    "diffcli schedule-plot --preset quickstart-blur --out blur.csv",
    name="schedule-plot",
)
def schedule_plot(options: ScheduleOptions) -> None:
    """Plot beta, alpha and log SNR of presets over t/T (report Figure 5)."""
    from diffcli.studies.plots import groups_by_column, schedule_figure, schedule_table, write_schedules

    # As each describes itself: noise by beta_t, alpha_t and log SNR, blur by its total width and the modes that
    # survive.
    tables = {label: schedule_table(preset.degradation) for label, preset in options.resolved_presets.items()}
    groups = [", ".join(group) for group in groups_by_column(tables)]
    if len(groups) > 1:
        raise UserError(f"these schedules have nothing to be compared by: plot {' and '.join(groups)} one by one")
    with written_whole(options.out) as part:
        if options.out.suffix.lower() == ".csv":
            write_schedules(tables, part)
        else:
            schedule_figure(tables).savefig(part)
    print(options.out)
