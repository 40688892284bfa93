"""What decides the scores of an evaluation: asked for before it is made, recorded in it, and recognised in it later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcli.data.datasets import Source
from diffcli.diffusion.priors import PRIORS
from diffcli.errors import UserError, unknown
from diffcli.evaluation.classifier import CLASSIFIED, classifier_settings
from diffcli.evaluation.extractors import EXTRACTORS, INCEPTION_FILE, settings_at_hand
from diffcli.evaluation.fingerprints import of_file, of_images
from diffcli.evaluation.metrics import ssim_sigma
from diffcli.experiments.models import Choice, pick_checkpoint, pick_sampler, prior_component, training_split
from diffcli.model import Model, load_model
from diffcli.reporting.pictures import RESTORATION
from diffcli.runs import Run

METRICS = ("fid", "kid", "nearest", "ssim", "psnr", "rmse", "loss", "class_kept")
MAX_NEAREST = 1000
INFORMATION = frozenset({"preset", "data", "checkpoint", "epoch", "device", "processes", "diffcli", "date", "seconds"})
"""Settings of an evaluation that are recorded for the user's information: the scores do not depend on them."""


@dataclass(frozen=True)
class Request:
    """What an evaluation measures, and on how much, as asked for.

    Args:
        metrics: some of ``METRICS``; none is all that the data set allows.
        n_test: test images for loss and reconstructions; None is all.
        n_fid: unconditional samples for the distances.
        extractor: one of ``EXTRACTORS``.
        inception_weights: a local copy of the Inception weights.
        priors: where sampling starts, each in its turn; none is the preset's.

    Raises:
        UserError: a value is unknown or out of range, or two do not go together.
    """

    metrics: Sequence[str] = ()
    n_test: int | None = None
    n_fid: int = 1000
    extractor: str = "auto"
    inception_weights: Path | None = None
    priors: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.extractor not in EXTRACTORS:
            raise UserError(f"--extractor: {unknown('extractor', self.extractor, EXTRACTORS)}")
        if self.n_test is not None and self.n_test < 1:
            raise UserError(f"--n-test must be at least 1, got {self.n_test}")
        if self.n_fid < 2:
            raise UserError(f"--n-fid must be at least 2, got {self.n_fid}: a distance compares covariances")
        if self.inception_weights is not None:
            if self.extractor == "classifier":
                raise UserError("--inception-weights does not go with --extractor classifier; leave one of them out")
            if not self.inception_weights.is_file():
                raise UserError(
                    f"--inception-weights {self.inception_weights} does not exist; name a copy of {INCEPTION_FILE}"
                )


@dataclass(frozen=True)
class Subject:
    """The model that is evaluated, and the run that it belongs to."""

    run: Run | None
    model: Model
    checkpoint_sha256: str


def pick_subject(choice: Choice) -> Subject:
    """The model that was asked for.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    run, checkpoint = pick_checkpoint(choice)
    # Before the weights are read: should a training replace the file in between, then the scores are of newer weights
    # than the checksum says, and are measured again, not taken for those of older ones.
    checksum = of_file(checkpoint) if checkpoint.is_file() else ""
    return Subject(run, load_model(checkpoint), checksum)


def protocol(subject: Subject, choice: Choice, request: Request, source: Source | None) -> dict[str, Any]:
    """Everything that decides the scores, as ``eval.json`` holds it, but for the extractor: see :func:`instruments`.

    Args:
        source: the model's data set; without it what depends on the images is left out.

    Raises:
        UserError: an option does not fit the model.
    """
    model = subject.model
    sampler, steps = pick_sampler(model, choice)
    components = [prior_component(model, name) for name in request.priors or [model.preset.prior.name]]
    first = components[0]
    settings = {
        "checkpoint_sha256": subject.checkpoint_sha256,
        "prediction": model.preset.prediction,
        "degradation": model.preset.degradation.model_dump(),
        "schedule": model.preset.schedule.model_dump() if model.preset.schedule else None,
        "noise": model.preset.noise.model_dump() if model.preset.noise else None,
        "prior": first.name,
        "kind": RESTORATION if PRIORS[first.name].restores else "generation",
        "sampler": sampler.model_dump() | {"steps": len(steps) - 1},
        "seed": choice.seed,
        "n_fid": request.n_fid,
        "n_nearest": min(request.n_fid, MAX_NEAREST),
        "ssim": {"sigma": ssim_sigma(model.image_shape[-1]), "data_range": 1.0},
    }
    if request.n_test is not None:
        settings["n_test"] = request.n_test
    if source is not None:
        settings["test_images"] = of_images(source.test)
        settings["training_images"] = of_images(training_split(source, model.preset))
        settings["n_test"] = min(request.n_test or len(source.test), len(source.test))
    # As a file gives it back: no tuples.
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def instruments(request: Request, dataset: str) -> dict[str, Any]:
    """The extractor and the classifier that are at hand for a data set, and the metrics that they allow."""
    extractor = settings_at_hand(request.extractor, dataset, request.inception_weights)
    classifier = classifier_settings(dataset) if dataset in CLASSIFIED else None
    return {
        "extractor": extractor,
        "classifier": classifier,
        "metrics": allowed(request, extractor is not None, classifier is not None),
    }


def allowed(request: Request, extractor: bool, classifier: bool) -> list[str]:
    """The metrics asked for that can be measured, in the order of ``METRICS``."""
    missing = (set() if extractor else {"fid", "kid"}) | (set() if classifier else {"class_kept"})
    return [name for name in METRICS if name in (request.metrics or METRICS) and name not in missing]


def fits(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an evaluation with the settings ``recorded`` has the scores that are ``wanted``."""
    whole = recorded.keys() >= INFORMATION | {"n_test"}
    return whole and all(name in recorded and recorded[name] == value for name, value in wanted.items())


def digest(settings: Mapping[str, Any]) -> str:
    """A short name for the settings of an evaluation, the same for equal ones."""
    deciding = {name: value for name, value in settings.items() if name not in INFORMATION}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]
