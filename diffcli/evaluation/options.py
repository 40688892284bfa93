"""The options of measurements of a model or of a degradation; nothing heavy is loaded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.config.options import PresetsOptions
from diffcli.data.options import DataDirOptions, DataOptions
from diffcli.evaluation.metrics import METRICS, measured_on
from diffcli.inference.options import ALL_PARTS, BatchSize, SamplerOptions, batch_size_option, run_option
from diffcli.utils.devices import ONE_DEVICE, Devices, devices_option
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import output_of
from diffcli.utils.options import EFFORT, SAMPLING, Options, bounds, option
from diffcli.utils.options import METRICS as PANEL

if TYPE_CHECKING:
    from diffcli.checkpoints.runs import Run
    from diffcli.inference.model import Model
    from diffcli.inference.restoration import Disturbance

N_CAS = 50_000
"""Samples that the accuracy score's classifier is trained on at most, unless something else is asked for."""
NLL_EVALUATIONS = 20
"""Network evaluations for each image of the likelihood's bound at most, unless something else is asked for."""
MOST_BITS, MOST_NOISE = 16, 10
"""Limits of a z_t that reconstructions start from: files hold no more bits, and more noise leaves nothing of pixels."""


def metrics_option() -> Any:
    """The metrics to measure, by name; on the command line a flag for each."""
    return option(
        (),
        check=_check_metrics,
        entry_help={metric.name: metric.description for metric in METRICS.values()},
        panel=PANEL,
    )


