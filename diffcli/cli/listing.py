"""``diffcli presets``, ``diffcli runs`` and ``diffcli models``: what there is, as plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcli.checkpoints.evaluations import has_todays_meaning
from diffcli.checkpoints.model_file import read_about, ready_models
from diffcli.checkpoints.runs import all_runs, names_of, started
from diffcli.config.presets import preset_files, read_values
from diffcli.utils.errors import DiffcliError


def presets() -> list[tuple[str, str]]:
    """(name, description) of every preset; a damaged file is listed with what is wrong with it."""
    rows = []
    for name, file in sorted(preset_files().items()):
        try:
            values = read_values(file)
            description = values.get("description", "") if isinstance(values, dict) else "not a preset"
        except DiffcliError as error:
            description = f"damaged: {error}"
        rows.append((name, str(description)))
    return rows


def runs() -> list[dict[str, Any]]:
    """One row per run, newest first: folder, preset, start, epochs done, best validation loss, scores."""
    rows = []
    for run in reversed(all_runs()):
        epochs = run.history()
        losses = [float(row["val_loss"]) for row in epochs if row.get("val_loss")]
        rows.append(
            {
                "run": str(run.folder),
                "preset": names_of(run)[0],
                "started": started(run).isoformat(timespec="seconds"),
                "epochs": len(epochs),
                "best_val_loss": min(losses) if losses else None,
                "scores": _scores(next(iter(run.evaluations()), {})),
            }
        )
    return rows


def _scores(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The scores of an evaluation; none of an earlier version's, whose names meant something else."""
    return dict(evaluation.get("scores", {})) if has_todays_meaning(evaluation.get("settings", {})) else {}


def models() -> list[dict[str, Any]]:
    """One row per ready model: name, description, file, size in bytes, scores with their settings, and what is known of its
    training. A damaged file is listed with what is wrong with it."""
    rows = []
    for name, file in ready_models().items():
        row: dict[str, Any] = {"model": name, "file": str(file), "bytes": file.stat().st_size}
        try:
            about = read_about(file)
            evaluation = about["evaluation"]
            row |= {
                "description": str(about["preset"]["description"]),
                "scores": _scores(evaluation),
                "settings": dict(evaluation.get("settings", {})),
                "training": dict(about["training"]),
            }
        except (DiffcliError, KeyError, TypeError, ValueError, AttributeError) as error:
            row |= {"description": f"damaged: {error}", "scores": {}, "settings": {}, "training": {}}
        rows.append(row)
    return rows
