"""The tasks of ``diffcli restore``: restorations by what the model undoes, by any measurement, or around a
mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from diffcli.data.folders import printable
from diffcli.data.pixels import psnr, to_model, to_uint8
from diffcli.data.user_images import ShapedImages, read_mask
from diffcli.diffusion.degradations import Degradation
from diffcli.inference.blur_width import exact_blur, scales_of, step_of_width, width_note, widths
from diffcli.inference.checks import check_inpaints
from diffcli.inference.inverting import deterministic_options
from diffcli.inference.measurement_options import PosteriorOptions
from diffcli.inference.measuring import ROUNDING, degradation_named, draw_measurements, step_of
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions, default_t
from diffcli.inference.posterior import Posterior, method_for
from diffcli.inference.restore_options import RestoreOptions
from diffcli.inference.t_evidence import check_t_auto, spread_of, t_probabilities
from diffcli.inference.tiling import check_start, is_tiled
from diffcli.utils.console import note
from diffcli.utils.errors import UserError
from diffcli.utils.options import AUTO, shared_options

MID_GREY = 128
"""The grey that is shown in place of pixels that are not known."""
EVIDENCE_SAMPLES = 128
"""Images that the model draws to know what images are like, where t is to be found."""
LARGE_MISFIT = 1.5
"""The misfit above which a note says so."""

Rows = dict[str, Tensor]
"""Images by the name of their row: uint8 (N, C, H, W); x_t is float."""


@dataclass(frozen=True)
class RestoredRows:
    """Rows of images, the last of which is what was made of them.

    Args:
        noise: that the last row was drawn from, float (N, C, H, W), where it was found from the images.
        deviation: the standard deviation of several samples, float (N, C, H, W), where there are some.
        samples: these, uint8 (K, N, C, H, W).
    """

    rows: Rows
    deviation: Tensor | None = None
    samples: Tensor | None = None
    noise: Tensor | None = None

    def negative(self) -> RestoredRows:
        """The negatives."""
        rows = {name: negatives(row) for name, row in self.rows.items()}
        return replace(self, rows=rows, samples=None if self.samples is None else negatives(self.samples))


def negatives(images: Tensor) -> Tensor:
    """The negatives of images, uint8, or float in about [-0.5, 0.5]."""
    return images.neg() if images.is_floating_point() else 255 - images


def _as_degraded(images: Tensor) -> Tensor:
    """Images that are degraded already as float, (N, C, H, W); those of arrays are not rounded."""
    return images if images.is_floating_point() else to_model(images)


Task = Callable[[Model, Tensor, RestoreOptions], RestoredRows]
"""(model on its devices, images (N, C, H, W), uint8 or, of degraded arrays, float; the checked options) -> what is made
of them."""


def starts_from_noise(model: Model, options: RestoreOptions) -> bool:
    """Whether sampling begins with x_T that the model's prior draws, and not with the images."""
    measures = options.degradation is not None or (
        options.blur is not None and widths(model.denoiser.degradation) is None
    )
    return options.mask is not None or measures


def task_of(model: Model, options: RestoreOptions, inputs: ShapedImages) -> Task:
    """The task that options name for images at hand, checked.

    Raises:
        UserError: an option does not fit the model or the images.
    """
    if options.invert_noise:
        return _inversion_task(model, options, inputs)
    if options.mask is not None:
        return _inpainting_task(model, options, inputs)
    if starts_from_noise(model, options):
        return _measurement_task(model, options, inputs)
    return _restoration_task(model, options, inputs)


def _inversion_task(model: Model, options: RestoreOptions, inputs: ShapedImages) -> Task:
    """Restores by the noise that the images are drawn from."""
    settings = deterministic_options(options, model.denoiser.degradation)
    model.sampling(settings)
    model.labels.check_images(settings)

    def make(model: Model, images: Tensor, options: RestoreOptions) -> RestoredRows:
        settings_by_name = shared_options(deterministic_options(options, model.denoiser.degradation), SamplerOptions)
        noise = model.invert(images, **settings_by_name)
        drawing = model.restore(noise, model.T, **settings_by_name)
        for file, distance in zip(inputs.files, psnr(to_model(drawing), to_model(images)).tolist(), strict=True):
            _say(options, f"{printable(file)} is redrawn at {distance:.1f} dB")
        return RestoredRows({"original": images, "redrawn": drawing}, noise=noise)

    return make


