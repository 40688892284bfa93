"""What decides the scores of an evaluation: asked for before it is made, recorded in it, and recognised in it later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffcli.checkpoints.model_file import fingerprint
from diffcli.checkpoints.runs import Run
from diffcli.config.build import build_degradation, image_shape_of, training_split
from diffcli.config.schema import MOST_BITS, MOST_NOISE, Preset
from diffcli.data.datasets import Source
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.labels import NO_LABEL
from diffcli.diffusion.priors import PRIORS
from diffcli.evaluation.cache import cache_folder
from diffcli.evaluation.cas import cas_size
from diffcli.evaluation.classifier import CLASSIFIED, classifier_settings
from diffcli.evaluation.distances import MAX_NEAREST, manifold_size
from diffcli.evaluation.extractors import EXTRACTORS, INCEPTION_FILE, settings_at_hand
from diffcli.evaluation.likelihood import evaluations_of, why_none
from diffcli.evaluation.metrics import METRICS, NEIGHBOUR_METRICS, chosen, measured_on
from diffcli.evaluation.scores import ssim_window
from diffcli.inference.loading import find_checkpoint, read_model
from diffcli.inference.model import Model
from diffcli.inference.options import BatchSize, SamplerOptions
from diffcli.inference.pictures import RESTORATION
from diffcli.inference.restoration import Disturbance
from diffcli.utils.compile import precision_of
from diffcli.utils.devices import ONE_DEVICE, Devices, devices_of
from diffcli.utils.errors import UserError, unknown
from diffcli.utils.files import check_output
from diffcli.utils.hashing import of_images, of_json
from diffcli.utils.paths import expand_fields

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


@dataclass(frozen=True)
class EvaluateOptions(SamplerOptions):
    """What is measured of a trained model, and on how much.

    Args:
        run: see :func:`diffcli.load`; or a model at hand.
        metrics: keys of :data:`~diffcli.evaluation.metrics.METRICS`; none is all that the data set allows and that are not
            costly.
        n_test: test images for the loss and for reconstructions, drawn at random by the seed; None is all.
        n_fid: unconditional samples for the distances.
        n_cas: samples that the classifier of the accuracy score is trained on, and as many real images beside; None is 50,000,
            or all images that are no test images where those are fewer.
        extractor: of features, one of ``EXTRACTORS``; ``auto`` is every one that can be had, ``classifier`` both classifiers.
        inception_weights: a local copy of the Inception weights.
        prior: where sampling starts, one name or several, each in its turn; none is the preset's.
        nll_steps: network evaluations for each image of the likelihood's bound, 2..T; T is the exact sum over t, fewer are an
            unbiased estimate. None is 20, or T where that is less.
        per_label: also the Frechet distance of the samples of each label to the test images of that label.
        data_dir: folder of the data sets; None is ``DIFFCLI_DATA``, else ``data``.
        t: reconstructions start from z_t of this step, 1..T, with the sampler's steps in proportion; None is T.
        zt_bits: z_t is rounded to 2^bits values and clamped to the range of pixels, as a picture file does, 1..16; None leaves
            it as it is.
        zt_noise: standard deviation of normal noise that is added to z_t then, where pixels have the range 1.
        data: a folder of images in place of the one that the model was trained on.
        out: .json, the file of the scores; None is ``eval.json`` in the run folder, where there is one.

    Raises:
        UserError: a value is unknown or out of range, or two do not go together.
    """

    run: Run | Model | Path | str = "last"
    metrics: Sequence[str] = ()
    n_test: int | None = None
    n_fid: int = 1000
    extractor: str = "auto"
    inception_weights: Path | str | None = None
    prior: str | Sequence[str] = ()
    per_label: bool = False
    nll_steps: int | None = field(default=None, kw_only=True)
    n_cas: int | None = field(default=None, kw_only=True)
    batch_size: BatchSize = field(default=250, kw_only=True)
    data: Path | str | None = field(default=None, kw_only=True)
    out: Path | None = field(default=None, kw_only=True)
    data_dir: Path | str | None = None
    devices: Devices = ONE_DEVICE
    t: int | None = field(default=None, kw_only=True)
    zt_bits: int | None = field(default=None, kw_only=True)
    zt_noise: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        expand_fields(self, "inception_weights", "data_dir", "data", "out")
        object.__setattr__(self, "devices", devices_of(self.devices))
        if self.out is not None:
            check_output(self.out, (".json",), "out")
        cache_folder()  # what names no folder is told before anything is measured
        for name in self.metrics:
            if name not in METRICS:
                raise UserError(f"`metrics`: {unknown('metric', name, METRICS)}")
        self._check_zt()
        if self.extractor not in EXTRACTORS:
            raise UserError(f"`extractor`: {unknown('extractor', self.extractor, EXTRACTORS)}")
        if self.n_test is not None and self.n_test < 1:
            raise UserError(f"`n_test` must be at least 1, got {self.n_test}")
        if self.n_fid < 2:
            raise UserError(f"`n_fid` must be at least 2, got {self.n_fid}: a distance compares covariances")
        if self.n_cas is not None and self.n_cas < 2:
            raise UserError(f"`n_cas` must be at least 2, got {self.n_cas}")
        if self.n_cas is not None and "cas" not in self.metrics:
            raise UserError("`n_cas` is the number of samples for `cas`; ask for that, too")
        if self.inception_weights is not None:
            if self.extractor == "classifier":
                raise UserError("`inception_weights` does not go with `extractor` classifier; leave one of them out")
            if not Path(self.inception_weights).is_file():
                raise UserError(
                    f"`inception_weights` {self.inception_weights} does not exist; name a copy of {INCEPTION_FILE}"
                )

    def _check_zt(self) -> None:
        if self.t is not None and self.t < 1:
            raise UserError(f"`t` must be at least 1, got {self.t}")
        if self.zt_bits is not None and not 1 <= self.zt_bits <= MOST_BITS:
            raise UserError(f"`zt_bits` must be in 1..{MOST_BITS}, got {self.zt_bits}")
        if not 0 <= self.zt_noise <= MOST_NOISE:
            raise UserError(
                f"`zt_noise` must be in 0..{MOST_NOISE}, where pixels have the range 1, got {self.zt_noise}"
            )
        named = {"t": self.t, "zt_bits": self.zt_bits, "zt_noise": self.zt_noise or None}
        of_them = measured_on("reconstructions")
        if self.metrics and not set(self.metrics) & set(of_them):
            for name in (name for name, value in named.items() if value is not None):
                metrics = ", ".join(f"`{metric}`" for metric in of_them)
                raise UserError(
                    f"`{name}` is of reconstructions, which are measured by {metrics}; ask for one of these"
                )

    @property
    def disturbance(self) -> Disturbance:
        """Of the z_t that reconstructions start from."""
        return Disturbance(self.zt_bits, self.zt_noise)

    @property
    def weights(self) -> Path | None:
        """The file of the Inception weights."""
        return None if self.inception_weights is None else Path(self.inception_weights)

    @property
    def priors(self) -> list[str]:
        """The priors asked for, each once."""
        return list(dict.fromkeys([self.prior] if isinstance(self.prior, str) else self.prior))


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
    asked = chosen(options.metrics)
    drawn = set(asked) & set(measured_on("samples"))
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
        "n_fid": options.n_fid if drawn else None,
        "n_nearest": min(options.n_fid, MAX_NEAREST) if "nearest" in asked else None,
        "reconstruction": {
            "t": None if options.t == model.T else options.t,
            "bits": options.zt_bits,
            "noise": options.zt_noise,
        },
        "ssim": ssim_window(*model.image_shape[1:]),
    }
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
        settings["n_test"] = min(options.n_test or len(source.test), len(source.test))
        settings["test_subset"] = "all" if settings["n_test"] == len(source.test) else "random, by the seed"
        if NEIGHBOUR_METRICS & drawn:
            settings["n_manifold"] = manifold_size(options.n_fid, len(source.test))
        if "cas" in asked:
            settings["n_cas"] = cas_size(options.n_cas, source)
    # As a file gives it back: no tuples.
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def instruments(options: EvaluateOptions, preset: Preset) -> dict[str, Any]:
    """The extractors and the classifier that are at hand for a model's data set, and the metrics that they allow; None where
    no metric that is asked for needs one."""
    dataset = preset.data.name
    needed = {need for name in chosen(options.metrics) for need in METRICS[name].needs}
    extractors = settings_at_hand(options.extractor, dataset, options.weights) if "extractor" in needed else []
    classifier = classifier_settings(dataset) if "classifier" in needed and dataset in CLASSIFIED else None
    degradation = build_degradation(preset, image_shape_of(preset))
    return {
        "extractors": extractors,
        "classifier": classifier,
        "metrics": allowed(options, preset, degradation, bool(extractors), classifier is not None),
    }


def allowed(
    options: EvaluateOptions, preset: Preset, degradation: Degradation, extractor: bool, classifier: bool
) -> list[str]:
    """The metrics asked for that can be measured, in the order of ``METRICS``."""
    likelihood = why_none(degradation, (options.priors or [preset.prior.name])[0]) is None
    at_hand = {
        "extractor": extractor,
        "classifier": classifier,
        "labels": bool(preset.classes) and not _by_cluster(preset),
        "likelihood": likelihood,
    }
    asked = [METRICS[name] for name in chosen(options.metrics)]
    return [metric.name for metric in asked if all(at_hand[need] for need in metric.needs)]


def check_metrics(options: EvaluateOptions, model: Model) -> None:
    """Checks that the metrics which were asked for by name exist for a model.

    Raises:
        UserError: one does not; the line says why.
    """
    reason = why_none(model.denoiser.degradation, (options.priors or [model.preset.prior.name])[0])
    for name in options.metrics:
        if "labels" in METRICS[name].needs:
            _check_labels(name, model.preset)
    given = model.labels.numbers(options)
    if "cas" in options.metrics and given and max(given) < 0:
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


def fits(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an evaluation with the settings ``recorded`` has the scores that are ``wanted``."""
    whole = recorded.keys() >= INFORMATION | {"n_test"}
    return whole and all(name in recorded and recorded[name] == value for name, value in wanted.items())


def digest(settings: Mapping[str, Any]) -> str:
    """A short name for the settings of an evaluation, the same for equal ones."""
    deciding = {name: value for name, value in settings.items() if name not in INFORMATION}
    return of_json(deciding)[:12]
