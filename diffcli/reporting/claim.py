"""A claim and what became of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A statement about runs; ``holds`` is None where the runs at hand cannot tell."""

    text: str
    holds: bool | None
    evidence: str

    @property
    def verdict(self) -> str:
        """One word."""
        return {True: "confirmed", False: "contradicted", None: "not measured"}[self.holds]
