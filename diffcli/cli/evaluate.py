"""``diffcli eval``."""

from __future__ import annotations

from diffcli.cli.app import MEASURE, command
from diffcli.cli.tables import print_evaluation
from diffcli.evaluation.options import EvaluateOptions
from diffcli.utils.files import json_text
from diffcli.utils.options import option


@command(
    MEASURE,
    "diffcli eval",
    "diffcli eval --fid --ssim --n-test 500",
    "diffcli eval --rmse --t 10 --zt-bits 8",
    "diffcli eval --run quickstart --json",
    "diffcli eval --model mnist-fast --loss --out scores.json",
    name="eval",
)
def evaluate(
    options: EvaluateOptions, *, json_: bool = option(False, help="Print the content of eval.json instead of a table.")
) -> None:
    """Score a trained model; eval.json goes into its run folder, or into --out.

    No metric named: all but --cas, and of digits --swd.
    """
    from diffcli.evaluation.evaluate import evaluate_with

    result = evaluate_with(options)
    if json_:
        print(json_text(result.as_dict()))
    else:
        print_evaluation(result)
