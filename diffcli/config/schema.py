"""The schema of presets: which components a model is made of, and how it is trained.

A preset names one component of each kind (``schedule: {name: constant, T: 2000, beta: 0.001}``). The parameters that a
component takes are those of the function or class that is registered under the name, so the schema of a new one is its
signature; :mod:`diffcli.config.registry` checks them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from diffcli.utils.errors import UserError, unknown_name

Positive = Annotated[int, Field(ge=1)]
PrecisionName = Literal["32", "32-true", "16", "16-mixed", "bf16", "bf16-mixed", "auto"]
Weight = Annotated[float, Field(ge=0, le=100)]


class Strict(BaseModel):
    """No coercion, no unknown keys, no mutation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Component(BaseModel):
    """A name in a registry and the parameters of what is registered there."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class Sampler(Component):
    """A sampler and what all samplers share.

    Args:
        steps: how many from T to 0; null is all T.
        spacing: of the steps: ``even`` over t, or ``log-snr``, over the logarithm of the signal-to-noise ratio.
        clip: every estimate of the clean image is clipped to the range of pixels (Ho et al. 2020's code does; Saharia
            et al. 2022, section 2.3, "static thresholding").
        guidance: weight of classifier-free guidance by labels (Ho & Salimans 2022); 1 is none.
        autoguidance: weight of the guidance by an early average of the weights (Karras et al. 2024); 1 is none.
        guided_t: the interval of t/T in which estimates are guided (Kynkäänniemi et al. 2024).
    """

    steps: Positive | None = None
    spacing: Literal["even", "log-snr"] = "even"
    clip: bool = False
    guidance: Weight = 1.0
    autoguidance: Weight = 1.0
    guided_t: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)] = [0.0, 1.0]


def seconds(duration: str) -> float:
    """``90s``, ``10m`` or ``1.5h`` in seconds.

    Raises:
        ValueError: it is something else, or no time at all.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", duration)
    if not match or float(match[1]) == 0:
        raise PydanticCustomError("duration", "a time is a number and s, m or h, for example 10m")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _checked_duration(duration: str) -> str:
    seconds(duration)
    return duration


Duration = Annotated[str, AfterValidator(_checked_duration)]


class LabelSettings(Strict):
    """The labels that a model learns to draw by.

    Args:
        dropped: share of the images whose label is hidden in a training step, so that the model can do without one.
        classes: their names, label 0 first; null takes them from the data set, which has to have these.
        clusters: labels found in the training images, in place of the data set's: so many k-means clusters, 0 first.
    """

    dropped: Annotated[float, Field(ge=0, lt=1)] = 0.1
    classes: list[str] | None = None
    clusters: Annotated[int, Field(ge=2, le=10_000)] | None = None

    @property
    def names(self) -> list[str]:
        """The names of the labels, label 0 first, in a resolved preset."""
        return [str(number) for number in range(self.clusters)] if self.clusters else self.classes or []

    def works_without(self, unlabelled_share: float) -> bool:
        """Whether a training has images without a label, so that the model has an estimate for them: those whose label
        is hidden, or a share that has none."""
        return self.dropped > 0 or unlabelled_share > 0


class Distillation(Strict):
    """The teacher of a model of few steps, see :mod:`diffcli.diffusion.distillation`; the steps are the sampler's.

    Args:
        teacher: a model as :func:`diffcli.load` takes it: a run, a ready model or a file. The student begins from its
            weights.
    """

    teacher: str


