"""The settings that decide the scores of an evaluation: asked for before it is made, recorded in it, and recognised in
it later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffcli.checkpoints.model_file import fingerprint
from diffcli.config.build import build_degradation, training_split
from diffcli.config.schema import Preset
from diffcli.data.datasets import Source
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.labels import NO_LABEL
from diffcli.diffusion.priors import PRIORS
from diffcli.evaluation.bits_per_dimension import evaluations_of, why_none
from diffcli.evaluation.cas import cas_size
from diffcli.evaluation.classifier import CLASSIFIED
from diffcli.evaluation.distances import MAX_NEAREST, MAX_SWD, manifold_size
from diffcli.evaluation.extractors import settings_at_hand
from diffcli.evaluation.fitting import SCORE_STEPS
from diffcli.evaluation.judges import JudgedData, reader_at_hand
from diffcli.evaluation.metrics import METRICS, NEIGHBOUR_METRICS, chosen_metrics, measured_on
from diffcli.evaluation.options import EvaluateOptions
from diffcli.evaluation.scores import ssim_window
from diffcli.inference.loading import find_checkpoint, read_model
from diffcli.inference.model import Model
from diffcli.inference.pictures import RESTORATION
from diffcli.utils.compile import precision_of
from diffcli.utils.errors import UserError
from diffcli.utils.hashing import of_images, of_json

INFORMATION = frozenset(
    {
        "preset",
        "data",
        "checkpoint",
        "epoch",
        "evaluations",
        "n_floor",
        "device",
        "processes",
        "diffcli",
        "date",
        "seconds",
    }
)
"""Settings of an evaluation that are recorded for the user's information: the scores do not depend on them."""
SINCE_0_9 = frozenset({"sample_seconds"})
"""The same, of which evaluations by earlier versions hold none, and those that draw no samples."""


@dataclass(frozen=True)
class Subject:
    """The model that is evaluated, and a checksum of its weights."""

    model: Model
    checkpoint_sha256: str


def pick_subject(options: EvaluateOptions) -> Subject:
    """The model that was asked for, on the CPU unless it is at hand.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    if isinstance(options.run, Model):
        model = options.run
        data_dir, data = options.data_dir or model.data_dir, options.data or model.data
        subject = Subject(replace(model, data_dir=data_dir, data=data), fingerprint(model.checkpoint))
        subject.model.check_data()
        return subject
    run, checkpoint = find_checkpoint(options.run)
    # Before the weights are read: should a training replace the file in between, then the scores are of newer weights
    # than the checksum says, and are measured again, not taken for those of older ones.
    checksum = fingerprint(checkpoint)
    model = replace(read_model(checkpoint), run=run, data_dir=options.data_dir, data=options.data)
    model.check_data()
    return Subject(model, checksum)


def protocol(subject: Subject, options: EvaluateOptions, source: Source | None) -> dict[str, Any]:
    """Everything that decides the scores, as ``eval.json`` holds it, but for the extractors: see :func:`instruments`.

    Args:
        source: the model's data set; without it what depends on the images is left out.

    Raises:
        UserError: an option does not fit the model.
    """
    model = subject.model
    sampler, steps = model.sampler(options)
    components = [model.prior_component(name) for name in options.priors or [model.preset.prior.name]]
    first = components[0]
    metrics = chosen_metrics(options.metrics, is_own_data=model.preset.data.name not in CLASSIFIED)
    sample_metrics = set(metrics) & set(measured_on("samples"))
    if options.t is not None:
        model.check_t(options.t)
    settings: dict[str, Any] = {
        "checkpoint_sha256": subject.checkpoint_sha256,
        "prediction": model.preset.prediction,
        "degradation": model.preset.degradation.model_dump(),
        "schedule": model.preset.schedule.model_dump() if model.preset.schedule else None,
        "noise": model.preset.noise.model_dump() if model.preset.noise else None,
        "prior": first.name,
        "kind": RESTORATION if PRIORS[first.name].restores else "generation",
        "sampler": sampler.model_dump() | {"steps": len(steps) - 1},
        "seed": options.seed,
        "precision": model.precision if isinstance(options.run, Model) else precision_of(options.devices),
        "n_fid": options.n_fid if sample_metrics else None,
        "n_nearest": min(options.n_fid, MAX_NEAREST) if "nearest" in metrics else None,
        "reconstruction": {
            "t": None if options.t == model.T else options.t,
            "bits": options.zt_bits,
            "noise": options.zt_noise,
        },
        "ssim": ssim_window(*model.image_shape[1:]),
    }
    if "swd" in metrics:
        settings["n_swd"] = min(options.n_fid, MAX_SWD)
    if model.preset.measurement_noise:
        settings["measurement_noise"] = model.preset.measurement_noise
    if model.classes:
        # Which labels samples get, and what loss and likelihood are told; none given is those of the data.
        labels = model.labels.numbers(options)
        settings["label"] = labels or "data"
        settings["per_label"] = options.per_label
        settings["reconstruction_label"] = labels if any(number != NO_LABEL for number in labels) else None
    if options.per_label:
        _check_labels("per_label", model.preset)
    if why_none(model.denoiser.degradation, first.name) is None:
        settings["nll_steps"] = evaluations_of(options.nll_steps, model.T)
    if options.n_test is not None:
        settings["n_test"] = options.n_test
    if source is not None:
        settings["test_images"] = of_images(source.test.images, source.test.labels)
        train = training_split(model.preset, source)
        settings["training_images"] = of_images(train.images, train.labels)
        if model.preset.data.name not in CLASSIFIED:
            settings["judged_images"] = of_images(source.development.images, source.development.labels)
        settings["n_test"] = min(options.n_test or len(source.test), len(source.test))
        settings["test_subset"] = "all" if settings["n_test"] == len(source.test) else "random, by the seed"
        if NEIGHBOUR_METRICS & sample_metrics:
            settings["n_manifold"] = manifold_size(options.n_fid, len(source.test))
        if "cas" in metrics:
            settings["n_cas"] = cas_size(options.n_cas, source)
            settings["cas_steps"] = SCORE_STEPS
    # As a file gives it back: no tuples.
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def instruments(
    options: EvaluateOptions, preset: Preset, judged_images: str | None, evaluation_settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The extractors and the classifier that are at hand for a model's data set, and the metrics that they allow; None
    where no metric that is asked for needs one.

    Args:
        judged_images: the checksum of what the judges of the data are trained on; None where they come along, or the
            images are not there.
        evaluation_settings: the settings of an evaluation, whose judges are at hand where the images are not.
    """
    data = JudgedData(preset.data.name, judged_images, evaluation_settings=evaluation_settings)
    metrics = chosen_metrics(options.metrics, is_own_data=data.dataset not in CLASSIFIED)
    requirements = {requirement for name in metrics for requirement in METRICS[name].requirements}
    extractors = settings_at_hand(options.extractor, data, options.weights) if "extractor" in requirements else []
    classifier = reader_at_hand(data) if "classifier" in requirements else None
    degradation = build_degradation(preset)
    return {
        "extractors": extractors,
        "classifier": classifier,
        "metrics": allowed_metrics(options, preset, degradation, bool(extractors), classifier is not None),
    }


