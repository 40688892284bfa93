"""Facts of a run that need no measurement of its network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fact:
    """A number of a run's degradation or of its training.

    Args:
        description: what it is.
        better: which direction claims call better; None where neither is.
    """

    description: str
    better: Literal["higher", "lower"] | None = None


FACTS = {
    "alpha_T": Fact("Share of the image's variance that Gaussian noise leaves in z_T."),
    "overfitting": Fact("Validation loss over training loss, mean of the last five epochs.", "lower"),
    "unevenness": Fact("Root mean square of z_T's pixels about their image's mean; pixels span 1.", "lower"),
}