def _inpainting_task(model: Model, options: RestoreOptions, inputs: ShapedImages) -> Task:
    check_inpaints(model.denoiser.degradation, options.resampling)
    check_start(model)
    model.sampling(options)
    model.labels.check_images(options)
    mask = read_mask(options.mask or "", inputs)

    def paint(model: Model, images: Tensor, options: RestoreOptions) -> RestoredRows:
        drawing = model.inpaint(images, mask, options.resampling, **shared_options(options, SamplerOptions))
        return RestoredRows({"original": images, "known": images.masked_fill(mask, MID_GREY), "painted": drawing})

    return paint


def _restoration_task(model: Model, options: RestoreOptions, inputs: ShapedImages) -> Task:
    """Restores what the model itself undoes."""
    knows_noise = options.degraded and model.denoiser.measurement_noise > 0
    for name in ("method", "samples") if knows_noise else ("sigma", "method", "samples"):
        if getattr(options, name) is not None:
            raise UserError(f"`{name}` is of measurements; add `degradation`, or leave it out")
    rounding = 0.0 if inputs.images.is_floating_point() else ROUNDING
    sigma = (rounding if options.sigma is None else options.sigma) if knows_noise else 0.0
    degradation = model.denoiser.degradation
    scales = scales_of(inputs.sizes, model.image_shape)
    t = _step(model, degradation, options, scales, inputs)
    t = default_t(model.T) if t is None else t
    if t != AUTO:
        model.sampling_from(int(t), options).with_sigma(sigma)
    model.labels.check_images(options)

    def make(model: Model, images: Tensor, options: RestoreOptions) -> RestoredRows:
        step = _known_step(model, degradation, t, images, options)
        _say(options, width_note(degradation, step, scales))
        if knows_noise and options.sigma is None:
            bits = f" but for their 8 bits, sigma {sigma:.2g}" if rounding else ""
            _say(options, f"the files are taken as exact{bits}")
        if t == AUTO and options.steps is not None:
            options = replace(options, steps=min(options.steps, step))
        xt = _as_degraded(images) if options.degraded else model.degrade(images, step, options.seed)
        rows = {} if options.degraded else {"original": images}
        rows |= {"degraded": xt, "one step": model.estimate(xt, step, options.label, options.batch_size, sigma=sigma)}
        return RestoredRows(
            {**rows, "restored": model.restore(xt, step, sigma=sigma, **shared_options(options, SamplerOptions))}
        )

    return make


def _measurement_task(model: Model, options: RestoreOptions, inputs: ShapedImages) -> Task:
    """Restores by a measurement, of which the model is the prior."""
    method_for(model.denoiser.degradation, options.method)
    check_start(model)
    label_options = model.labels.without_auto(options)
    model.sampling(label_options)
    if label_options is options:
        model.labels.check_images(options)
    scales = scales_of(inputs.sizes, model.image_shape)
    degradation, t = _measured_by(model, options, scales, inputs)

    def make(model: Model, images: Tensor, options: RestoreOptions) -> RestoredRows:
        step = _known_step(model, degradation, t, images, options)
        _say(options, width_note(degradation, step, scales))
        y = images if options.degraded else draw_measurements(degradation, images, step, options.sigma, options.seed)
        posterior = model.posterior(y, degradation, step, **shared_options(options, PosteriorOptions))
        _say(options, *likely_labels(posterior, model.classes, map(printable, inputs.files)), misfit_note(posterior))
        rows = {} if options.degraded else {"original": images}
        rows["degraded"] = _as_degraded(y)
        if len(posterior.samples) == 1:
            return RestoredRows({**rows, "restored": to_uint8(posterior.samples[0])})
        result = {**rows, "mean": to_uint8(posterior.mean)}
        return RestoredRows(result, posterior.standard_deviation, to_uint8(posterior.samples))

    return make


