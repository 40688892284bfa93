"""Scores as text."""

from __future__ import annotations

from collections.abc import Mapping


def error_of(key: str, scores: Mapping[str, float]) -> str:
    """A score's standard error as ``± 0.12``; empty where it has none."""
    error = scores.get(f"{key}_error")
    return "" if error is None else f"± {error:.2g}"


def with_error(key: str, scores: Mapping[str, float]) -> str:
    """A score, and its standard error where it has one: ``7.263 ± 0.12``."""
    return f"{scores[key]:.4g} {error_of(key, scores)}".strip()