def _check_metrics(argument: str, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if name not in METRICS:
            raise UserError(f"`{argument}`: {unknown_name('metric', name, METRICS)}")
    return names


def n_test_option() -> Any:
    """The number of test images for the loss and reconstructions."""
    return option(
        None,
        check=bounds(1),
        help="Test images to reconstruct, drawn at random by the seed.",
        default_text="all",
        panel=EFFORT,
    )


def n_fid_option() -> Any:
    """The number of samples for distances."""
    return option(
        1000,
        check=bounds(2, reason=": a distance compares covariances"),
        help="Samples for the distances.",
        panel=EFFORT,
    )


@dataclass(frozen=True, kw_only=True)
class ExtractorOptions(Options):
    """The features in which distances are measured.

    Args:
        extractor: of features, one of ``EXTRACTORS``; ``auto`` is every one that can be had, ``classifier`` both
            classifiers, which are trained on the images, once, where none come along.
        inception_weights: a local copy of the Inception weights.
    """

    extractor: str = option("auto", help="Features of the distances: auto, inception or classifier.", panel=EFFORT)
    inception_weights: Path | str | None = option(None, help="Local copy of the Inception weights.", panel=EFFORT)


@dataclass(frozen=True, kw_only=True)
class EffortOptions(ExtractorOptions):
    """The numbers of images that a model is measured on, and its devices.

    Args:
        n_cas: samples that the classifier of the accuracy score is trained on, and as many real images beside; None is
            50,000, or all images that are no test images where those are fewer.
        t: reconstructions start from z_t of this step, 1..T, with the sampler's steps in proportion; None is T.
        zt_bits: z_t is rounded to 2^bits values and clamped to the range of pixels, as a picture file does, 1..16; None
            leaves it as it is.
        zt_noise: standard deviation of normal noise that is added to z_t then, where pixels have the range 1. A model
            with ``measurement_noise`` is told of both, up to what it was trained for.
    """

    n_cas: int | None = option(
        None,
        check=bounds(2),
        help="Samples that `cas` trains a classifier on.",
        default_text=f"{N_CAS}, or all images",
        panel=EFFORT,
    )
    t: int | None = option(
        None,
        check=bounds(1),
        help="Step, 1..T, whose z_t reconstructions start from; the sampler's steps are fewer in proportion.",
        default_text="T",
        panel=EFFORT,
    )
    zt_bits: int | None = option(
        None,
        check=bounds(1, MOST_BITS),
        help="Bits of each pixel of that z_t, 1..16: it is rounded and clamped as in a picture file.",
        default_text="float32",
        panel=EFFORT,
    )
    zt_noise: float = option(
        0.0,
        check=bounds(0, MOST_NOISE, unit=", where pixels have the range 1"),
        help="Standard deviation of normal noise that is added to that z_t, where pixels have the range 1.",
        panel=EFFORT,
    )


@dataclass(frozen=True)
class EvaluateOptions(SamplerOptions, EffortOptions, DataOptions):
    """The options of an evaluation of a trained model.

    Args:
        run: see :func:`diffcli.load`; or a model at hand.
        metrics: keys of :data:`~diffcli.evaluation.metrics.METRICS`; none is all that the data set allows and that are
            not costly, and ``swd`` of data alone of which no classifier comes along.
        n_test: test images for the loss and for reconstructions, drawn at random by the seed; None is all.
        n_fid: unconditional samples for the distances.
        prior: where sampling starts, one name or several, each in its turn; none is the preset's.
        per_label: also the Frechet distance of the samples of each label to the test images of that label.
        nll_steps: network evaluations for each image of the likelihood's bound, 2..T; T is the exact sum over t, fewer
            are an unbiased estimate. None is 20, or T where that is less.
        out: .json, the file of the scores; None is ``eval.json`` in the run folder, where there is one.

    Raises:
        UserError: a value is unknown or out of range, or two do not go together.
    """

    run: Run | Model | Path | str = run_option()
    metrics: Sequence[str] = metrics_option()
    n_test: int | None = n_test_option()
    n_fid: int = n_fid_option()
    _: KW_ONLY
    prior: str | Sequence[str] = option(
        (), help="Where samples start; repeatable, a row for each.", default_text="the preset's", panel=SAMPLING
    )
    per_label: bool = option(False, help="Also the Frechet distance of each label's samples.", panel=PANEL)
    nll_steps: int | None = option(
        None,
        help="Network evaluations for each image of `nll`, 2..T: an unbiased estimate, with T the exact sum.",
        default_text=f"{NLL_EVALUATIONS}, or T if less",
        panel=EFFORT,
    )
    batch_size: BatchSize = batch_size_option(250)
    devices: Devices = devices_option(ONE_DEVICE, ALL_PARTS)
    out: Path | None = option(
        None,
        check=output_of(".json"),
        help=".json, the file of the scores.",
        default_text="eval.json in the run folder, if there is one",
    )

    def __post_init__(self) -> None:
        from diffcli.evaluation.extractors import EXTRACTORS, INCEPTION_FILE
        from diffcli.utils.cache import cache_folder

        super().__post_init__()
        cache_folder()  # what names no folder is told before anything is measured
        self._check_zt()
        if self.extractor not in EXTRACTORS:
            raise UserError(f"`extractor`: {unknown_name('extractor', self.extractor, EXTRACTORS)}")
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
        values = {"t": self.t, "zt_bits": self.zt_bits, "zt_noise": self.zt_noise or None}
        of_them = measured_on("reconstructions")
        if self.metrics and not set(self.metrics) & set(of_them):
            for name in (name for name, value in values.items() if value is not None):
                metrics = ", ".join(f"`{metric}`" for metric in of_them)
                raise UserError(
                    f"`{name}` is of reconstructions, which are measured by {metrics}; ask for one of these"
                )

    @property
    def disturbance(self) -> Disturbance:
        """The disturbance of the z_t that reconstructions start from."""
        from diffcli.inference.restoration import Disturbance

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
class DegradationOptions(PresetsOptions, DataDirOptions):
    """The options of a report on the degradations of presets.

    Args:
        n: test images, drawn at random by the seed; all where there are fewer.
        disturbance: standard deviation of the normal noise added to each pixel of z_T before its image is looked for;
            pixels span 1, so 1 / 255 is one grey level.
        out: a picture, .png, .svg or .pdf, of the first test image at nine t from 0 to T, a row for each preset.

    Raises:
        UserError: a number is out of its range, or the file cannot be written.
    """

    _: KW_ONLY
    n: int = option(
        1000,
        check=bounds(2),
        help="Test images, drawn at random by the seed; z_T is told apart from all of theirs.",
    )
    disturbance: float = option(
        1 / 255,
        check=bounds(0, 1),
        help="Normal noise on z_T, for pixels in 0..1, besides the degradation's own.",
    )
    seed: int = option(0, help="Same seed, same images; on a CPU whatever the batch size.")
    out: Path | None = option(
        None,
        check=output_of(".png", ".svg", ".pdf"),
        help=".png, .svg or .pdf: a test image at nine t, a row for each preset.",
    )
