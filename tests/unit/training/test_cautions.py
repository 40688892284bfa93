"""Warnings that a training gives."""

from __future__ import annotations

import pytest

from diffcli.training.cautions import loss_rise


@pytest.mark.parametrize(
    ("losses", "leaps"),
    [
        ([0.02, 0.016, 0.015, 0.015, 0.015, 0.129], True),
        ([0.02, 0.016, 0.015, 0.015, 0.015, 0.129, 0.112], False),  # it was said
        ([0.02, 0.016, 0.015, 0.015, 0.015, 0.129, 0.015, 0.016, 0.2], True),
        ([0.02, 0.016, 0.015, 0.015, 0.015, 0.03], False),
        ([0.02, 0.016, 0.015, 0.129], False),  # too early to say
        ([0.3, 0.2, 0.1, 0.08, 0.06, 0.05], False),
        ([0.1], False),
        ([], False),
    ],
)
def test_a_loss_that_leaps_is_told_once(losses: list[float], leaps: bool) -> None:
    line = loss_rise(losses, len(losses))
    assert (line is not None) == leaps
    if line:
        assert f"from {losses[-2]} to {losses[-1]} in epoch {len(losses)}" in line
