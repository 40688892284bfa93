"""A flag for each metric of the table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from diffcli.cli.options import METRICS as PANEL
from diffcli.evaluation.metrics import METRICS


def metric_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command a flag for each metric of the table in place of its parameter ``metrics``."""

    @wraps(command)
    def with_flags(**options: Any) -> None:
        command(metrics=[name for name in METRICS if options.pop(name)], **options)

    kind = inspect.Parameter.KEYWORD_ONLY
    flags = [
        inspect.Parameter(
            metric.name,
            kind,
            default=False,
            annotation=Annotated[
                bool, typer.Option(f"--{metric.name.replace('_', '-')}", help=metric.about, rich_help_panel=PANEL)
            ],
        )
        for metric in METRICS.values()
    ]
    own = inspect.signature(command, eval_str=True).parameters.values()
    others = [parameter.replace(kind=kind) for parameter in own if parameter.name != "metrics"]
    with_flags.__signature__ = inspect.Signature([*flags, *others])  # type: ignore[attr-defined]
    with_flags.__annotations__ = {parameter.name: parameter.annotation for parameter in [*flags, *others]}
    return with_flags
