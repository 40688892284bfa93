"""Rows of images on the way from those of one seed to those of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from diffcli.diffusion.labels import NO_LABEL, SampleLabels
from diffcli.diffusion.priors import Prior
from diffcli.diffusion.randomness import InterpolatedGenerator, Source, Stream, generator_for
from diffcli.inference.prior_hints import NamedPriors, no_priors, suggestion
from diffcli.utils.errors import UserError


@dataclass(frozen=True)
class Walk:
    """The way from the images of one seed to those of another, a row of ``steps + 1`` images for each.

    Row i begins with image i of the first seed and ends with image i of the second, exactly as they are drawn by
    themselves. All normal numbers that these are made of, x_T and the noise of the sampler's steps, are interpolated in
    between, see :func:`~diffcli.diffusion.randomness.slerp`.
    """

    seeds: tuple[int, int]
    steps: int

    @property
    def length(self) -> int:
        """The number of images in a row."""
        return self.steps + 1

    def generators(self, indices: Sequence[int]) -> list[Source]:
        """The sources of the images with these indices, row by row."""
        sources: list[Source] = []
        for row, step in (divmod(index, self.length) for index in indices):
            first, second = (generator_for(seed, Stream.SAMPLE, row) for seed in self.seeds)
            sources.append(InterpolatedGenerator(first, second, step / self.steps))
        return sources

    def labels_of(self, labels: SampleLabels, indices: Sequence[int]) -> torch.Tensor:
        """The labels of these images, int64 (B,): those of the rows' first ones."""
        return labels.of(self.seeds[0], [index // self.length for index in indices])

    def check(
        self,
        prior: Prior,
        labels: SampleLabels | None,
        rows: int,
        names: Sequence[str] = (),
        *,
        priors: NamedPriors = no_priors,
    ) -> None:
        """Checks that something lies between the images of so many rows.

        Args:
            names: of the labels.
            priors: that there are in place of this one.

        Raises:
            UserError: the prior draws nothing in between, or the two ends of a row have different labels.
        """
        first, second = (None if labels is None else labels.of(seed, range(rows)) for seed in self.seeds)
        if first is not None and second is not None and not torch.equal(first, second):
            row = int((first != second).nonzero()[0])
            ends = " and ".join(
                f"{names[int(end[row])]} (seed {seed})" for end, seed in zip((first, second), self.seeds, strict=True)
            )
            raise UserError(
                f"`between`: the labels of image {row} are {ends}, and nothing lies between labels; say which with "
                "`label`"
            )
        if (gap := prior.gap(first)) is not None:
            # A Gaussian is fitted to each label, so that no label stands for several.
            fallback = "uniform" if first is not None and bool((first == NO_LABEL).any()) else "gaussian"
            others = suggestion(priors, lambda other: other.gap(first) is None, fallback)
            raise UserError(
                f"`between`: nothing lies between two draws of this prior: {gap}; what is made of normal numbers "
                f"alone has something between: {others}"
            )
