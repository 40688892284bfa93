"""The distances of unconditional samples from real images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from diffcli.data.datasets import NO_LABEL, ImageSet
from diffcli.data.pixels import to_model, to_uint8, to_unit
from diffcli.evaluation.classifier import TrainedClassifier, probabilities
from diffcli.evaluation.extractors import Extractor
from diffcli.evaluation.fitting import labelled
from diffcli.evaluation.floors import FLOORS, NEIGHBOUR_FLOORS, Pool, floor_of
from diffcli.evaluation.frechet import Reference
from diffcli.evaluation.kernel import KernelReference
from diffcli.evaluation.manifolds import DENSITY_NEIGHBOURS, Manifold, recall
from diffcli.evaluation.metrics import METRICS, NEIGHBOUR_METRICS, metric_of
from diffcli.evaluation.resampling import (
    jackknife_error,
    jackknife_groups,
    median_error,
    standard_error,
    stratified_error,
)
from diffcli.evaluation.scores import fid, nearest_errors, where_measured
from diffcli.evaluation.sliced import DIRECTIONS, PATCHES, patches_of, scales, sliced_distances
from diffcli.inference.sampling import Sampling, generate, step_counter
from diffcli.utils.cache import Cache
from diffcli.utils.console import progress
from diffcli.utils.devices import Processes
from diffcli.utils.hashing import of_images, of_tensor

FEATURE_BATCH = 250
MAX_NEAREST = 1000
MAX_SWD = 1000


@dataclass(frozen=True)
class Distances:
    """Scores of samples against real images, beside those of real training images with the same labels.

    What is computed of real images alone is kept in the cache, for the evaluations to come.

    Args:
        train: the training images, with the labels that the model knows them by.
        metrics: names of metrics.
        extractors: of the features in which distances and neighbours are measured, each in its turn.
        classifier: for label_kept.
        n: how many samples.
        mirrored: whether the training shows images mirrored, too; a mirrored copy is a copy then.
    """

    train: ImageSet
    test: ImageSet
    metrics: frozenset[str]
    extractors: Sequence[Extractor]
    classifier: TrainedClassifier | None
    n: int
    seed: int
    processes: Processes
    quiet: bool
    cache: Cache = field(default_factory=Cache)
    mirrored: bool = False

    @property
    def device(self) -> torch.device:
        """The device that scores are computed on."""
        return where_measured(self.processes.device)

    def of(self, samples: Tensor, labels: Tensor | None) -> dict[str, float]:
        """The scores of uint8 samples (n, C, H, W), drawn with these labels, int64 (n,)."""
        by_judge = [self._scores_by(extractor, samples, labels) for extractor in self.extractors]
        scores = {
            key: value
            for metric in METRICS
            for judge_scores in by_judge
            for key, value in judge_scores.items()
            if (scored_metric := metric_of(key)) is not None and scored_metric.name == metric
        }
        if "label_kept" in self.metrics and self.classifier is not None and labels is not None and (labels >= 0).any():
            true_labels = labels[labels >= 0]
            matches = (self._answers(self.classifier, samples[labels >= 0]) == true_labels).double()
            scores |= _with_companions(
                "label_kept", float(matches.mean()), error=stratified_error(matches, true_labels)
            )
            scores["label_kept_test"] = self._test_accuracy
        if "swd" in self.metrics:
            scores |= self._sliced(samples[:MAX_SWD], None if labels is None else labels[:MAX_SWD])
        if "nearest" in self.metrics:
            distances = self._nearest_errors(samples[:MAX_NEAREST])
            scores |= _with_companions("nearest", float(distances.median()), error=median_error(distances))
            scores["nearest_test"] = self._nearest_test
        return scores

    def _scores_by(self, extractor: Extractor, samples: Tensor, labels: Tensor | None) -> dict[str, float]:
        """The scores of samples in the features of one extractor, each beside that of real images and its standard
        error."""
        pool = self._pool(labels)
        fake = self._features(extractor, samples, "samples").to(self.device)
        real = self._features_of_real(extractor, self.test.images, "test images").to(self.device)
        references = self._features_of_real(extractor, self.train.images[pool.indices], "training images").to(
            self.device
        )
        targets = self._targets(labels)
        scores: dict[str, float] = {}

        def add(metric: str, score: Callable[[Tensor], float], value: float, error: float | None) -> None:
            key = f"{metric}_{extractor.name}"
            scores.update(_with_companions(key, value, floor=floor_of(score, references, sets), error=error))

        if {"fid", "kid"} & self.metrics:
            sets = pool.sets(targets, FLOORS, self.seed)
            if "fid" in self.metrics:
                distance = Reference.of(real).distance
                add("fid", distance, distance(fake), standard_error(distance, fake, self.seed, labels))
            if "kid" in self.metrics:
                kernel = KernelReference.of(real)
                add("kid", kernel.distance, kernel.distance(fake), kernel.error(fake, labels))
        if NEIGHBOUR_METRICS & self.metrics:
            count = self.n_manifold
            real_subset = real[self._permutation(len(real))[:count]]
            sets = pool.sets(targets[:count], NEIGHBOUR_FLOORS, self.seed)
            fake_subset, sample_labels = fake[:count], None if labels is None else labels[:count]
            shares: dict[str, Callable[[Tensor], float]] = {"sample_recall": partial(recall, real_subset)}
            if "sample_precision" in self.metrics:
                shares["sample_precision"] = Manifold.of(real_subset).share
            if {"density", "coverage"} & self.metrics:
                balls = Manifold.of(real_subset, DENSITY_NEIGHBOURS)
                shares |= {"density": balls.density, "coverage": balls.coverage}
            for metric in NEIGHBOUR_METRICS & self.metrics:
                share = shares[metric]
                add(metric, share, share(fake_subset), standard_error(share, fake_subset, self.seed, sample_labels))
        return scores

    def _sliced(self, samples: Tensor, labels: Tensor | None) -> dict[str, float]:
        """The sliced Wasserstein distances of samples, ``swd`` the mean over scales and ``swd_16`` at that of 16
        pixels, each beside that of real training images and its standard error."""
        names = ["swd", *(f"swd_{side}" for side in scales(*self.test.image_shape[1:]))]
        real = self.test.images[self._permutation(len(self.test))[:MAX_SWD].sort().values]
        targets = self._targets(labels)[: len(samples)]
        pool = Pool.like(targets, self.train.labels, self.seed)
        sets = pool.sets(targets, NEIGHBOUR_FLOORS, self.seed)

        def distances_of(images: Tensor, subsets: Tensor, title: str) -> Tensor:
            """The distances of subsets (S, N) of uint8 images, float64 (S, names)."""
            first, second = (patches_of(part, self.device) for part in (real, images))
            with progress(f"patches of {title}", DIRECTIONS * (len(names) - 1), "directions", self.quiet) as advance:
                by_scale = sliced_distances(first, second, subsets.to(self.device), advance).cpu()
            return torch.cat([by_scale.mean(dim=1, keepdim=True), by_scale], dim=1)

        def floors() -> Tensor:
            members = torch.zeros(len(sets), len(pool.indices), dtype=torch.bool)
            members.scatter_(1, torch.stack(sets), True)
            return distances_of(self.train.images[pool.indices], members, "training images").mean(dim=0)

        group = jackknife_groups(len(samples), self.seed, labels)
        jackknife_subsets = [] if group is None else [group != j for j in range(int(group.max()) + 1)]
        distances = distances_of(
            samples, torch.stack([torch.ones(len(samples), dtype=torch.bool), *jackknife_subsets]), "samples"
        )
        key = {"patches": PATCHES, "directions": DIRECTIONS, "to": of_images(real)}
        key |= {"images": of_images(self.train.images[pool.indices]), "sets": of_tensor(torch.stack(sets))}
        scores: dict[str, float] = {}
        for name, values, floor in zip(names, distances.T, self._from_cache(key, floors).tolist(), strict=True):
            error = jackknife_error(values[1:]) if jackknife_subsets else None
            scores |= _with_companions(name, float(values[0]), floor=floor, error=error)
        return scores

    @property
    def n_manifold(self) -> int:
        """The number of samples, and of test images, for precision and recall."""
        return manifold_size(self.n, len(self.test))

    def n_floor(self, labels: Tensor | None) -> int:
        """The number of real training images that stand beside samples of these labels, int64 (n,): fewer than samples
        where the training images of a label are."""
        return len(self._pool(labels).sets(self._targets(labels), 1, self.seed)[0])

    def _targets(self, labels: Tensor | None) -> Tensor:
        return torch.full((self.n,), NO_LABEL) if labels is None else labels

    def _pool(self, labels: Tensor | None) -> Pool:
        return Pool.like(self._targets(labels), self.train.labels, self.seed)

    def _permutation(self, count: int) -> Tensor:
        return torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))

    def by_label(self, samples: Tensor, labels: Tensor) -> dict[int, dict[str, float]]:
        """The Frechet distances of the samples of each label to the test images of that label, where there are two of
        each, by the key of each extractor."""
        distances: dict[int, dict[str, float]] = defaultdict(dict)
        for extractor in self.extractors:
            fake = self._features(extractor, samples, "samples")
            real = self._features_of_real(extractor, self.test.images, "test images")
            for label in labels.unique().tolist():
                pair = real[self.test.labels == label], fake[labels == label]
                if label != NO_LABEL and min(map(len, pair)) > 1:
                    distances[label][f"fid_{extractor.name}"] = fid(*pair)
        return dict(distances)

    def _features_of_real(self, extractor: Extractor, images: Tensor, title: str) -> Tensor:
        key = {"features": extractor.settings, "images": of_images(images)}
        return self._from_cache(key, lambda: self._features(extractor, images, title))

    @cached_property
    def _test_accuracy(self) -> float:
        assert self.classifier is not None
        classifier, test = self.classifier, labelled(self.test)
        key = {"read by": classifier.settings, "images": of_images(test.images)}
        answers = self._from_cache(key, lambda: self._answers(classifier, test.images))
        return float((answers == test.labels).double().mean())

    def _answers(self, classifier: TrainedClassifier, images: Tensor) -> Tensor:
        """The labels that uint8 images (N, C, H, W) are read as, int64 (N,)."""
        answers = [
            probabilities(classifier.network.to(self.device), to_unit(to_model(batch.to(self.device)))).argmax(dim=1)
            for batch in images.split(FEATURE_BATCH)
        ]
        return torch.cat(answers).cpu()

    @cached_property
    def _originals(self) -> Tensor:
        return to_unit(to_model(self.train.images.to(self.device)))

    def _nearest_errors(self, images: Tensor) -> Tensor:
        """Distances of uint8 images (N, C, H, W) to their nearest training images, (N,)."""
        pixels = to_unit(to_model(images.to(self.device)))
        distances = nearest_errors(pixels, self._originals)
        if self.mirrored:  # as far from a mirrored original as this one, mirrored, is from the original
            distances = distances.minimum(nearest_errors(pixels.flip(-1), self._originals))
        return distances.cpu()

    @cached_property
    def _nearest_test(self) -> float:
        images = self.test.images[self._permutation(len(self.test))[:MAX_NEAREST].sort().values]
        key: dict[str, Any] = {"nearest in": of_images(self.train.images), "images": of_images(images)}
        key |= {"mirrored": True} if self.mirrored else {}
        return float(self._from_cache(key, lambda: self._nearest_errors(images)).median())

    def _from_cache(self, key: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
        """The tensor that ``make`` returns: from the cache, if all processes find it there."""
        key |= {"device": self.processes.device.type}
        entry = self.cache.load(key)
        hits = list(self.processes.map_in_order(range(self.processes.count), lambda _: entry is not None))
        if entry is not None and all(hits):
            return entry
        tensor = make()
        if self.processes.first:
            self.cache.save(key, tensor)
        return tensor

    def _features(self, extractor: Extractor, images: Tensor, title: str) -> Tensor:
        """Features of uint8 images (N, C, H, W), (N, F)."""
        batches = images.split(FEATURE_BATCH)
        total = sum(len(batch) for batch in self.processes.share(batches))
        with progress(f"{extractor.name} features of {title}", total, "images", self.quiet) as advance:

            def features_of(batch: Tensor) -> Tensor:
                features = extractor.features(to_unit(to_model(batch)))
                advance(len(batch))
                return features

            return torch.cat(list(self.processes.map_in_order(batches, features_of)))


def _with_companions(key: str, value: float, **companions: float | None) -> dict[str, float]:
    """A score and those that stand beside it, by the suffix of its key; what is None is left out."""
    return {key: value, **{f"{key}_{suffix}": other for suffix, other in companions.items() if other is not None}}


def manifold_size(n_fid: int, test_images: int) -> int:
    """The number of samples, and of test images, that precision and recall are of."""
    return min(n_fid, test_images)


def draw_samples(
    sampling: Sampling, image_shape: tuple[int, int, int], n: int, title: str, quiet: bool
) -> tuple[Tensor, Tensor | None]:
    """Samples, uint8 (n, C, H, W), and the labels that they were asked for, int64 (n,), if any.

    Args:
        title: what the progress bar says.
    """
    with progress(title, sampling.total_steps(n), "steps", quiet) as advance:
        batches = generate(sampling, n, image_shape, step_counter(advance))
        samples = torch.cat([to_uint8(batch) for batch in batches])
    labels = sampling.labels_of(range(n))
    return samples, None if labels is None else labels.cpu()
