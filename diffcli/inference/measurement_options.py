"""Options of measured images, for which a trained model is the prior; nothing heavy is loaded here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffcli.inference.options import SamplerOptions
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.options import IMAGES, SAMPLING, Options, bounds, option

METHODS = {
    "moments": "by the network's Jacobian, of noise models",
    "isotropic": "one evaluation a step, of blur with noise, too",
    "dps": "the field's baseline",
}
"""The names in :data:`~diffcli.diffusion.posterior.POSTERIORS`, and what each is."""
MOST_SAMPLES = 1000
"""The most samples of each image."""


def _check_method(name: str, method: str) -> str:
    if method not in METHODS:
        raise UserError(f"`{name}`: {unknown_name('method', method, METHODS)}")
    return method


@dataclass(frozen=True, kw_only=True)
class MeasurementOptions(Options):
    """A measurement y = A x_0 + sigma eps of images, and the number of samples that are drawn given it.

    Args:
        sigma: standard deviation of the noise on y, or on degraded images that go to a model which was trained with
            ``measurement_noise``, where pixels have a range of 1; None is what the degradation adds,
            and for images of 8 bits their rounding, too.
        method: how the model's estimate goes with y, see :mod:`diffcli.diffusion.posterior`; None is ``moments`` for a
            model of Gaussian noise, else ``isotropic``.
        samples: images drawn for each measurement; None is 1.

    Raises:
        UserError: an option is out of range.
    """

    sigma: float | None = option(
        None,
        check=bounds(0, 1, reason=": pixels have a range of 1"),
        help="Standard deviation of the noise on the measurement; pixels have a range of 1, and 8 bits are 0.0011.",
        default_text="the degradation's",
        panel=IMAGES,
    )
    method: str | None = option(
        None,
        check=_check_method,
        help="With `degradation`: " + "; ".join(f"{name} ({text})" for name, text in METHODS.items()) + ".",
        default_text="moments of a noise model, else isotropic",
        panel=SAMPLING,
    )
    samples: int | None = option(
        None,
        check=bounds(1, MOST_SAMPLES),
        help="With `degradation`: answers drawn for each image; from 2 on their mean and standard deviation are "
        "written, too.",
        default_text="1",
        panel=SAMPLING,
    )


@dataclass(frozen=True, kw_only=True)
class PosteriorOptions(SamplerOptions, MeasurementOptions):
    """The options of sampling a trained model given measurements; None is what its preset says.

    ``label`` may be ``auto``, too: each sample has a label drawn by how well the labels' estimates explain the
    measurement.

    Raises:
        UserError: an option is out of range.
    """


def without_guidance(options: PosteriorOptions) -> PosteriorOptions:
    """The options without guidance, where they do not ask for it."""
    return replace(
        options,
        guidance=1.0 if options.guidance is None else options.guidance,
        autoguidance=1.0 if options.autoguidance is None else options.autoguidance,
    )
