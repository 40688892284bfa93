"""The judges of a data set: two classifiers, in whose features samples are measured.

Digits have those that come along. Of every other data set they are trained, once, on all images that are no test
images: by its classes, or by k-means clusters where there are none. They are the same for every model of these images,
whatever its labels and its share of validation images, and are kept in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffcli.data.clusters import cluster_centres, label_by_cluster
from diffcli.data.sources import ImageSet, Source
from diffcli.evaluation.classifier import (
    CLASSIFIED,
    JUDGES,
    TrainedClassifier,
    Unavailable,
    classifier_settings,
    load_classifier,
)
from diffcli.evaluation.fitting import accuracy, fit, labelled
from diffcli.utils.cache import Cache
from diffcli.utils.console import progress
from diffcli.utils.devices import Processes
from diffcli.utils.hashing import of_images, of_json, of_tensors

CLUSTERS = 10
"""Clusters that stand for classes where the data have none."""
FEWEST = 20
"""Images that a judge is trained on at least."""
STEPS = 750
"""Training steps of a judge at most."""
BATCH = 64
VERSION = 1
"""The version of how judges are trained: one that was trained in another way is another judge."""
NETWORK = "network."
READER = "classifier"
"""The judge that says which class an image is of."""

_judges: dict[str, TrainedClassifier] = {}
"""Judges that this process has trained or read, by the checksum of their key."""


@dataclass(frozen=True)
class JudgedData:
    """A data set as its judges see it.

    Args:
        dataset: its name.
        content: a checksum of what judges are trained on; None where they come along, or the images are not at hand.
        source: the images; None where they are not at hand.
        evaluation_settings: the settings of an evaluation: without the images, its judges are all that can be had.
    """

    dataset: str
    content: str | None = None
    source: Source | None = None
    evaluation_settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: str, source: Source) -> JudgedData:
        """The data set of this name whose images these are."""
        if dataset in CLASSIFIED:
            return cls(dataset, None, source)
        return cls(dataset, of_images(source.development.images, source.development.labels), source)


def judges_at_hand(data: JudgedData) -> dict[str, dict[str, Any]]:
    """The settings of the judges that need no training now, by their names: those that come along or were trained."""
    if data.dataset in CLASSIFIED:
        return {name: classifier_settings(data.dataset, name) for name in JUDGES}
    if data.content is None:
        return _recorded_judges(data.evaluation_settings)
    judges = {name: _load(data, name) for name in JUDGES}
    return {name: judge.settings for name, judge in judges.items() if judge is not None}


def _recorded_judges(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of the judges that an evaluation was made with; none of somebody else's file."""
    extractors = settings.get("extractors")
    entries = [one for one in extractors if isinstance(one, dict)] if isinstance(extractors, list) else []
    by_name = {name: one for one in entries if (name := one.get("name")) in JUDGES}
    return {name: {key: value for key, value in one.items() if key != "name"} for name, one in by_name.items()}


def reader_at_hand(data: JudgedData) -> dict[str, Any] | None:
    """The settings of the judge that reads classes, as far as it needs no training now."""
    if data.dataset in CLASSIFIED:
        return classifier_settings(data.dataset, READER)
    if data.content is None:
        return data.evaluation_settings.get("classifier")
    judge = _load(data, READER)
    return judge.settings if judge is not None and judge.by_class else None


def reader_of(data: JudgedData, processes: Processes, quiet: bool) -> TrainedClassifier:
    """The judge that reads the classes of a data set; it is trained where that was not done before.

    Raises:
        Unavailable: the data have no classes, or none can be trained.
    """
    if data.source is not None and data.dataset not in CLASSIFIED and not _has_classes(data.source):
        raise Unavailable(f"the images of {data.dataset} have no classes, and no classifier of them comes along")
    return judges_of(data, processes, quiet, [READER])[READER]


