"""The table of metrics: command-line flags, tables, pages and comparisons all read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """A score of a trained model.

    Args:
        name: the first part of its key in ``eval.json``; the rest says of what: ``fid_classifier``, ``rmse_direct``.
        description: what it measures, as a sentence; the help of its flag.
        source: what is measured: unconditional samples, reconstructions of test images, or the denoiser itself.
        better: the better direction; None where neither is.
        shared: settings of an evaluation in which two runs must agree to be compared.
        requirements: what must be at hand to measure it; ``denoiser`` is a model that is one, as a student is not.
        costly: measured only where it is asked for by name.
        for_own: measured without being asked for only of data that no shipped classifier is of.
        share: a share of n images, in 0..1.
    """

    name: str
    description: str
    source: Literal["samples", "reconstructions", "denoiser"]
    better: Literal["higher", "lower"] | None
    shared: tuple[str, ...]
    requirements: tuple[Literal["extractor", "classifier", "labels", "likelihood", "denoiser"], ...] = ()
    costly: bool = False
    for_own: bool = False
    share: bool = False

    @property
    def judged(self) -> bool:
        """Whether it is measured in the features of each extractor at hand, whose name its keys end with."""
        return "extractor" in self.requirements

    @property
    def n(self) -> str:
        """The setting that holds of how many images it is measured."""
        return next(name for name in self.shared if name.startswith("n_"))


_TEST_SETTINGS = ("test_images", "n_test")
_RECONSTRUCTION_SETTINGS = (*_TEST_SETTINGS, "reconstruction", "reconstruction_label")
_SAMPLE_SETTINGS = ("test_images", "n_fid", "extractors", "kind", "label")
_NEIGHBOURS = ("test_images", "n_manifold", "extractors", "kind", "label")


def _by_neighbours(name: str, description: str, share: bool) -> Metric:
    """A metric of samples that the nearest neighbours of images decide, in the features of each extractor."""
    return Metric(name, description, "samples", "higher", _NEIGHBOURS, ("extractor",), share=share)


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "fid", "Frechet distance of samples to test images.", "samples", "lower", _SAMPLE_SETTINGS, ("extractor",)
        ),
        Metric(
            "kid", "Kernel distance of samples to test images.", "samples", "lower", _SAMPLE_SETTINGS, ("extractor",)
        ),
        # Without the first word, its flag would be that of the numbers' precision.
        _by_neighbours("sample_precision", "Share of samples among real images, by nearest neighbours.", share=True),
        _by_neighbours(
            "sample_recall", "Share of test images among samples, by nearest neighbours: variety.", share=True
        ),
        _by_neighbours(
            "density",
            "Mean number of real images among whose nearest neighbours a sample is, over five: quality.",
            share=False,
        ),
        _by_neighbours(
            "coverage", "Share of test images with a sample among their nearest neighbours: variety.", share=True
        ),
        Metric(
            "swd",
            "Sliced Wasserstein distance of samples' patches to test images', at each scale; needs no features.",
            "samples",
            "lower",
            ("test_images", "n_swd", "kind", "label"),
            for_own=True,
        ),
        Metric(
            "nearest",
            "Median distance of samples to their nearest training image; near 0 if half of them are copies.",
            "samples",
            # Far from every training image is poor; a little nearer than test images may be smooth, or a few copies.
            None,
            ("training_images", "n_nearest"),
        ),
        Metric(
            "label_kept",
            "Share of samples read as the label that was asked for.",
            "samples",
            "higher",
            ("n_fid", "classifier", "label"),
            ("classifier", "labels"),
            share=True,
        ),
        Metric(
            "cas",
            "Accuracy on test images of a classifier trained on samples: takes long.",
            "samples",
            "higher",
            ("test_images", "n_cas", "cas_steps", "label"),
            ("labels",),
            costly=True,
            share=True,
        ),
        Metric(
            "ssim",
            "Structural similarity of reconstructions.",
            "reconstructions",
            "higher",
            (*_RECONSTRUCTION_SETTINGS, "ssim"),
        ),
        Metric(
            "psnr",
            "Peak signal-to-noise ratio of reconstructions, dB.",
            "reconstructions",
            "higher",
            _RECONSTRUCTION_SETTINGS,
        ),
        Metric(
            "rmse", "Root mean squared error of reconstructions.", "reconstructions", "lower", _RECONSTRUCTION_SETTINGS
        ),
        Metric(
            "loss",
            "Training loss on the test images.",
            "denoiser",
            "lower",
            # Errors of eps, of x0 and of v have different scales; and a schedule decides how hard the tasks are.
            (*_TEST_SETTINGS, "prediction", "degradation", "schedule", "noise", "measurement_noise"),
            ("denoiser",),
        ),
        Metric(
            "nll",
            "Negative log-likelihood of test images, an upper bound in bits per dimension; needs noise.",
            "denoiser",
            "lower",
            # Bits are bits, whatever the degradation; of an image whose label is told they are fewer.
            (*_TEST_SETTINGS, "label"),
            ("likelihood", "denoiser"),
        ),
        Metric(
            "class_kept",
            "Share of reconstructions read as their original's class.",
            "reconstructions",
            "higher",
            (*_RECONSTRUCTION_SETTINGS, "classifier"),
            ("classifier",),
            share=True,
        ),
    )
}

TIMES_FLOOR = frozenset({"fid", "swd"})
"""Distances that are said in floors, too: they are above 0 for real images."""

NEIGHBOUR_METRICS = frozenset(name for name, metric in METRICS.items() if metric.n == "n_manifold")
"""Metrics by nearest neighbours: of as many samples as real images."""

COMPANIONS = {
    "direct": "direct (one step)",
    "told": "told the label",
    "floor": "real training images",
    "test": "test images",
    "real": "trained on real images",
    "kl": "of it KL terms",
    "error": "standard error",
}
"""Scores that stand beside another one: the suffix of the key, and how a table names it."""


def metric_of(key: str) -> Metric | None:
    """The metric of a score's key; None where it is not known."""
    return next((metric for name, metric in METRICS.items() if key == name or key.startswith(f"{name}_")), None)