class Training(Strict):
    """The settings of a training (report 2.3.2; the defaults are the report's).

    Args:
        epochs: passes over the training split, counted from 1.
        max_time: ends the training earlier, and ``lr_decay`` with it; fitting the prior and time spent before a resume
            count.
        optimizer: ``muon`` trains the hidden convolutions, of a transformer the hidden matrices, by Muon at a learning
            rate of 0.02 (Jordan et al. 2024), and the other weights by AdamW.
        precision: of the network's products; ``auto`` is bf16-mixed where the device is fast at it. Weights stay
            float32.
        lr: AdamW's learning rate.
        warmup: steps over which the learning rate grows from 0 to ``lr``.
        lr_decay: half a cosine from ``lr`` to 0 over the training (Loshchilov & Hutter 2017, Eq. 5).
        weight_decay: AdamW's (Loshchilov & Hutter 2019), with which 0 is Adam, and Muon's.
        clip_norm: the gradient's norm is clipped to this.
        ema: decay a step of the exponential moving average of the weights, which validation and sampling then use.
        guide_at: share of the training at which a copy of the average, or of the weights, is put aside for
            autoguidance.
        t_distribution: of t / T in training, see :mod:`diffcli.diffusion.times`.
        stratified_t: spreads the t of each batch evenly.
        loss: the prediction whose errors the loss counts; null is the preset's own. A network that predicts x0 with the
            loss of v is that of Li & He 2025; noise only.
        min_snr: gamma of the min-SNR weighting (Hang et al. 2023), in place of ``loss``; noise only.
        val_share: of the development images, held out for validation.
        val_every: epochs from one validation to the next.
        sample_epochs: epochs after which ``sample_n`` samples are drawn and the weights are kept, as
            ``epoch-005.ckpt``.
    """

    epochs: Positive = 50
    max_time: Duration | None = None
    batch_size: Positive = 128
    optimizer: Literal["adamw", "muon"] = "adamw"
    precision: PrecisionName = "32-true"
    lr: Annotated[float, Field(gt=0, le=1)] = 2e-4
    warmup: Annotated[int, Field(ge=0)] = 0
    lr_decay: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    guide_at: Annotated[float, Field(gt=0, lt=1)] | None = None
    t_distribution: str = "uniform"
    stratified_t: bool = False
    loss: str | None = None
    min_snr: Annotated[float, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    val_every: Positive = 1
    sample_epochs: list[Positive] = []
    sample_n: Positive = 16


class Preset(Strict):
    """A whole model and its training, as the YAML files in ``presets/`` hold it.

    Args:
        schedule: of the degradation's betas; null where it takes none.
        labels: null is a model without.
        input: what the network is given: x_t as it is (``degraded``); the linear estimate of x_0 from it (``wiener``),
            in which the modes that a blur left are as strong as in an image, blurs only; or x_t as it is where pixels
            are in [-1, 1] (``full-range``), as networks of other libraries know it, Gaussian noise only.
        noise: what is added to a degradation that draws none of its own, see :mod:`diffcli.diffusion.noise_levels`.
        measurement_noise: the largest standard deviation, where pixels have the range 1, of noise that is no part of
            the degradation: what a file of 8 bits, or a sensor, adds to x_t. Each image of the training has its own,
            between none and this, and the network is told; null is a model of exact x_t alone.
        distillation: of a model of few steps by one of many; null is a training on images alone.
    """

    description: str
    data: Component
    schedule: Component | None = None
    degradation: Component
    noise: Component | None = None
    measurement_noise: Annotated[float, Field(ge=1e-3, le=1)] | None = None
    network: Component
    input: str = "degraded"
    prediction: str
    prior: Component
    sampler: Sampler
    training: Training
    labels: LabelSettings | None = None
    distillation: Distillation | None = None

    @property
    def classes(self) -> int:
        """Number of labels that the network knows, in a resolved preset; 0 where it takes none."""
        return len(self.labels.names) if self.labels is not None else 0

    @property
    def validates(self) -> bool:
        """Whether a training of it is validated: no loss on real images says how good a student's are."""
        return self.distillation is None


LEADING_ZERO = re.compile(r"([-+]?)0+(\d+)")


def explain(error: ValidationError, prefix: str = "", allowed_keys: dict[str, list[str]] | None = None) -> str:
    """The first of a validation's errors as one line: the dotted key, what is wrong, what would be right.

    An unknown key comes before a missing one, which it often is, misspelt.

    Args:
        prefix: dotted path of what was validated.
        allowed_keys: keys allowed below each dotted path, to name the nearest to an unknown one.
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    parts = [str(part) for part in first["loc"]]
    path = ".".join([*([prefix] if prefix else []), *parts])
    if first["type"] == "extra_forbidden":
        parent = ".".join(parts[:-1])
        by_section = {
            section: [".".join(filter(None, [prefix, section, k])) for k in keys]
            for section, keys in (allowed_keys or {}).items()
        }
        every = [key for keys in by_section.values() for key in keys]
        return unknown_name("key", path, by_section.get(parent, []), every)
    if first["type"] == "missing":
        return f"{path} is missing"
    value = first["input"]
    return (
        f"{path}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {value!r:.80}{_notation_hint(first['type'], value)}"
    )


def _notation_hint(type_: str, value: Any) -> str:
    """A hint how to write what was most likely meant, where a value reads as one of another type."""
    if type_ == "string_type" and isinstance(value, (bool, int, float)):
        return "; quotes make it text"
    if type_ in ("int_type", "float_type") and isinstance(value, str) and (match := LEADING_ZERO.fullmatch(value)):
        return f"; write it without the leading zero, {match[1]}{match[2]}"
    if type_ == "bool_type" and str(value).lower() in ("yes", "no", "on", "off", "y", "n"):
        return "; write true or false"
    return ""


def validate(values: Any, place: str) -> Preset:
    """A mapping -> a checked preset.

    Raises:
        UserError: a key is unknown, missing, or of the wrong type; the line names it and the nearest known one.
    """
    if not isinstance(values, dict):
        raise UserError(f"{place}: a preset is a mapping of keys to values; see 'diffcli presets quickstart'")
    allowed_keys = {
        "": list(Preset.model_fields),
        "training": list(Training.model_fields),
        "labels": list(LabelSettings.model_fields),
        "distillation": list(Distillation.model_fields),
        "sampler": list(Sampler.model_fields),
    }
    try:
        return Preset.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{place}: {explain(error, allowed_keys=allowed_keys)}") from error


SINCE: dict[tuple[str, str], dict[str, Any]] = {("data", "folder"): {"hold_out": "random"}}
"""Parameters that components got since version 0.3, with the value that stands for what they did before."""


def validate_stored(values: Any, place: str) -> Preset:
    """Checks a preset that was written with every default by the version that trained the model: what it does not name
    is as it was then.

    Raises:
        UserError: see there.
    """
    preset = validate(values, place)
    former = {}
    for (kind, name), parameters in SINCE.items():
        component = getattr(preset, kind)
        if component is not None and component.name == name:
            former[kind] = component.model_copy(update=parameters | component.parameters)
    return preset.model_copy(update=former)
