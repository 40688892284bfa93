"""The command line: a file for each command, which parses, calls one function and prints. Heavy imports wait until
then."""

from diffcli.cli import train, sample, restore, evaluate, schedule_plot, degradation_report, compare, study  # noqa: F401, I001 (the order of the help)
from diffcli.cli import play, export, import_, presets, models, runs, doctor  # noqa: F401
from diffcli.cli.app import app, main

__all__ = ["app", "main"]
