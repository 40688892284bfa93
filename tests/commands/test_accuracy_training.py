"""The accuracy score's classifier learns what the labels of its images say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from diffcli.data.datasets import ImageSet, digits
from diffcli.evaluation import fitting
from diffcli.evaluation.cas import cas_size
from diffcli.evaluation.classifier import Classifier, load_classifier
from diffcli.utils.errors import UserError


def test_the_classifier_learns_what_its_labels_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "SCORE_STEPS", 150)  # a cycle of 50, and one of 100
    source, cpu, steps = digits(), torch.device("cpu"), []
    good = fitting.accuracy_after_training(source.development, source.test, cpu, 0, steps.append)
    assert sum(steps) == 150
    assert good > 0.9
    wrong = ImageSet(source.development.images, (source.development.labels + 1) % 10)
    assert fitting.accuracy_after_training(wrong, source.test, cpu, 0, steps.append) < 0.05
    again = fitting.accuracy_after_training(source.development, source.test, cpu, 0, steps.append)
    assert again == good
    assert fitting.accuracy(load_classifier("digits").network, source.test) > 0.98


def test_a_training_takes_as_long_as_its_images_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "SHORTEST", 10)
    source, cpu = digits(), torch.device("cpu")
    cycles: list[int] = []
    real = fitting.fit_steps

    def record(network: Classifier, images: ImageSet, steps: int, *others: Any) -> Iterator[float]:
        cycles.append(steps)
        return real(network, images, steps, *others)

    monkeypatch.setattr(fitting, "fit_steps", record)
    few = source.development[torch.arange(300)]
    counts: list[int] = []
    assert fitting.accuracy_after_training(few, source.test, cpu, 0, counts.append) > 0.8
    learning = list(cycles)
    assert learning == [10 * 2**number for number in range(len(learning))]  # each twice the one before
    assert 30 < sum(learning) < fitting.SCORE_STEPS / 4
    assert sum(counts) == fitting.SCORE_STEPS  # a bar ends at its end
    # Where labels say nothing of the images there is nothing to learn, and the training is over sooner.
    cycles.clear()
    noise = ImageSet(few.images, few.labels[torch.randperm(300, generator=torch.Generator().manual_seed(0))])
    fitting.accuracy_after_training(noise, source.test, cpu, 0, counts.append)
    assert sum(cycles) < sum(learning)


def test_images_without_a_label_are_neither_learnt_from_nor_read() -> None:
    source = digits()
    labels = source.development.labels.clone()
    labels[::2] = -1
    partly = replace(source, development=ImageSet(source.development.images, labels))
    assert cas_size(None, partly) == int((labels >= 0).sum())
    test = ImageSet(source.test.images, torch.where(torch.arange(len(source.test)) < 50, source.test.labels, -1))
    network = load_classifier("digits").network
    assert fitting.accuracy(network, test) == fitting.accuracy(network, source.test[torch.arange(50)])
    with pytest.raises(UserError, match="`n_cas` must be at most 719"):
        cas_size(1000, partly)
