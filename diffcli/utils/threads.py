"""How long PyTorch's threads spin while they wait: so briefly that another job can have their cores."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

OF_THE_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SPINS = "1000"
"""Of libgomp, the OpenMP of PyTorch's wheels for Linux. Its own 300,000 outlast the scheduler's time slices, so that
two jobs on the same cores spend nearly all their time waiting for threads that do not run; 1,000 take microseconds,
which spares a lone job nearly all of its sleeps. docs/benchmarks.md has the measurements."""


def yield_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets the spins of waiting threads, for this process and those that it starts.

    What the user has set stays; so does everything once PyTorch is loaded, which reads it then.
    """
    if "torch" not in sys.modules and not any(name in environment for name in OF_THE_USER):
        environment["GOMP_SPINCOUNT"] = SPINS
