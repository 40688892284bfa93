"""How far unconditional samples are from real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
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
from diffcli.evaluation.scores import fid, kid, nearest, where_measured
from diffcli.generation import Sampling, counting, generate
from diffcli.progress import progress

FEATURE_BATCH = 250
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
        scores = {}
        if self.extractor is not None:
            fake, (real, floor) = self._features(self.extractor, samples, "samples"), self._real_features
            fake, real, floor = (features.to(self.device) for features in (fake, real, floor))
            distances = {"fid": fid, "kid": lambda a, b: kid(a, b, self.seed)}
            for metric, distance in distances.items():
                if metric in self.wanted:
                    scores[f"{metric}_{self.extractor.name}"] = distance(real, fake)
                    scores[f"{metric}_{self.extractor.name}_floor"] = distance(real, floor)
        if "label_kept" in self.wanted and self.classifier is not None and labels is not None and (labels >= 0).any():
            read = self._read(self.classifier, samples[labels >= 0])
            scores["label_kept"] = float((read == labels[labels >= 0]).double().mean())
            scores["label_kept_test"] = self._test_read
        if "nearest" in self.wanted:
            scores["nearest"] = float(self._nearest(samples).median())
            scores["nearest_test"] = self._nearest_test
        return scores

    def by_label(self, samples: Tensor, labels: Tensor) -> dict[int, float]:
        """The Frechet distance of the samples of each label to the test images of that label, where there are two of each."""
        assert self.extractor is not None
        fake, (real, _) = self._features(self.extractor, samples, "samples"), self._real_features
        pairs = {label: (real[self.test.labels == label], fake[labels == label]) for label in labels.unique().tolist()}
        return {label: fid(*pair) for label, pair in pairs.items() if label >= 0 and min(map(len, pair)) > 1}

    @cached_property
    def _real_features(self) -> tuple[Tensor, Tensor]:
        """Of the test images, and of ``n`` training images."""
        assert self.extractor is not None
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.seed))[: self.n]
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
