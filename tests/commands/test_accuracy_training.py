"""The accuracy score's classifier learns what the labels of its images say."""

from __future__ import annotations

import pytest
import torch

from diffcli.data.datasets import ImageSet, digits
from diffcli.evaluation import fitting
from diffcli.evaluation.classifier import load_classifier


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