def judges_of(
    data: JudgedData, processes: Processes, quiet: bool, names: Sequence[str] = tuple(JUDGES)
) -> dict[str, TrainedClassifier]:
    """Judges of a data set by their names; they are trained where that was not done before.

    Args:
        names: keys of ``JUDGES``.

    Raises:
        Unavailable: none come along, and none can be trained; the line says why.
    """
    if data.dataset in CLASSIFIED:
        return {name: load_classifier(data.dataset, name) for name in names}
    if (source := data.source) is None:
        raise Unavailable(f"no classifier of {data.dataset} comes along, and there are no images to train one on")
    data = data if data.content is not None else JudgedData.of(data.dataset, source)
    judges = {name: _load(data, name) for name in names}
    # Of several processes each may have a cache of its own.
    rank_names = [name for name, judge in judges.items() if judge is not None]
    at_hand = set.intersection(*map(set, processes.map_in_order(range(processes.count), lambda _: rank_names)))
    missing_names = [name for name in names if name not in at_hand]
    if missing_names:
        train, test, by_class = labelled_parts(data.dataset, source)
        total = STEPS * len(processes.share(missing_names))
        with progress(
            f"training {' and '.join(missing_names)} on {len(train):,} images, once", total, "steps", quiet
        ) as advance:

            def train_one(name: str) -> dict[str, Tensor]:
                return train_judge(name, train, test, by_class, device=processes.device, advance=advance)

            results = dict(zip(missing_names, processes.map_in_order(missing_names, train_one), strict=True))
        for name, tensors in results.items():
            if processes.first:
                Cache().save_all(_key(data, name), tensors)
            judges[name] = _judges[of_json(_key(data, name))] = _judge(data, name, tensors)
    return {name: judge for name, judge in judges.items() if judge is not None}


def labelled_parts(dataset: str, source: Source) -> tuple[ImageSet, ImageSet, bool]:
    """The images to train judges on and the test images, with labels, and whether these are the data set's classes.

    Raises:
        Unavailable: there are too few images, or all of them are of one kind.
    """
    development, test = labelled(source.development), labelled(source.test)
    by_class = _has_classes(source)
    if not by_class and len(source.development) >= CLUSTERS:
        centres = cluster_centres(source.development.images, CLUSTERS)
        development, test = label_by_cluster(source.development, centres), label_by_cluster(source.test, centres)
    if len(development) < FEWEST or len(development.labels.unique()) < 2:
        raise Unavailable(
            f"no classifier of {dataset} comes along, and to train one takes {FEWEST} images of different kinds: there "
            f"are {len(development)} beside the test images"
        )
    return development, test, by_class


def _has_classes(source: Source) -> bool:
    """Whether there are at least two, and test images with one."""
    return len(labelled(source.development).labels.unique()) > 1 and len(labelled(source.test)) > 0


def train_judge(
    name: str,
    train: ImageSet,
    test: ImageSet,
    by_class: bool,
    *,
    device: torch.device,
    advance: Callable[[int], None] = lambda count: None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """The weights of a judge and the facts about it, as the cache holds them.

    Args:
        name: a key of ``JUDGES``.
        seed: of its weights and its training; None is the judge's own.
    """
    kind = JUDGES[name]
    seed = kind.seed if seed is None else seed
    classes, channels, side = int(train.labels.max()) + 1, train.image_shape[0], min(train.image_shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind.network(channels, classes, side).to(device)
    fit(network, train, limit=STEPS, batch=BATCH, seed=seed, advance=advance)
    facts = {"channels": channels, "side": side, "by_class": by_class, "test_accuracy": accuracy(network, test)}
    tensors = {f"{NETWORK}{key}": value.cpu() for key, value in network.state_dict().items()}
    return tensors | {key: torch.tensor(float(value), dtype=torch.float64) for key, value in facts.items()}


def _key(data: JudgedData, name: str) -> dict[str, Any]:
    return {"judge": name, "images": data.content, "training": [VERSION, STEPS, BATCH]}


def _load(data: JudgedData, name: str) -> TrainedClassifier | None:
    """A judge that was trained before; None where there is none."""
    if data.content is None:
        return None
    key = _key(data, name)
    judge = _judges.get(of_json(key))
    if judge is None and (tensors := Cache().load_all(key)) is not None:
        judge = _judges[of_json(key)] = _judge(data, name, tensors)
    return judge


def _judge(data: JudgedData, name: str, tensors: dict[str, Tensor]) -> TrainedClassifier:
    """The judge that the cache's tensors are of."""
    weights = {key.removeprefix(NETWORK): value for key, value in tensors.items() if key.startswith(NETWORK)}
    classes, by_class = len(weights["head.bias"]), bool(tensors["by_class"])
    network = JUDGES[name].network(int(tensors["channels"]), classes, int(tensors["side"]))
    network.load_state_dict(weights)
    settings = {
        "weights": f"trained on these images' {classes} {'classes' if by_class else 'clusters'}",
        "weights_sha256": of_tensors(weights),
        "features": network.num_features,
        "test_accuracy": round(float(tensors["test_accuracy"]), 6),
    }
    return TrainedClassifier(network.eval().requires_grad_(False), settings, by_class)
