"""Scores of a trained model, by the report's protocol (section 2.4)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffcli import __version__
from diffcli.checkpoints.evaluations import Evaluation
from diffcli.checkpoints.runs import Run
from diffcli.config.build import training_split
from diffcli.data.datasets import NO_LABEL, ImageSet
from diffcli.data.pixels import to_model, to_unit
from diffcli.diffusion.losses import fixed_draws, fixed_loss
from diffcli.diffusion.randomness import Stream
from diffcli.evaluation.bits_per_dimension import bits_of, decoder_width, why_none
from diffcli.evaluation.cas import accuracy_scores
from diffcli.evaluation.classifier import CLASSIFIED, TrainedClassifier, Unavailable, probabilities
from diffcli.evaluation.distances import Distances, draw_samples
from diffcli.evaluation.extractors import Extractor, choose_extractors
from diffcli.evaluation.judges import JudgedData, reader_of
from diffcli.evaluation.metrics import METRICS, chosen_metrics, measured_on
from diffcli.evaluation.options import EvaluateOptions
from diffcli.evaluation.protocol import Subject, allowed_metrics, check_metrics, pick_subject, protocol
from diffcli.evaluation.resampling import mean_and_error, with_error
from diffcli.evaluation.scores import RECONSTRUCTION_METRICS, where_measured
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.loading import model_on_devices
from diffcli.inference.model import Model
from diffcli.inference.restoration import Disturbance, reconstruct
from diffcli.inference.sampling import Sampling, evaluations, step_counter
from diffcli.utils.console import progress
from diffcli.utils.devices import Processes
from diffcli.utils.errors import UserError
from diffcli.utils.files import writable_folder, write_json
from diffcli.utils.options import called_with, options_of

TENTHS = 10

T = TypeVar("T")


@called_with(EvaluateOptions)
def evaluate(*args: Any, **arguments: Any) -> Evaluation:
    """Scores a trained model and writes ``eval.json`` into its run folder, or what it would hold into ``out``.

    See :func:`measure` for the scores.

    Raises:
        UserError: an option is not usable, or a metric that was named cannot be had.
    """
    return evaluate_with(options_of(EvaluateOptions, *args, **arguments))


def evaluate_with(options: EvaluateOptions) -> Evaluation:
    """Measures a trained model, see :func:`evaluate`, by options at hand."""
    subject = pick_subject(options)
    file = options.out or _file_of(subject.model.run)
    subject.model.sampler(options)  # a bad option is told before the processes start
    for name in options.priors:
        subject.model.prior_component(name)
    check_metrics(options, subject.model)
    subject.model.labels.note_readings(options)
    if not isinstance(options.run, Model):
        subject = replace(subject, model=model_on_devices(subject.model, options.devices))
    result = measure(subject, options)
    if file is None:
        return result
    if subject.model.processes.first:
        write_json(file, result.as_dict())
    return replace(result, file=file)


def _file_of(run: Run | None) -> Path | None:
    """``eval.json`` of a run, None without one.

    Raises:
        UserError: its folder cannot be written, which is told before anything is measured.
    """
    if run is None:
        return None
    try:
        writable_folder(run.folder)
    except UserError as error:
        reason = str(error).partition(";")[0]
        raise UserError(f"{reason}; name a file for the scores with `out`, for example scores.json") from error
    return run.eval_file


def measure(subject: Subject, options: EvaluateOptions) -> Evaluation:
    """The scores of a trained model, on each of its processes.

    Reconstruction scores (rmse, ssim, psnr, class_kept) start from z_t of test images, z_T unless the options name
    another one, and come twice: by the sampler (``rmse``) and by x0_hat in one step (``rmse_direct``); of a model with
    labels they are told none, unless the options name one, and beside them stands what it makes of images whose label
    it is told (``rmse_told``). Distances (fid, kid) compare unconditional samples with the test images, the extractor's
    name in the key; beside them, as ``..._floor``, as many real training images, with the labels that the samples have.
    ``swd`` is the distance of patches, which needs no features, the mean over scales and at each, as ``swd_16``.
    ``nearest`` is the median distance of samples to their nearest training image; beside it, that of test images.
    ``nll`` is a bound on the likelihood of the test images, from the first prior; beside it the KL terms' part of it,
    as ``nll_kl``. Beside most, as ``..._error``, stands a standard error: over the test images of what is their mean,
    over resampled sets of samples of distances, see :func:`~diffcli.evaluation.resampling.standard_error`.

    Raises:
        UserError: an option is not usable, or a metric that was named cannot be had.
    """
    model = subject.model
    source = model.source()
    if source.test.image_shape != model.image_shape:
        raise UserError(f"the test images are {source.test.image_shape}, the model's {model.image_shape} (C, H, W)")
    settings = protocol(subject, options, source)
    image_notes = _changed_images(model, settings["training_images"])
    # The first prior's name may be the preset's own.
    starts = {name: model.prior(name) for name in options.priors or [settings["prior"]]}
    sampling = model.sampling(options, starts[settings["prior"]])
    quiet = options.quiet or not sampling.processes.first
    data = JudgedData(model.preset.data.name, settings.get("judged_images"), source)
    classifier, extractors, notes = _instruments(options, data, sampling.processes, quiet)
    notes = [*image_notes, *notes]
    metrics = allowed_metrics(
        options, model.preset, model.denoiser.degradation, bool(extractors), classifier is not None
    )
    test = source.test[random_subset(len(source.test), settings["n_test"], options.seed)]

    @cache
    def training_images() -> ImageSet:
        return model.labelled(training_split(model.preset, source))

    start_time = time.perf_counter()
    scores: dict[str, float] = {}
    by_t: tuple[list[float | None], list[float | None]] = [], []
    option_labels = model.labels.named_labels(options, len(test))
    test_labels = model.labelled(test).labels if option_labels is None else option_labels
    if "loss" in metrics:
        losses, by_t = _loss(sampling, test, test_labels, quiet)
        scores |= losses
    if "nll" in metrics:
        exact = sampling.with_sigma(0)
        settings["decoder_width"] = decoder_width(exact, training_images())
        steps, width = settings["nll_steps"], settings["decoder_width"]
        scores |= bits_of(exact, test, test_labels, steps, width, quiet)
    elif not options.metrics and (reason := why_none(model.denoiser.degradation, settings["prior"])):
        notes.append(f"left out nll: {reason}")
    if reconstruction_metrics := [name for name in metrics if METRICS[name].source == "reconstructions"]:
        start = sampling if options.t is None else model.starting_at(options.t, sampling)
        # Noise beyond what the network was trained for is told as the strongest that it knows.
        start = start.with_sigma(min(options.disturbance.sigma, sampling.denoiser.measurement_noise))
        labels_by_suffix = model.labels.of_reconstructions(options, test)
        judge = classifier if "class_kept" in metrics else None
        for suffix, image_labels in labels_by_suffix.items():
            scores |= _reconstruction_scores(
                start,
                test,
                image_labels,
                reconstruction_metrics,
                judge,
                suffix=suffix,
                disturbance=options.disturbance,
                quiet=quiet,
            )
        if "" not in labels_by_suffix:
            notes.append(
                f"left out {', '.join(reconstruction_metrics)} without a label: this model was told every image's in "
                f"training (labels.dropped: 0); what stands in their place is of images whose label it is told"
            )
    by_prior: dict[str, dict[str, float]] = {}
    by_label: dict[str, dict[str, float]] = {}
    settings["n_floor"] = None
    if set(measured_on("samples")) & set(metrics):
        distances = Distances(
            train=training_images(),
            test=source.test,
            metrics=frozenset(metrics),
            extractors=extractors,
            classifier=classifier,
            n=options.n_fid,
            seed=options.seed,
            processes=model.processes,
            quiet=quiet,
            mirrored=source.mirrored,
        )
        for name, prior in starts.items():
            first = name == settings["prior"]
            n = max(options.n_fid, settings["n_cas"] if first and "cas" in metrics else 0)
            start_of_drawing = time.perf_counter()
            samples_and_labels = draw_samples(
                replace(sampling, prior=prior), model.image_shape, n, f"sampling {n} images from {name}", quiet
            )
            if first:
                settings["sample_seconds"] = float(f"{(time.perf_counter() - start_of_drawing) / n:.2g}")
            samples, labels = (None if part is None else part[: options.n_fid] for part in samples_and_labels)
            assert samples is not None
            by_prior[name] = distances.of(samples, labels)
            if first and extractors:
                settings["n_floor"] = distances.n_floor(labels)
            if options.per_label and labels is not None and first:
                by_label = {model.classes[label]: value for label, value in distances.by_label(samples, labels).items()}
            if first and "cas" in metrics:
                pixels, all_labels = samples_and_labels
                assert all_labels is not None
                judge_images = ImageSet(pixels, all_labels)[torch.arange(settings["n_cas"])]
                scores |= accuracy_scores(judge_images, source, options.seed, model.processes, quiet)
        scores |= by_prior[settings["prior"]]
    settings |= {
        "preset": model.preset_name,
        "data": model.preset.data.name,
        "checkpoint": str(model.checkpoint),
        "epoch": model.epoch,
        "metrics": metrics,
        "extractors": [extractor.settings for extractor in extractors],
        "classifier": classifier.settings if classifier else None,
        "evaluations": evaluations(sampling),
        "device": str(sampling.device),
        "processes": sampling.processes.count,
        "diffcli": __version__,
        "date": datetime.now().isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start_time, 1),
    }
    return Evaluation(scores, settings, by_prior, *by_t, notes, by_label).finite()


def _changed_images(model: Model, checksum: str) -> list[str]:
    """A note where the training images are not those of the training, as far as the run knows.

    Args:
        checksum: of the training images.
    """
    run_checksum = model.run.info().get("training_sha256") if model.run is not None else None
    if run_checksum in (None, checksum):
        return []
    return [
        "the images are not those of the training: the test images may hold some that were trained on, and what is "
        "compared "
        "with training images is compared with others"
    ]


def _instruments(
    options: EvaluateOptions, data: JudgedData, processes: Processes, quiet: bool
) -> tuple[TrainedClassifier | None, Sequence[Extractor], list[str]]:
    """The classifier, None where not wanted or not there, the extractors, and notes of what is left out for want of
    them.

    Raises:
        UserError: a metric that was named cannot be had.
    """
    notes: list[str] = []

    def optional(instrument: str, get: Callable[[], T]) -> T | None:
        names = [metric.name for metric in METRICS.values() if instrument in metric.requirements]
        if not set(names) & set(chosen_metrics(options.metrics, is_own_data=data.dataset not in CLASSIFIED)):
            return None
        try:
            return get()
        except Unavailable as error:
            if options.metrics:
                raise
            notes.append(f"left out {', '.join(names)}: {error}")
            return None

    extractors = optional(
        "extractor", lambda: choose_extractors(options.extractor, data, options.weights, processes, quiet)
    )
    classifier = optional("classifier", lambda: reader_of(data, processes, quiet))
    return classifier, extractors or [], notes


@torch.inference_mode()
def _loss(
    sampling: Sampling, test: ImageSet, labels: Tensor, quiet: bool
) -> tuple[dict[str, float], tuple[list[float | None], list[float | None]]]:
    """Mean training loss over the test images, t and noise fixed per image; and the means in each tenth of t/T, with
    their standard errors."""
    batches = sampling.batches(len(test))
    total = sum(len(indices) for indices in sampling.processes.share(batches))
    with progress("test loss", total, "images", quiet) as advance:

        def losses_of(indices: range) -> tuple[Tensor, Tensor]:
            index = torch.arange(indices.start, indices.stop)
            x0 = to_model(test.images[index].to(sampling.device))
            denoiser = sampling.denoiser
            draws = fixed_draws(
                denoiser.degradation,
                indices,
                x0.shape[1:],
                sampling.seed,
                Stream.TEST,
                measurement_noise=denoiser.measurement_noise,
            )
            loss = fixed_loss(denoiser, x0, draws, labels[index])
            advance(len(indices))
            return loss.cpu().double(), draws.t  # there is no float64 on MPS

        losses, times = zip(*sampling.processes.map_in_order(batches, losses_of), strict=True)
    all_losses = torch.cat(losses)
    tenth = (torch.cat(times) - 1) * TENTHS // sampling.denoiser.degradation.T
    means = [mean_and_error(all_losses[tenth == i]) for i in range(TENTHS)]
    return with_error("loss", all_losses), ([value for value, _ in means], [error for _, error in means])


def _reconstruction_scores(
    sampling: Sampling,
    test: ImageSet,
    labels: Tensor | None,
    metrics: Sequence[str],
    classifier: TrainedClassifier | None,
    *,
    suffix: str,
    disturbance: Disturbance,
    quiet: bool,
) -> dict[str, float]:
    """Scores of reconstructions of the test images from z_t, and of x0_hat in one step, as ``..._direct``.

    Args:
        labels: what the denoiser is told of the images, int64 (N,); None is nothing.
        classifier: for class_kept; None leaves it out.
        suffix: added to the names of metrics.
    """
    functions = {name: function for name, function in RECONSTRUCTION_METRICS.items() if name in metrics}
    per_image: dict[str, list[Tensor]] = defaultdict(list)
    device, start = where_measured(sampling.device), 0
    title = f"reconstructing {len(test)} test images{', told their labels' if suffix else ''}"
    with progress(title, sampling.total_steps(len(test)), "steps", quiet) as advance:
        batches = reconstruct(sampling, test.images, step_counter(advance), labels, disturbance=disturbance)
        for x0, direct in batches:
            batch = test[torch.arange(start, start + len(x0))]
            originals = to_unit(to_model(batch.images.to(device)))
            start += len(x0)
            for ending, images in (("", to_unit(x0.to(device))), ("_direct", to_unit(direct.to(device)))):
                for name, function in functions.items():
                    per_image[name + suffix + ending].append(function(originals, images).cpu())
                if classifier is not None:
                    answers = probabilities(classifier.network.to(device), images).argmax(dim=1).cpu()
                    matches = (answers == batch.labels)[batch.labels != NO_LABEL]
                    per_image["class_kept" + suffix + ending].append(matches.float())
    scores: dict[str, float] = {}
    for key, values in per_image.items():
        score = with_error(key, torch.cat(values))
        scores |= {key: score[key]} if key.endswith("_direct") and score else score
    return scores
