"""The numbers that the report gives."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

REPORT = "Vishal Jain, Diffusion models: M2 coursework report, March 28, 2024"
"""Which report it is."""


def reported_values() -> dict[str, dict[str, Any]]:
    """The report's own values by preset: ``where`` they stand, and ``scores`` by the keys of eval.json."""
    text = resources.files("diffcli.report").joinpath("report.yaml").read_text(encoding="utf-8")
    values: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return values
