"""``diffcli models``."""

from __future__ import annotations

from typing import Any

from diffcli.cli.app import LIST, command
from diffcli.cli.tables import scores_in_a_line
from diffcli.utils.console import print_table
from diffcli.utils.errors import DiffcliError
from diffcli.utils.files import json_text
from diffcli.utils.options import option


@command(LIST, "diffcli models", "diffcli models --json")
def models(
    *, json_: bool = option(False, help="One object per model, with its file and the settings of its scores.")
) -> None:
    """List the ready models, which come with diffcli: what they draw, their size, their scores."""
    from diffcli.checkpoints.evaluations import scores_of_today
    from diffcli.checkpoints.model_file import read_metadata, ready_models

    rows: list[dict[str, Any]] = []
    for name, file in ready_models().items():
        rows.append({"model": name, "file": str(file), "bytes": file.stat().st_size})
        try:
            metadata = read_metadata(file)
            evaluation = metadata["evaluation"]
            rows[-1] |= {
                "description": str(metadata["preset"]["description"]),
                "scores": scores_of_today(evaluation),
                "settings": dict(evaluation.get("settings", {})),
                "training": dict(metadata["training"]),
            }
        except (DiffcliError, KeyError, TypeError, ValueError, AttributeError) as error:
            rows[-1] |= {"description": f"damaged: {error}", "scores": {}, "settings": {}, "training": {}}
    if json_:
        print(json_text(rows))
    elif not rows:
        print("no ready models came with this diffcli; 'make models' in a checkout makes them")
    else:
        cells = [
            (row["model"], row["description"], f"{row['bytes'] / 1e6:.1f} MB", scores_in_a_line(row["scores"]))
            for row in rows
        ]
        print_table(("model", "what it is", "size", "scores"), cells, framed=False)
