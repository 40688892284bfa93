"""``diffcli restore``."""

from __future__ import annotations

from diffcli.cli.app import MAKE, command
from diffcli.inference.restore_options import RestoreOptions


@command(
    MAKE,
    "diffcli restore photo.jpg",
    "diffcli restore drawings --run quickstart --invert --t 40 --out rows.png",
    "diffcli restore faded.png --degraded --t 30 --out restored",
    "diffcli restore photo.jpg --mask hole.png",
    "diffcli restore faded.png --degraded --degradation blur-fast --t 2 --sigma 0.01 --samples 4 --out doubt.png",
)
def restore(options: RestoreOptions) -> None:
    """Restore your own images from any degradation, or draw a part of them anew; the files written are printed."""
    from diffcli.inference.save_restorations import restore as restore_with

    for path in restore_with(options):
        print(path)
