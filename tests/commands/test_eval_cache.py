"""Evaluations of a run that use again what was kept of real images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffcli.checkpoints.evaluations import Evaluation
from diffcli.evaluation import classifier, distances
from diffcli.evaluation.classifier import DigitClassifier
from diffcli.evaluation.evaluate import evaluate
from diffcli.utils.cache import cache_folder
from diffcli.utils.devices import Devices

TEST_IMAGES, TRAINING_IMAGES = 359, 5 * 40
"""Of the digits; and those of the floor, five for each of 40 samples."""


def flip_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


@pytest.fixture
def image_counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many images were shown to the extractor and to the classifier, and searched for among the training images."""
    counts = dict.fromkeys(("features", "read", "nearest"), 0)

    def counter(name: str, function: Callable[..., Any], which: int) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            counts[name] += len(arguments[which])
            return function(*arguments)

        return call

    monkeypatch.setattr(DigitClassifier, "features", counter("features", DigitClassifier.features, 1))
    monkeypatch.setattr(distances, "probabilities", counter("read", distances.probabilities, 1))
    monkeypatch.setattr(distances, "nearest_errors", counter("nearest", distances.nearest_errors, 0))
    return counts


def score(run: Path, **changes: Any) -> Evaluation:
    options: dict[str, Any] = {
        "metrics": ("fid", "kid", "nearest"),
        "n_fid": 40,
        "steps": 2,
        "extractor": "classifier",
        "devices": Devices("cpu", "1"),
        "quiet": True,
    }
    return evaluate(run=run, **options | changes)


def test_a_second_evaluation_pays_for_its_own_samples_only(
    hot_run: Path, workplace: Path, image_counts: dict[str, int]
) -> None:
    run = Path(shutil.copytree(hot_run, workplace / "run"))
    first = score(run)
    assert image_counts["features"] == 40 + TEST_IMAGES + TRAINING_IMAGES
    assert image_counts["nearest"] == 40 + TEST_IMAGES
    image_counts.update(features=0, nearest=0)
    assert score(run).scores == first.scores
    assert (image_counts["features"], image_counts["nearest"]) == (40, 40)
    image_counts.update(features=0, nearest=0)
    score(run, seed=1)  # training images in another order, as many as there are
    assert (image_counts["features"], image_counts["nearest"]) == (40 + TRAINING_IMAGES, 40)


def test_other_weights_of_an_extractor_have_features_of_their_own(
    hot_run: Path, workplace: Path, image_counts: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(hot_run, workplace / "run"))
    score(run, metrics=("fid",))
    image_counts["features"] = 0
    settings = classifier.classifier_settings
    monkeypatch.setattr(classifier, "classifier_settings", lambda *of: settings(*of) | {"weights_sha256": "other"})
    score(run, metrics=("fid",))
    assert image_counts["features"] == 40 + TEST_IMAGES + TRAINING_IMAGES


def test_a_metric_is_the_same_from_a_damaged_cache(hot_run: Path, workplace: Path) -> None:
    run = Path(shutil.copytree(hot_run, workplace / "run"))
    first = score(run)
    files = list((cache_folder() / "evaluation").iterdir())
    assert len(files) == 5  # the features of two sets by two judges, and what is nearest
    for file in files:
        flip_byte(file)
    assert score(run).scores == first.scores