def allowed_metrics(
    options: EvaluateOptions, preset: Preset, degradation: Degradation, extractor: bool, classifier: bool
) -> list[str]:
    """The metrics asked for that can be measured, in the order of ``METRICS``."""
    likelihood = why_none(degradation, (options.priors or [preset.prior.name])[0]) is None
    at_hand = {
        "extractor": extractor,
        "classifier": classifier,
        "labels": bool(preset.classes) and not _by_cluster(preset),
        "likelihood": likelihood,
        "denoiser": preset.distillation is None,
    }
    metrics = [
        METRICS[name] for name in chosen_metrics(options.metrics, is_own_data=preset.data.name not in CLASSIFIED)
    ]
    return [metric.name for metric in metrics if all(at_hand[requirement] for requirement in metric.requirements)]


def check_metrics(options: EvaluateOptions, model: Model) -> None:
    """Checks that the metrics which were asked for by name exist for a model.

    Raises:
        UserError: one does not; the line says why.
    """
    reason = why_none(model.denoiser.degradation, (options.priors or [model.preset.prior.name])[0])
    for name in options.metrics:
        if "labels" in METRICS[name].requirements:
            _check_labels(name, model.preset)
    if (distillation := model.preset.distillation) is not None:
        names = [name for name in options.metrics if "denoiser" in METRICS[name].requirements]
        if options.nll_steps is not None:
            names.append("nll_steps")
        if names:
            raise UserError(
                f"`{names[0]}`: {model.preset_name} was distilled for few steps, and is no denoiser any more; measure "
                f"its teacher, {distillation.teacher}"
            )
    labels = model.labels.numbers(options)
    if "cas" in options.metrics and labels and max(labels) < 0:
        raise UserError("`cas`: samples without a label teach no classifier; leave `label` out")
    if reason and ("nll" in options.metrics or options.nll_steps is not None):
        raise UserError(f"{'`nll`' if 'nll' in options.metrics else '`nll_steps`'}: {reason}")
    evaluations_of(options.nll_steps, model.T)
    if options.t is not None:
        model.check_t(options.t)


def _by_cluster(preset: Preset) -> bool:
    return preset.labels is not None and preset.labels.clusters is not None


def _check_labels(name: str, preset: Preset) -> None:
    if not preset.classes:
        raise UserError(f"`{name}`: this model was trained without labels")
    if _by_cluster(preset):
        raise UserError(
            f"`{name}`: this model's labels are clusters of the training images, not the data set's classes"
        )


def fits(stored_settings: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a stored evaluation, with settings of its own, can be reused for the settings ``settings``."""
    is_complete = stored_settings.keys() >= INFORMATION | {"n_test"}
    return is_complete and all(
        name in stored_settings and stored_settings[name] == value for name, value in settings.items()
    )


def digest(settings: Mapping[str, Any]) -> str:
    """A short name for the settings of an evaluation, the same for equal ones."""
    identity = {name: value for name, value in settings.items() if name not in INFORMATION | SINCE_0_9}
    return of_json(identity)[:12]
