"""Claims that a comparison of two numbers cannot decide, by the names that study files use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from diffcli.evaluation.intervals import Interval, of_repeats
from diffcli.studies.results import NotMeasured, RunResults

Check = Callable[[Sequence[RunResults]], tuple[Interval, str]]
"""Runs of a model -> (an interval that is above 0 where the claim is true, the numbers in words)."""

EASY = 0.1
"""A loss below this share of the first tenth's."""


def loss_is_small_at_large_t(runs: Sequence[RunResults]) -> tuple[Interval, str]:
    """The loss in the second half of t is less than a tenth of that in the first tenth of t.

    Raises:
        NotMeasured: too few test images fell into those t.
    """
    losses = [_early_and_late(run) for run in runs]
    early, late = ([pair[part] for pair in losses] for part in (0, 1))
    if len(runs) > 1:
        advantage = of_repeats([EASY * a.value - b.value for a, b in losses])
    else:
        advantage = early[0].times(EASY).minus(late[0])
    words = "; ".join(f"loss {a} in the first tenth of t, {b} in its second half" for a, b in losses)
    return advantage, words


def _early_and_late(run: RunResults) -> tuple[Interval, Interval]:
    losses, errors = run.evaluation.get("loss_by_t", []), run.evaluation.get("loss_by_t_error", [])
    pairs = [None if None in pair else pair for pair in zip(losses, errors, strict=False)]
    second_half = [pair for pair in pairs[len(pairs) // 2 :] if pair is not None]
    if not pairs or pairs[0] is None or not second_half:
        raise NotMeasured(
            "it needs a larger n_test: too few test images fell into the first tenth of t or its second half"
        )
    late = math.fsum(value for value, _ in second_half) / len(second_half)
    error = math.hypot(*(error for _, error in second_half)) / len(second_half)
    return Interval.normal(*pairs[0]), Interval.normal(late, error)


CHECKS: dict[str, Check] = {"loss-is-small-at-large-t": loss_is_small_at_large_t}
