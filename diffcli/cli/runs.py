"""``diffcli runs``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from diffcli.cli.app import LIST, app, examples
from diffcli.cli.tables import scores_in_a_line
from diffcli.utils.console import print_table
from diffcli.utils.files import json_text


@app.command(
    rich_help_panel=LIST,
    epilog=examples(
        "diffcli runs",
        "diffcli runs --json",
    ),
)
def runs(json_: Annotated[bool, typer.Option("--json", help="One object per run.")] = False) -> None:
    """List the runs: preset, date, epochs done, best validation loss, scores."""
    from diffcli.checkpoints.runs import runs_root
    from diffcli.cli import listing

    rows = listing.runs()
    if json_:
        print(json_text(rows))
        return
    if not rows:
        print(f"no runs in {runs_root()}/ yet; make one with: diffcli train --preset quickstart")
        return
    cells = []
    for row in rows:
        best = "-" if row["best_val_loss"] is None else f"{row['best_val_loss']:.5f}"
        scores = scores_in_a_line(row["scores"])
        cells.append(
            (
                row["run"],
                datetime.fromisoformat(row["started"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                str(row["epochs"]),
                best,
                scores,
            )
        )
    print_table(("run", "started", "epochs", "best val loss", "scores"), cells, framed=False)
