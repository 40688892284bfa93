"""A claim and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["confirmed", "not confirmed", "not settled", "not measured"]


@dataclass(frozen=True)
class Claim:
    """A statement about runs.

    Args:
        verdict: ``not settled`` where the interval leaves both open, ``not measured`` where a number is missing.
        evidence: the numbers, with their intervals; or what is missing.
        why: why it came out otherwise, if it did and its author knows.
    """

    text: str
    verdict: Verdict
    evidence: str
    why: str | None = None
