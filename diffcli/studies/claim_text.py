"""A claim and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "confirmed", "not confirmed", "not settled", "the judges disagree", "not measured", "true by construction"
]
OPEN: Sequence[Verdict] = ("not settled", "not measured")
"""Verdicts that leave a claim open. Where judges disagree, two of them have settled it, in opposite ways."""


@dataclass(frozen=True)
class ClaimBound:
    """A bound of a claim: when it was fixed, and what was known of its numbers then.

    Args:
        verdict: ``not settled`` where the interval leaves both open, ``the judges disagree`` where one confirms and
            another one contradicts it, ``not measured`` where a number is missing.
        evidence: the numbers, with their intervals; or what is missing.
        why: why it came out otherwise, if it did and its author knows; of an earlier bound, why another one took its
            place.
        since: the date on which it was fixed; None is not known.
        known_numbers: those that were known then, in words.
        measured: the date of the oldest of its numbers; None where it has none, or none with a date.
    """

    text: str
    verdict: Verdict
    evidence: str
    why: str | None = None
    since: str | None = None
    known_numbers: str = ""
    measured: str | None = None

    @property
    def is_informed(self) -> bool:
        """Whether the bound was fixed after numbers of it were known, as its author says or as the dates do."""
        return bool(self.known_numbers) or self.is_later_than_its_numbers

    @property
    def is_later_than_its_numbers(self) -> bool:
        """Whether the oldest of its numbers was measured on a day before it was fixed."""
        return self.since is not None and self.measured is not None and self.measured < self.since


@dataclass(frozen=True)
class EarlierBound(ClaimBound):
    """A bound that a claim had before, with its verdict by the numbers of now.

    Args:
        until: the date on which another one took its place.
    """

    until: str = ""


@dataclass(frozen=True)
class Claim(ClaimBound):
    """A statement about runs, with its present bound.

    Args:
        history: the bounds that it had before, oldest first.
    """

    history: tuple[EarlierBound, ...] = ()

    @property
    def first(self) -> ClaimBound:
        """The bound that it had in the beginning."""
        return self.history[0] if self.history else self

    @property
    def is_informed(self) -> bool:
        """Whether its present bound, or one before, was fixed after numbers of it were known."""
        return super().is_informed or any(bound.is_informed for bound in self.history)


def tally(bounds: Sequence[ClaimBound]) -> str:
    """The numbers of claims by verdict: ``3 confirmed, 1 on which the judges disagree, 2 open (1 not settled, 1 not
    measured), 1 true by construction``."""
    counts = Counter(bound.verdict for bound in bounds)
    parts: dict[str, int] = {name: counts[name] for name in ("confirmed", "not confirmed")}
    parts |= {"on which the judges disagree": counts["the judges disagree"]}
    still = [f"{counts[name]} {name}" for name in OPEN if counts[name]]
    parts |= {f"open ({', '.join(still)})": sum(counts[name] for name in OPEN)}
    parts |= {"true by construction": counts["true by construction"]}
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count)
