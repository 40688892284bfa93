"""What every refusal of bad input looks like."""

from __future__ import annotations

import random
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


def damage(good: bytes, seed: int) -> bytes:
    """Bits flipped, bytes lost, moved, zeroed, or added."""
    rng = random.Random(seed)
    data, at = bytearray(good), rng.randrange(len(good))
    kind = seed % 5
    if kind == 0:
        for _ in range(rng.choice([1, 3, 50])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + rng.randrange(1, 500)]
    elif kind == 3:
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    else:
        data[at:at] = rng.randbytes(rng.randrange(1, 300))
    return bytes(data)
