"""Labels for what is laid side by side: each unique, and as short as that allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def unique_labels(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """A label for each name: itself, or with the end of its path where others have the same name.

    >>> unique_labels(["a", "a", "b"], [Path("/x/run"), Path("/y/run"), Path("/z/run")])
    ['a (x/run)', 'a (y/run)', 'b']

    Args:
        paths: where each comes from, resolved; no two are equal.
    """
    labels = []
    for name, path in zip(names, paths, strict=True):
        namesakes = [other for other_name, other in zip(names, paths, strict=True) if other_name == name]
        labels.append(name if len(namesakes) == 1 else f"{name} ({_distinct_end(path, namesakes)})")
    # A name may itself look like the label of another; paths cannot be equal.
    return labels if len(set(labels)) == len(labels) else [str(path) for path in paths]


def _distinct_end(path: Path, paths: Sequence[Path]) -> Path:
    """The last parts of ``path``, as many as it takes to tell all ``paths`` apart."""
    longest = max(len(other.parts) for other in paths)
    count = next(n for n in range(1, longest + 1) if len({other.parts[-n:] for other in paths}) == len(paths))
    return Path(*path.parts[-count:])
