"""``diffcli runs``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from diffcli.cli.app import LIST, command
from diffcli.cli.tables import scores_in_a_line
from diffcli.utils.console import print_table
from diffcli.utils.files import json_text
from diffcli.utils.options import option


@command(LIST, "diffcli runs", "diffcli runs --json")
def runs(*, json_: bool = option(False, help="One object per run.")) -> None:
    """List the runs: preset, date, epochs done, best validation loss, scores."""
    from diffcli.checkpoints.evaluations import scores_of_today
    from diffcli.checkpoints.runs import all_runs, names_of, runs_root, start_time

    rows: list[dict[str, Any]] = []
    for run in reversed(all_runs()):
        epochs = run.history()
        losses = [float(row["val_loss"]) for row in epochs if row.get("val_loss")]
        rows.append(
            {
                "run": str(run.folder),
                "preset": names_of(run)[0],
                "started": start_time(run).isoformat(timespec="seconds"),
                "epochs": len(epochs),
                "best_val_loss": min(losses) if losses else None,
                "scores": scores_of_today(next(iter(run.evaluations()), {})),
            }
        )
    if json_:
        print(json_text(rows))
    elif not rows:
        print(f"no runs in {runs_root()}/ yet; make one with: diffcli train --preset quickstart")
    else:
        cells = [
            (
                row["run"],
                datetime.fromisoformat(row["started"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                str(row["epochs"]),
                "-" if row["best_val_loss"] is None else f"{row['best_val_loss']:.5f}",
                scores_in_a_line(row["scores"]),
            )
            for row in rows
        ]
        print_table(("run", "started", "epochs", "best val loss", "scores"), cells, framed=False)