def _measured_by(
    model: Model, options: RestoreOptions, scales: Sequence[float], inputs: ShapedImages
) -> tuple[Degradation, int | str]:
    """The degradation that is done to the images, and its step."""
    if options.degradation is None:
        assert options.blur is not None
        blurs = {round(options.blur / scale, 6) for scale in scales}
        if len(blurs) > 1:
            raise UserError(
                "`blur` is in pixels of the pictures, which are of several sizes; restore each size by itself"
            )
        return exact_blur(blurs.pop(), model.image_shape), 1
    degradation = degradation_named(options.degradation, model.image_shape)
    t = _step(model, degradation, options, scales, inputs)
    if t is None and not options.degraded:
        t = default_t(degradation.T)
    return degradation, t if t == AUTO else step_of(degradation, t if t is None else int(t))


def _step(
    model: Model, degradation: Degradation, options: RestoreOptions, scales: Sequence[float], inputs: ShapedImages
) -> int | str | None:
    """The t that the options say; None where they say none."""
    if options.t == AUTO:
        if is_tiled(model):
            raise UserError("`t` auto is of images of the model's size; say `t` or `blur`, or set `tile` off")
        check_t_auto(degradation)
    if options.blur is None:
        return options.t
    steps = [step_of_width(degradation, options.blur / scale) for scale in scales]
    if len(set(steps)) > 1:
        other = next(number for number, step in enumerate(steps) if step != steps[0])
        raise UserError(
            f"`blur` {options.blur:g} pixels are t = {steps[0]} of {printable(inputs.files[0])} and t = {steps[other]} "
            f"of {printable(inputs.files[other])}, by their sizes; restore each size by itself"
        )
    return steps[0]


def _known_step(model: Model, degradation: Degradation, t: int | str, images: Tensor, options: RestoreOptions) -> int:
    """The t of the options, or the one that explains the images best, of which a note says how sure it is."""
    if t != AUTO:
        return int(t)
    samples = model.sample(EVIDENCE_SAMPLES, seed=options.seed, batch_size=options.batch_size, quiet=options.quiet)
    probabilities = t_probabilities(degradation, _as_degraded(images), samples, options.sigma)
    step, spread = spread_of(probabilities)
    _say(options, f"t = {step} ± {max(spread, 0.5):.2g} explains {_count_text(len(images))} best")
    return step


def _count_text(count: int) -> str:
    return "the image" if count == 1 else f"the {count} images"


def _say(options: RestoreOptions, *lines: str | None) -> None:
    """Prints notes, where somebody wants to read them."""
    if not options.quiet:
        for line in filter(None, lines):
            note(f"note: {line}")


def likely_labels(posterior: Posterior, classes: Sequence[str], names: Iterable[str]) -> list[str]:
    """The most probable labels of each image in words, where they were looked for.

    Args:
        classes: those of the model.
        names: what the images are called.
    """
    if posterior.label_probabilities is None:
        return []
    lines = []
    for name, probabilities in zip(names, posterior.label_probabilities, strict=True):
        best = probabilities.sort(descending=True, stable=True)
        guesses = [
            f"{classes[label]} ({share:.2f})"
            for share, label in zip(best.values[:3].tolist(), best.indices[:3].tolist(), strict=True)
            if share >= 0.005
        ]
        lines.append(f"{name} is taken for label {guesses[0]}" + "".join(f", {other}" for other in guesses[1:]))
    return lines


def misfit_note(posterior: Posterior) -> str | None:
    """A sentence for samples that miss their measurements by more than the noise; None where they do not."""
    misfit = float(posterior.misfit.mean())
    if misfit <= LARGE_MISFIT:
        return None
    return (
        f"what is restored misses the degraded images by {misfit:.2g} sigma, and 1 is right: another sigma, t or "
        "degradation would fit better"
    )
