"""What every refusal of bad input looks like."""

from __future__ import annotations

from pathlib import Path

from conftest import Result


def check_refused(result: Result, place: Path, before: list[Path]) -> None:
    """One line, exit code 1 or 2, nothing printed as a result, nothing written."""
    assert result.code in (1, 2), result
    assert result.err.startswith("error: "), result
    assert result.err.count("\n") == 1, result
    assert "Traceback" not in result.err
    assert result.out == ""
    assert sorted(place.rglob("*")) == before
