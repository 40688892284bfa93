"""Real training images that stand beside samples: as many, and with the same labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcli.data.sources import NO_LABEL

POOL = 5
"""Real images of which the sets are drawn, for each sample, where there are as many: features cost time."""
FLOORS = 20
"""Sets whose mean distance is the floor: a single one of 2,000 digits varies by a third."""
NEIGHBOUR_FLOORS = 5
"""Sets whose mean precision, recall, density and coverage stand beside those of samples; they vary by less."""


@dataclass(frozen=True)
class Pool:
    """Training images from which reference sets with the labels of the samples are drawn.

    Samples whose labels are asked for in turn have the same number of every label; real images drawn independently do
    not, and that alone doubles their distance. So each sample with a label stands for a real image of that label, and
    each without one for any.

    Args:
        indices: of training images, int64 (P,).
        labels: what each may stand for, int64 (P,); -1 for a sample without a label.
    """

    indices: Tensor
    labels: Tensor

    @classmethod
    def like(cls, samples: Tensor, training: Tensor, seed: int) -> Pool:
        """The pool for samples of these labels, int64 (n,), out of training images of these, int64 (N,)."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(training), generator=generator)
        indices, stands_for = [], []
        for label, count in zip(*(part.tolist() for part in samples.unique(return_counts=True)), strict=True):
            matches = order if label == NO_LABEL else order[training[order] == label]
            indices.append(matches[: POOL * count])
            stands_for.append(torch.full((len(indices[-1]),), label))
        return cls(torch.cat(indices), torch.cat(stands_for))

    def sets(self, samples: Tensor, count: int, seed: int) -> list[Tensor]:
        """Positions in the pool of ``count`` sets for samples of these labels, int64 (n,) each.

        A label of which the pool holds too few images gives all of them: such a set is smaller. A pool of which every
        image is taken gives one set.
        """
        generator = torch.Generator().manual_seed(seed)
        counts = list(zip(*(part.tolist() for part in samples.unique(return_counts=True)), strict=True))
        members = {label: (self.labels == label).nonzero().flatten() for label, _ in counts}
        if all(len(members[label]) <= number for label, number in counts):
            count = 1
        return [
            torch.cat(
                [
                    members[label][torch.randperm(len(members[label]), generator=generator)[:number]]
                    for label, number in counts
                ]
            )
            for _ in range(count)
        ]


def floor_of(score: Callable[[Tensor], float], features: Tensor, sets: Sequence[Tensor]) -> float:
    """The mean score of sets of real images, given by positions in the pool's features (P, F)."""
    return sum(score(features[positions]) for positions in sets) / len(sets)
