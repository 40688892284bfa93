"""``diffcli eval``: the report's protocol (section 2.4)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffcli import __version__
from diffcli.assembly import load_source
from diffcli.data.datasets import ImageSet, Source
from diffcli.data.pixels import to_model, to_uint8, to_unit
from diffcli.devices import Processes
from diffcli.diffusion.losses import fixed_loss
from diffcli.diffusion.priors import Prior
from diffcli.diffusion.randomness import Stream
from diffcli.errors import UserError
from diffcli.evaluation.classifier import TrainedClassifier, classifier_settings, load_classifier, probabilities
from diffcli.evaluation.extractors import Extractor, Unavailable, choose
from diffcli.evaluation.metrics import RECONSTRUCTION_METRICS, fid, kid, nearest
from diffcli.experiments.models import Choice, pick_prior, pick_sampling, training_split
from diffcli.experiments.protocol import MAX_NEAREST, METRICS, Request, Subject, allowed, pick_subject, protocol
from diffcli.files import writable_folder, write_json
from diffcli.generation import Sampling, counting, generate, reconstruct
from diffcli.model import Model
from diffcli.progress import progress

FEATURE_BATCH = 250
TENTHS = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """Scores by key, the settings that they hold for, and what was left out and why."""

    scores: dict[str, float]
    settings: dict[str, Any]
    by_prior: dict[str, dict[str, float]] = field(default_factory=dict)
    """What depends on where sampling starts, for each prior asked for; ``scores`` holds that of the first."""
    loss_by_t: list[float | None] = field(default_factory=list)
    """Test loss in each tenth of t/T; None where no test image fell into it."""
    notes: list[str] = field(default_factory=list)
    file: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """What ``eval.json`` holds."""
        return {
            "scores": self.scores,
            "by_prior": self.by_prior,
            "loss_by_t": self.loss_by_t,
            "settings": self.settings,
            "notes": self.notes,
        }


def evaluate(choice: Choice, request: Request, quiet: bool) -> Evaluation:
    """Scores a trained model and writes ``eval.json`` into its run folder; see :func:`measure`."""
    subject = pick_subject(choice)
    if subject.run is not None:
        writable_folder(subject.run.folder)
    sampling = pick_sampling(subject.model, first_prior(choice, request))
    result = measure(subject, sampling, choice, request, quiet)
    if subject.run is None:
        return result
    if sampling.processes.first:
        write_json(subject.run.eval_file, result.as_dict())
    return replace(result, file=subject.run.eval_file)


def first_prior(choice: Choice, request: Request) -> Choice:
    """The choice with the first of the priors asked for."""
    return replace(choice, prior=next(iter(request.priors), None))


def measure(subject: Subject, sampling: Sampling, choice: Choice, request: Request, quiet: bool) -> Evaluation:
    """The scores of a trained model, on each of the sampling's processes.

    Reconstruction scores (rmse, ssim, psnr, class_kept) start from z_T of test images and come twice: by the sampler
    (``rmse``) and by x0_hat in one step (``rmse_direct``). Distances (fid, kid) compare unconditional samples with the
    test images, the extractor's name in the key; beside them, as ``..._floor``, as many real training images. ``nearest``
    is the median distance of samples to their nearest training image; beside it, that of test images.

    Args:
        sampling: what ``choice`` and the first prior of ``request`` give for the model.

    Raises:
        UserError: an option is not usable, or a metric that was named cannot be had.
    """
    model = subject.model
    source = load_source(model.preset, choice.data_dir)
    if source.test.image_shape != model.image_shape:
        raise UserError(f"the test images are {source.test.image_shape}, the model's {model.image_shape} (C, H, W)")
    settings = protocol(subject, choice, request, source)
    starts = {settings["prior"]: sampling.prior}
    for name in request.priors:
        if name not in starts:
            starts[name] = pick_prior(model, name, choice.data_dir)
    reader, extractor, notes = _instruments(request, model.preset.data.name, sampling.device)
    wanted = allowed(request, extractor is not None, reader is not None)
    quiet = quiet or not sampling.processes.first
    test = source.test[torch.arange(settings["n_test"])]
    started = time.perf_counter()
    scores: dict[str, float] = {}
    loss_by_t: list[float | None] = []
    if "loss" in wanted:
        scores["loss"], loss_by_t = _loss(sampling, test, quiet)
    scores |= _reconstruction_scores(sampling, test, wanted, reader, quiet)
    by_prior = {}
    if {"fid", "kid", "nearest"} & set(wanted):
        by_prior = _by_prior(sampling, starts, model, source, extractor, wanted, request.n_fid, quiet)
        scores |= by_prior[settings["prior"]]
    settings |= {
        "preset": model.preset_name,
        "data": model.preset.data.name,
        "checkpoint": str(model.checkpoint),
        "epoch": model.epoch,
        "metrics": wanted,
        "n_fid": request.n_fid if by_prior else None,
        "n_nearest": settings["n_nearest"] if "nearest" in wanted else None,
        "extractor": extractor.settings if extractor else None,
        "classifier": classifier_settings(reader.dataset) if reader else None,
        "device": str(sampling.device),
        "processes": sampling.processes.count,
        "diffcli": __version__,
        "date": datetime.now().isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return Evaluation(scores, settings, by_prior, loss_by_t, notes)


def _instruments(
    request: Request, dataset: str, device: torch.device
) -> tuple[TrainedClassifier | None, Extractor | None, list[str]]:
    """The classifier and the extractor, None where not wanted or not there, and notes of what is left out for that.

    Raises:
        UserError: a metric that was named cannot be had.
    """
    notes: list[str] = []

    def optional(names: Sequence[str], get: Callable[[], T]) -> T | None:
        if not set(names) & set(request.metrics or METRICS):
            return None
        try:
            return get()
        except Unavailable as error:
            if request.metrics:
                raise
            notes.append(f"left out {', '.join(names)}: {error}")
            return None

    reader = optional(["class_kept"], lambda: load_classifier(dataset))
    extractor = optional(["fid", "kid"], lambda: choose(request.extractor, dataset, request.inception_weights, device))
    return reader, extractor, notes


@torch.inference_mode()
def _loss(sampling: Sampling, test: ImageSet, quiet: bool) -> tuple[float, list[float | None]]:
    """Mean training loss over the test images, t and noise fixed per image; and the means in each tenth of t/T."""
    batches = sampling.batches(len(test))
    total = sum(len(indices) for indices in sampling.processes.mine(batches))
    with progress("test loss", total, "images", quiet) as advance:

        def losses_of(indices: range) -> tuple[Tensor, Tensor]:
            index = torch.arange(indices.start, indices.stop)
            x0 = to_model(test.images[index].to(sampling.device))
            loss, t = fixed_loss(sampling.denoiser, x0, index, sampling.seed, Stream.TEST)
            advance(len(indices))
            return loss.cpu().double(), t  # there is no float64 on MPS

        losses, times = zip(*sampling.processes.shared(batches, losses_of), strict=True)
    all_losses = torch.cat(losses)
    tenth = (torch.cat(times) - 1) * TENTHS // sampling.denoiser.degradation.T
    parts = [all_losses[tenth == i] for i in range(TENTHS)]
    return float(all_losses.mean()), [float(part.mean()) if len(part) else None for part in parts]


def _reconstruction_scores(
    sampling: Sampling, test: ImageSet, wanted: Sequence[str], reader: TrainedClassifier | None, quiet: bool
) -> dict[str, float]:
    functions = {name: function for name, function in RECONSTRUCTION_METRICS.items() if name in wanted}
    if not functions and reader is None:
        return {}
    per_image: dict[str, list[Tensor]] = defaultdict(list)
    start = 0
    title = f"reconstructing {len(test)} test images"
    with progress(title, sampling.total_steps(len(test)), "steps", quiet) as advance:
        for sampled, direct in reconstruct(sampling, test.images, counting(advance)):
            batch = test[torch.arange(start, start + len(sampled))]
            originals = to_unit(to_model(batch.images))
            start += len(sampled)
            for suffix, images in (("", to_unit(sampled)), ("_direct", to_unit(direct))):
                for name, function in functions.items():
                    per_image[name + suffix].append(function(originals, images))
                if reader is not None:
                    read = probabilities(reader.network.cpu(), images).argmax(dim=1)
                    per_image["class_kept" + suffix].append((read == batch.labels).float())
    return {key: float(torch.cat(values).double().mean()) for key, values in per_image.items()}


def _features(extractor: Extractor, images: Tensor, title: str, processes: Processes, quiet: bool) -> Tensor:
    """Features of uint8 images (N, C, H, W), (N, F)."""
    batches = images.split(FEATURE_BATCH)
    total = sum(len(batch) for batch in processes.mine(batches))
    with progress(f"{extractor.name} features of {title}", total, "images", quiet) as advance:

        def features_of(batch: Tensor) -> Tensor:
            features = extractor.features(to_unit(to_model(batch)))
            advance(len(batch))
            return features

        return torch.cat(list(processes.shared(batches, features_of)))


def _by_prior(
    sampling: Sampling,
    starts: dict[str, Prior],
    model: Model,
    source: Source,
    extractor: Extractor | None,
    wanted: Sequence[str],
    n: int,
    quiet: bool,
) -> dict[str, dict[str, float]]:
    """Scores of ``n`` unconditional samples from each prior, beside those of real images, which are the same for all."""
    train = training_split(source, model.preset).images
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(sampling.seed))[:n]
    test = source.test.images
    real = floor = None
    if extractor is not None:
        real = _features(extractor, test, "test images", sampling.processes, quiet)
        floor = _features(extractor, train[order], "training images", sampling.processes, quiet)
    if "nearest" in wanted:
        known = to_unit(to_model(train))
        test_distances = nearest(to_unit(to_model(test[:MAX_NEAREST])), known)
    found = {}
    for name, prior in starts.items():
        from_prior = replace(sampling, prior=prior)
        title = f"sampling {n} images from {name}"
        with progress(title, sampling.total_steps(n), "steps", quiet) as advance:
            batches = generate(from_prior, n, model.image_shape, counting(advance))
            samples = torch.cat([to_uint8(batch) for batch in batches])
        scores = {}
        if extractor is not None and real is not None and floor is not None:
            fake = _features(extractor, samples, "samples", sampling.processes, quiet)
            distances = {"fid": fid, "kid": lambda a, b: kid(a, b, sampling.seed)}
            for metric, distance in distances.items():
                if metric in wanted:
                    scores[f"{metric}_{extractor.name}"] = distance(real, fake)
                    scores[f"{metric}_{extractor.name}_floor"] = distance(real, floor)
        if "nearest" in wanted:
            scores["nearest"] = float(nearest(to_unit(to_model(samples[:MAX_NEAREST])), known).median())
            scores["nearest_test"] = float(test_distances.median())
        found[name] = scores
    return found
