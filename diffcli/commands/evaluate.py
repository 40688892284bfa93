"""``diffcli eval``: the report's protocol (section 2.4)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcli import __version__
from diffcli.assembly import load_source
from diffcli.commands.models import Choice, pick_model, pick_prior, pick_sampling, training_split
from diffcli.data.datasets import ImageSet, Source
from diffcli.data.pixels import to_model, to_uint8, to_unit
from diffcli.diffusion.priors import Prior
from diffcli.diffusion.randomness import Stream
from diffcli.errors import UserError, unknown
from diffcli.evaluation.classifier import TrainedClassifier, load_classifier, probabilities
from diffcli.evaluation.extractors import EXTRACTORS, Extractor, choose
from diffcli.evaluation.metrics import RECONSTRUCTION_METRICS, fid, kid, nearest, ssim_sigma
from diffcli.generation import Sampling, counting, generate, reconstruct
from diffcli.processes import Processes
from diffcli.progress import progress
from diffcli.reporting.pictures import RESTORATION
from diffcli.runs import Model, write_json
from diffcli.training.module import fixed_loss

METRICS = ("fid", "kid", "nearest", "ssim", "psnr", "rmse", "loss", "class_kept")
MAX_NEAREST = 1000
FEATURE_BATCH = 250
TENTHS = 10


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


def evaluate(
    choice: Choice,
    metrics: Sequence[str],
    n_test: int | None,
    n_fid: int,
    extractor_name: str,
    inception_weights: Path | None,
    priors: Sequence[str],
    quiet: bool,
) -> Evaluation:
    """Scores a trained model and writes ``eval.json`` into its run folder.

    Reconstruction scores (rmse, ssim, psnr, class_kept) start from z_T of test images and come twice: by the sampler
    (``rmse``) and by x0_hat in one step (``rmse_direct``). Distances (fid, kid) compare unconditional samples with the
    test images, the extractor's name in the key; beside them, as ``..._floor``, as many real training images. ``nearest``
    is the median distance of samples to their nearest training image; beside it, that of test images.

    Args:
        metrics: some of ``METRICS``; none is all that the data set allows.
        n_test: test images for loss and reconstructions; None is all.
        n_fid: unconditional samples for the distances.
        extractor_name: one of ``EXTRACTORS``.
        inception_weights: a local copy of the Inception weights.
        priors: where sampling starts, each in its turn; none is the preset's.

    Raises:
        UserError: an option is not usable, or a metric that was named cannot be had.
    """
    if extractor_name not in EXTRACTORS:
        raise UserError(f"--extractor: {unknown('extractor', extractor_name, EXTRACTORS)}")
    if n_test is not None and n_test < 1:
        raise UserError(f"--n-test must be at least 1, got {n_test}")
    if n_fid < 2:
        raise UserError(f"--n-fid must be at least 2, got {n_fid}: a distance compares covariances")
    run, model = pick_model(choice)
    starts = {name: pick_prior(model, name, choice.data_dir) for name in priors or [model.preset.prior.name]}
    first = next(iter(starts))
    sampling = pick_sampling(model, replace(choice, prior=first))
    source = load_source(model.preset, choice.data_dir)
    if source.test.image_shape != model.image_shape:
        raise UserError(f"the test images are {source.test.image_shape}, the model's {model.image_shape} (C, H, W)")
    wanted = list(metrics or METRICS)
    notes: list[str] = []
    reader, extractor = None, None
    if "class_kept" in wanted:
        reader = _optional(lambda: load_classifier(model.preset.data.name), "class_kept", wanted, bool(metrics), notes)
    if {"fid", "kid"} & set(wanted):
        extractor = _optional(
            lambda: choose(extractor_name, model.preset.data.name, inception_weights, sampling.device),
            "fid, kid", wanted, bool(metrics), notes,
        )  # fmt: skip
    quiet = quiet or not sampling.processes.first
    test = source.test[torch.arange(min(n_test or len(source.test), len(source.test)))]
    started = time.perf_counter()
    scores: dict[str, float] = {}
    loss_by_t: list[float | None] = []
    if "loss" in wanted:
        scores["loss"], loss_by_t = _loss(sampling, test, quiet)
    scores |= _reconstruction_scores(sampling, test, wanted, reader, quiet)
    by_prior = {}
    if {"fid", "kid", "nearest"} & set(wanted):
        by_prior = _by_prior(sampling, starts, model, source, extractor, wanted, n_fid, quiet)
        scores |= by_prior[first]
    settings = {
        "preset": model.preset_name,
        "data": model.preset.data.name,
        "checkpoint": str(model.checkpoint),
        "epoch": model.epoch,
        "prior": first,
        "kind": RESTORATION if sampling.prior.restores else "generation",
        "sampler": sampling.sampler.model_dump() | {"steps": len(sampling.steps) - 1},
        "seed": sampling.seed,
        "n_test": len(test),
        "n_fid": n_fid if by_prior else None,
        "n_real": len(source.test) if extractor else None,
        "n_nearest": min(n_fid, MAX_NEAREST) if "nearest" in wanted else None,
        "extractor": {"name": extractor.name, **extractor.settings} if extractor else None,
        "classifier_test_accuracy": reader.test_accuracy if reader else None,
        "ssim": {"sigma": ssim_sigma(model.image_shape[-1]), "data_range": 1.0},
        "device": str(sampling.device),
        "processes": sampling.processes.count,
        "diffcli": __version__,
        "date": datetime.now().isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 1),
    }
    result = Evaluation(scores, settings, by_prior, loss_by_t, notes, run.eval_file if run else None)
    if run is not None and sampling.processes.first:
        write_json(run.eval_file, result.as_dict())
    return result


def _optional(get: Any, names: str, wanted: list[str], explicit: bool, notes: list[str]) -> Any:
    """What ``get`` returns; where it cannot be had, an error if it was asked for by name, else a note."""
    try:
        return get()
    except UserError as error:
        if explicit:
            raise
        notes.append(f"left out {names}: {error}")
        for name in names.split(", "):
            wanted.remove(name)
        return None


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
            return loss.double().cpu(), t

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
