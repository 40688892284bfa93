"""Signals that stop a training, wherever they find it."""

from __future__ import annotations

import signal
from typing import Any, cast

import pytest

from diffcli.training.agreement import Agreement
from diffcli.training.safety import Interrupts


class Interrupt:
    """A signal comes while this is finalized."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_stops_at_once_outside_the_steps() -> None:
    stops = Interrupts(Agreement())
    with stops.handle_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert stops.signals == [signal.SIGINT]


def test_an_interrupt_while_an_object_is_finalized_prints_nothing_and_stops_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", errors.append)
    stops = Interrupts(Agreement())
    with stops.handle_signals():
        Interrupt()
    assert stops.signals == [signal.SIGINT]
    assert errors == []
    with pytest.raises(KeyboardInterrupt):
        stops.on_train_epoch_end(cast(Any, None), cast(Any, None))
