"""The labels of a trained model: which can be asked for, and what it is told of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from diffcli.data.clusters import label_by_cluster
from diffcli.data.datasets import ImageSet
from diffcli.data.label_names import Label, label_notes, label_numbers, no_label_text
from diffcli.diffusion.labels import NO_LABEL, SampleLabels
from diffcli.inference.options import SamplerOptions
from diffcli.utils.console import note
from diffcli.utils.distributed import is_first
from diffcli.utils.errors import UserError

AUTO = "auto"
OfSampler = TypeVar("OfSampler", bound=SamplerOptions)


@dataclass(frozen=True, eq=False)
class ModelLabels:
    """The labels that a model was trained with.

    Args:
        classes: their names, label 0 first; none where it was trained without.
        shares: how frequent each was in the training split, among the images that had one.
        works_without: whether the network has an estimate for images of which no label is told. That is trained by
            images whose label is hidden (``labels.dropped``) and by those that have none. A model that is told no
            labels at all has no other.
        clusters: where they are clusters, the centres, (K, C * H * W).
    """

    classes: Sequence[str] = ()
    shares: Sequence[float] = ()
    works_without: bool = True
    clusters: Tensor | None = None

    @property
    def untrained_classes(self) -> list[str]:
        """The names of the labels that no training image had."""
        return [name for name, share in zip(self.classes, self.shares, strict=False) if not share]

    @property
    def trained_classes(self) -> list[str]:
        """The names of the labels that training images had, which are those that can be asked for."""
        names_without_images = set(self.untrained_classes)
        return [name for name in self.classes if name not in names_without_images]

    def names(self, numbers: Sequence[int]) -> list[str]:
        """The names of labels; of -1, what stands for none."""
        return [no_label_text(self.classes) if number == NO_LABEL else self.classes[number] for number in numbers]

    def with_model_labels(self, images: ImageSet) -> ImageSet:
        """Images with the labels that the model knows them by: the data set's, or their clusters; none where it saw no
        image of a class in training.

        Raises:
            UserError: an image has no label that the model knows, and it does not work without.
        """
        if self.clusters is not None:
            return label_by_cluster(images, self.clusters)
        if not self.classes:
            return images
        numbers = torch.tensor([self.classes.index(name) for name in self.untrained_classes], dtype=torch.int64)
        labels = images.labels.masked_fill(torch.isin(images.labels, numbers), NO_LABEL)
        if not self.works_without and (count := int((labels == NO_LABEL).sum())):
            raise UserError(
                f"{count:,} of {len(images):,} images have no label that this model was trained with, and it does "
                "not work "
                f"without (labels.dropped: 0): say which with `label`"
            )
        return ImageSet(images.images, labels)

    def is_auto(self, label: Label | Sequence[Label] | None) -> bool:
        """Whether the labels of measured images are to be found: where they have some and none is said, or ``auto``
        is."""
        texts = [label] if isinstance(label, (str, int)) else list(label or [AUTO])
        return bool(self.classes) and texts == [AUTO] and (label is None or AUTO not in self.classes)

    def without_auto(self, options: OfSampler) -> OfSampler:
        """The options without a label, where that is ``auto``."""
        return replace(options, label=None) if self.is_auto(options.label) else options

    def numbers(self, options: SamplerOptions) -> tuple[int, ...]:
        """The labels asked for, each in 0..classes - 1 or -1 for none; empty where ``label`` is None.

        Raises:
            UserError: a label is unknown or was not trained, there are none, or they are guided towards and are none.
        """
        untrained_classes, works_without = set(self.untrained_classes), self.works_without
        numbers = label_numbers(
            options.label, self.classes, untrained_classes=untrained_classes, works_without=works_without
        )
        if numbers and max(numbers) == NO_LABEL:
            check_unguided(options)
        return numbers

    def of_samples(self, options: SamplerOptions) -> SampleLabels | None:
        """The labels of new samples: the requested ones, else drawn in the proportions of the training images; None if
        the model has no labels.

        Raises:
            UserError: see :meth:`numbers`.
        """
        numbers = self.numbers(options)
        return SampleLabels(numbers, tuple(self.shares)) if self.classes else None

    def of_images(self, options: SamplerOptions, count: int) -> Tensor | None:
        """The labels that ``count`` images at hand are told, int64 (count,); None where none is given.

        Raises:
            UserError: see :meth:`check_images`.
        """
        self.check_images(options)
        return self.named_labels(options, count)

    def named_labels(self, options: SamplerOptions, count: int) -> Tensor | None:
        """The labels of :meth:`of_images`, without the check that the model works without a label."""
        numbers = self.numbers(options)
        return SampleLabels(numbers).of(options.seed, range(count)) if numbers else None

    def check_images(self, options: SamplerOptions) -> None:
        """Checks what images at hand are told, where ``label`` None is no label.

        Raises:
            UserError: see :meth:`numbers`; or no label is given, and the model does not work without, or is guided
                towards it.
        """
        if self.numbers(options):
            return
        if not self.works_without:
            raise UserError(
                f"this model was trained with the label of every image (labels.dropped: 0) and does not work without: "
                f"say with `label` what the images show; there are {', '.join(self.trained_classes):.200}"
            )
        check_unguided(options)

    def of_reconstructions(self, options: SamplerOptions, images: ImageSet) -> dict[str, Tensor | None]:
        """The labels that reconstructions of images at hand are told, int64 (N,), None for none, by what is added to
        the name of their scores.

        Told are the labels that the options name, else none, and once more, as ``_told``, the images' own: a model that
        obeys draws the class which it is told, whatever is left of the image. One that never did without labels has the
        latter alone.

        Raises:
            UserError: see :meth:`numbers`.
        """
        option_labels = self.named_labels(options, len(images))
        if option_labels is not None or not self.classes:
            return {"": option_labels}
        labels: dict[str, Tensor | None] = {"": None} if self.works_without else {}
        return labels | {"_told": self.with_model_labels(images).labels}

    def note_readings(self, options: SamplerOptions) -> None:
        """Says of each label that could be taken in two ways how it is taken, unless that is to be quiet."""
        for line in () if options.quiet else label_notes(options.label, self.classes):
            if is_first():
                note(line)


def check_unguided(options: SamplerOptions) -> None:
    """Checks that images which are told no label are not to be guided towards one.

    Raises:
        UserError: they are.
    """
    if options.guidance not in (None, 1):
        raise UserError(
            f"`guidance` {options.guidance:g} is towards a label, and none is given: say which with `label`"
        )