def judge_of(key: str) -> str | None:
    """The name of the extractor in whose features a score was measured; None where features have no part in it."""
    metric = metric_of(key)
    return key.removeprefix(f"{metric.name}_").split("_")[0] if metric is not None and metric.judged else None


def times_floor(key: str, scores: Mapping[str, float]) -> float | None:
    """The ratio of a distance to its floor, for a distance that is biased: how many times as far as real training
    images samples are from the test images; None of other scores, and without the floor."""
    metric, floor = metric_of(key), scores.get(f"{key}_floor", 0.0)
    return scores[key] / floor if metric is not None and metric.name in TIMES_FLOOR and floor > 0 else None


def is_beside(key: str) -> bool:
    """Whether a score stands beside another one, and has no row or column of its own."""
    return key.endswith(tuple(f"_{suffix}" for suffix in COMPANIONS))


def in_rows(keys: Iterable[str]) -> list[str]:
    """The scores that have a row or a column of their own: those that stand beside none of the others, each once."""
    unique = dict.fromkeys(keys)
    return [key for key in unique if not any(key == f"{other}_{suffix}" for other in unique for suffix in COMPANIONS)]


def chosen_metrics(names: Sequence[str], is_own_data: bool) -> list[str]:
    """The metrics that are asked for, in the order of the table: those named, else all that are not costly.

    Args:
        is_own_data: whether the data are such that no shipped classifier is of.
    """
    defaults = [metric for metric in METRICS.values() if not metric.costly and (is_own_data or not metric.for_own)]
    return [metric.name for metric in METRICS.values() if (metric.name in names if names else metric in defaults)]


def measured_on(source: str) -> list[str]:
    """The names of the metrics of samples, of reconstructions or of the denoiser, in the order of the table."""
    return [metric.name for metric in METRICS.values() if metric.source == source]


def from_zT(scores: Mapping[str, float], settings: Mapping[str, Any]) -> Mapping[str, float]:
    """The scores of an evaluation, without those of reconstructions that did not start from the unaltered z_T.

    Claims that name no start, and the report's own numbers, are about that one.
    """
    if not any((settings.get("reconstruction") or {}).values()):
        return scores
    return scores_on(("samples", "denoiser"), scores)


def scores_on(sources: Sequence[str], scores: Mapping[str, float]) -> dict[str, float]:
    """The scores that are measured on these, as ``measured_on`` names them, and what is no metric's own."""
    return {key: value for key, value in scores.items() if (entry := metric_of(key)) is None or entry.source in sources}
