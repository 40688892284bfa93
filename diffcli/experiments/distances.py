"""How far unconditional samples are from real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from diffcli.data.datasets import ImageSet
from diffcli.data.pixels import to_model, to_uint8, to_unit
from diffcli.devices import Processes
from diffcli.evaluation.cache import Cache
from diffcli.evaluation.classifier import TrainedClassifier, classifier_settings, probabilities
from diffcli.evaluation.extractors import Extractor
from diffcli.evaluation.fingerprints import of_pixels
from diffcli.evaluation.frechet import Reference
from diffcli.evaluation.manifolds import precision, recall
from diffcli.evaluation.resampling import standard_error
from diffcli.evaluation.scores import fid, kid, nearest, where_measured
from diffcli.generation import Sampling, counting, generate
from diffcli.progress import progress

FEATURE_BATCH = 250
FLOOR_IMAGES = 5
"""Real training images of which the floor's sets are drawn, for each sample, where there are as many: features cost time."""
FLOORS = 20
"""Sets of real training images whose mean distance is the floor: a single one of 2,000 digits varies by a third."""
MAX_NEAREST = 1000


@dataclass(frozen=True)
class Distances:
    """Scores of samples against real images, beside those of as many real training images.

    What is computed of real images alone is kept in the cache, for the evaluations to come.

    Args:
        wanted: names of metrics.
        extractor: of features for fid and kid; None leaves them out.
        classifier: for label_kept.
        n: how many samples.
    """

    train: ImageSet
    test: ImageSet
    wanted: frozenset[str]
    extractor: Extractor | None
    classifier: TrainedClassifier | None
    n: int
    seed: int
    processes: Processes
    quiet: bool
    cache: Cache = field(default_factory=Cache)

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""
        return where_measured(self.processes.device)

    def of(self, samples: Tensor, labels: Tensor | None) -> dict[str, float]:
        """The scores of uint8 samples (n, C, H, W), drawn with these labels, int64 (n,)."""
        scores: dict[str, float] = {}
        if self.extractor is not None:
            fake, (real, known) = self._features(self.extractor, samples, "samples"), self._real_features
            fake, real, known = (features.to(self.device) for features in (fake, real, known))
            floor = known[: self.n]
            if "fid" in self.wanted:
                distance = Reference.of(real).distance
                scores |= self._scored("fid", distance, fake, floor)
                scores[f"fid_{self.extractor.name}_floor"] = floor_of(distance, known, self.n, self.seed)
            if "kid" in self.wanted:
                scores[f"kid_{self.extractor.name}"] = kid(real, fake, self.seed)
                scores[f"kid_{self.extractor.name}_floor"] = kid(real, floor, self.seed)
            some = real[self._shuffled(len(real))[: self.n_manifold]]
            for metric, share in {"sample_precision": precision, "sample_recall": recall}.items():
                if metric in self.wanted:
                    scores |= self._scored(
                        metric, partial(share, some), fake[: self.n_manifold], floor[: self.n_manifold]
                    )
        if "label_kept" in self.wanted and self.classifier is not None and labels is not None and (labels >= 0).any():
            read = self._read(self.classifier, samples[labels >= 0])
            scores["label_kept"] = float((read == labels[labels >= 0]).double().mean())
            scores["label_kept_test"] = self._test_read
        if "nearest" in self.wanted:
            scores["nearest"] = float(self._nearest(samples).median())
            scores["nearest_test"] = self._nearest_test
        return scores

    @property
    def n_manifold(self) -> int:
        """Samples for precision and recall: as many as the test images, of which as many are drawn."""
        return manifold_size(self.n, len(self.test))

    def _scored(self, metric: str, score: Callable[[Tensor], float], fake: Tensor, floor: Tensor) -> dict[str, float]:
        """A score of samples, its standard error, and that of real training images, by key."""
        assert self.extractor is not None
        key = f"{metric}_{self.extractor.name}"
        values = {
            key: score(fake),
            f"{key}_floor": score(floor),
            f"{key}_error": standard_error(score, fake, self.seed),
        }
        return {name: value for name, value in values.items() if value is not None}

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))

    def by_label(self, samples: Tensor, labels: Tensor) -> dict[int, float]:
        """The Frechet distance of the samples of each label to the test images of that label, where there are two of each."""
        assert self.extractor is not None
        fake, (real, _) = self._features(self.extractor, samples, "samples"), self._real_features
        pairs = {label: (real[self.test.labels == label], fake[labels == label]) for label in labels.unique().tolist()}
        return {label: fid(*pair) for label, pair in pairs.items() if label >= 0 and min(map(len, pair)) > 1}

    @cached_property
    def _real_features(self) -> tuple[Tensor, Tensor]:
        """Of the test images, and of ``n`` training images or more, in random order."""
        assert self.extractor is not None
        order = self._shuffled(len(self.train))[: FLOOR_IMAGES * self.n]
        return (
            self._features_of_real(self.extractor, self.test.images, "test images"),
            self._features_of_real(self.extractor, self.train.images[order], "training images"),
        )

    def _features_of_real(self, extractor: Extractor, images: Tensor, title: str) -> Tensor:
        key = {"features": extractor.settings, "images": of_pixels(images)}
        return self._kept(key, lambda: self._features(extractor, images, title))

    @cached_property
    def _test_read(self) -> float:
        assert self.classifier is not None
        classifier, images = self.classifier, self.test.images
        key = {"read by": classifier_settings(classifier.dataset), "images": of_pixels(images)}
        read = self._kept(key, lambda: self._read(classifier, images))
        return float((read == self.test.labels).double().mean())

    def _read(self, classifier: TrainedClassifier, images: Tensor) -> Tensor:
        """The labels that uint8 images (N, C, H, W) are read as, int64 (N,)."""
        read = [
            probabilities(classifier.network.to(self.device), to_unit(to_model(batch.to(self.device)))).argmax(dim=1)
            for batch in images.split(FEATURE_BATCH)
        ]
        return torch.cat(read).cpu()

    @cached_property
    def _known(self) -> Tensor:
        return to_unit(to_model(self.train.images.to(self.device)))

    def _nearest(self, images: Tensor) -> Tensor:
        """Distances of the first uint8 images (N, C, H, W) to their nearest training images, at most 1,000."""
        return nearest(to_unit(to_model(images[:MAX_NEAREST].to(self.device))), self._known).cpu()

    @cached_property
    def _nearest_test(self) -> float:
        key = {"nearest in": of_pixels(self.train.images), "images": of_pixels(self.test.images[:MAX_NEAREST])}
        return float(self._kept(key, lambda: self._nearest(self.test.images)).median())

    def _kept(self, key: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` returns: from the cache, if all processes find it there."""
        key |= {"device": self.processes.device.type}
        kept = self.cache.load(key)
        found = list(self.processes.shared(range(self.processes.count), lambda _: kept is not None))
        if kept is not None and all(found):
            return kept
        made = make()
        if self.processes.first:
            self.cache.save(key, made)
        return made

    def _features(self, extractor: Extractor, images: Tensor, title: str) -> Tensor:
        """Features of uint8 images (N, C, H, W), (N, F)."""
        batches = images.split(FEATURE_BATCH)
        total = sum(len(batch) for batch in self.processes.mine(batches))
        with progress(f"{extractor.name} features of {title}", total, "images", self.quiet) as advance:

            def features_of(batch: Tensor) -> Tensor:
                features = extractor.features(to_unit(to_model(batch)))
                advance(len(batch))
                return features

            return torch.cat(list(self.processes.shared(batches, features_of)))


def floor_of(distance: Callable[[Tensor], float], known: Tensor, n: int, seed: int) -> float:
    """The mean distance of ``n`` features of real images, drawn from more of them, (N, F), several times."""
    if len(known) <= n:
        return distance(known)
    generator = torch.Generator().manual_seed(seed)
    sets = (known[torch.randperm(len(known), generator=generator)[:n]] for _ in range(FLOORS))
    return sum(map(distance, sets)) / FLOORS


def manifold_size(n_fid: int, test_images: int) -> int:
    """How many samples, and how many test images, precision and recall are of."""
    return min(n_fid, test_images)


def drawn(
    sampling: Sampling, image_shape: tuple[int, int, int], n: int, title: str, quiet: bool
) -> tuple[Tensor, Tensor | None]:
    """Unconditional samples, uint8 (n, C, H, W), and the labels that they were asked for, int64 (n,), if any.

    Args:
        title: what the progress bar says.
    """
    with progress(title, sampling.total_steps(n), "steps", quiet) as advance:
        batches = generate(sampling, n, image_shape, counting(advance))
        samples = torch.cat([to_uint8(batch) for batch in batches])
    labels = sampling.labels_of(range(n))
    return samples, None if labels is None else labels.cpu()
