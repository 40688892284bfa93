"""Images drawn from a model given measurements of them: samples, their mean, and what the measurements leave open.

>>> from diffcli.inference.posterior import conditional_estimate
>>> estimate = conditional_estimate(sampling, measurement, "moments", labels)  # doctest: +SKIP
>>> steps = sampling.trajectory(xT, generators, labels, estimate=estimate)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.measurements import Measurement, Pixelwise
from diffcli.diffusion.posterior import POSTERIORS, fit_to_measurement
from diffcli.diffusion.randomness import Noise, Stream, generator_for, image_generators
from diffcli.diffusion.samplers import Step, last
from diffcli.diffusion.tiles import TiledDenoiser
from diffcli.inference.restoration import labels_on_device
from diffcli.inference.sampling import Sampling, Track, draw_xT
from diffcli.utils.compile import FIXED_BATCH
from diffcli.utils.errors import UserError

START_ROUNDS = 5
"""The number of times that a start which a prior drew is fitted to a measurement."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Images given measurements, K for each of N.

    Args:
        samples: float (K, N, C, H, W), on the CPU, with pixels in about [-0.5, 0.5].
        misfit: root mean square of what each leaves of its measurement, over sigma, (K, N): 1 is right.
        labels: those that the samples were told, int64 (K, N), -1 for none; None of a model without labels.
        label_probabilities: of each label, given the measurement, (N, classes); None where labels were not asked for.
    """

    samples: Tensor
    misfit: Tensor
    labels: Tensor | None = None
    label_probabilities: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """The mean of the samples, (N, C, H, W): the nearest to the image in the mean square."""
        return self.samples.mean(dim=0)

    @property
    def standard_deviation(self) -> Tensor:
        """The standard deviation of the samples, (N, C, H, W): how much the measurement leaves open; 0 where there is
        one sample."""
        return self.samples.std(dim=0, correction=min(1, len(self.samples) - 1))


def method_for(degradation: Degradation, method: str | None) -> str:
    """The method by which a model of a degradation is sampled given a measurement.

    Raises:
        UserError: it does not serve the degradation, or none does.
    """
    if not bool((degradation.sigmas[1:] > 0).all()):
        raise UserError(
            f"a model of {degradation.name} without noise cannot weigh a measurement against what it draws: take one "
            f"of gaussian-noise, or of blur with noise; or restore by what the model itself undoes, without "
            "`degradation`"
        )
    hot = isinstance(degradation, GaussianNoise)
    if method is None:
        return "moments" if hot else "isotropic"
    if method != "isotropic" and not hot:
        raise UserError(
            f"`method` {method} needs a model of gaussian-noise, and this one undoes a {degradation.name}: "
            "take isotropic"
        )
    return method


Watch = Callable[[X0Function, Measurement, Tensor], X0Function]
"""(x0_hat of some images, what was measured of them, their indices in the batch) -> the same x0_hat, looked at."""


def conditional_estimate(
    sampling: Sampling,
    measurement: Measurement,
    method: str,
    labels: Tensor | None = None,
    *,
    iterations: int | None = None,
    watch: Watch | None = None,
) -> X0Function:
    """x0_hat of a batch of images given a measurement of each, guided as the sampling says.

    On a CPU always as many images at once, so that an image does not depend on those beside it: one that is made of
    tiles, whose number is its own, by itself.

    Args:
        method: see :data:`~diffcli.diffusion.posterior.POSTERIORS`.
        labels: of the images, int64 (B,); None of a model without.
        iterations: of ``moments``.
        watch: is shown each x0_hat before the measurement moves it.
    """
    wrapper: Callable[..., X0Function] = POSTERIORS[method]
    if method == "dps":
        wrapper = partial(wrapper, timesteps=sampling.steps)
    elif method == "moments":
        wrapper = partial(wrapper, iterations=iterations)

    def estimate_of(rows: Tensor) -> X0Function:
        row_measurement = measurement.of(rows)
        with torch.inference_mode(False):  # a gradient may pass what looks a label up
            row_labels = None if labels is None else labels.clone()[rows.clone()]
        estimate = sampling.estimate(row_labels)
        if watch is not None:
            estimate = watch(estimate, row_measurement, rows)
        return wrapper(estimate, sampling.denoiser.degradation, row_measurement)

    count = len(measurement.y)
    if sampling.device.type != "cpu":
        return estimate_of(torch.arange(count, device=sampling.device))
    size = 1 if isinstance(sampling.denoiser, TiledDenoiser) else FIXED_BATCH
    parts = [torch.arange(start, start + size) % count for start in range(0, count, size)]
    estimates = [estimate_of(rows) for rows in parts]

    def estimate(xt: Tensor, t: Tensor) -> Tensor:
        images = [part(xt[rows], t[rows]) for part, rows in zip(estimates, parts, strict=True)]
        return torch.cat(images)[:count]

    return estimate


def trajectory_given(
    sampling: Sampling,
    measurement: Measurement,
    method: str,
    generators: Sequence[torch.Generator],
    labels: Tensor | None = None,
    *,
    iterations: int | None = None,
    watch: Watch | None = None,
) -> Iterator[Step]:
    """The sampling of a batch of images given a measurement of each, from where its prior starts; for the arguments
    see :func:`conditional_estimate`."""
    degradation = sampling.denoiser.degradation
    shape = degradation.image_shape
    xT = draw_xT(sampling, generators, shape, labels)
    estimate = partial(conditional_estimate, sampling, measurement, method, labels, iterations=iterations)
    assert sampling.prior is not None
    if sampling.prior.of_signal:
        noise = Noise(generators, shape, sampling.device, START_ROUNDS)
        xT = fit_to_measurement(xT, estimate(), degradation, noise, START_ROUNDS)
    return sampling.trajectory(xT, generators, labels, estimate=estimate(watch=watch))


@torch.inference_mode()
def draw_posterior(
    sampling: Sampling,
    measurement: Measurement,
    method: str,
    labels: Tensor | None = None,
    *,
    samples: int = 1,
    track: Track = iter,
) -> Posterior:
    """``samples`` images for each that was measured.

    Sample k of image n is a function of (seed, n, k), and on a CPU the same to the byte whatever the batch size.

    Args:
        labels: of the images, int64 (K, N); None of a model without.
    """
    count = len(measurement.y)
    by_image = None if labels is None else labels.T.flatten().to(sampling.device)

    def draw(indices: range) -> tuple[Tensor, Tensor]:
        batch_measurement = measurement.of(torch.tensor(indices, device=sampling.device) // samples)
        batch_labels = None if by_image is None else by_image[indices.start : indices.stop]
        generators = [generator_for(sampling.seed, Stream.POSTERIOR, *divmod(index, samples)) for index in indices]
        x0 = last(track(trajectory_given(sampling, batch_measurement, method, generators, batch_labels)))
        return x0.cpu(), batch_measurement.misfit(x0).cpu()

    parts = list(sampling.processes.map_in_order(sampling.batches(count * samples), draw))
    images, misfit = (torch.cat(values).unflatten(0, (count, samples)) for values in zip(*parts, strict=True))
    return Posterior(images.transpose(0, 1).contiguous(), misfit.T.contiguous(), labels)


@torch.inference_mode()
def inpaint_measured(
    sampling: Sampling, images: Tensor, masks: Tensor, *, track: Track = iter, labels: Tensor | None = None
) -> Iterator[Tensor]:
    """Batches of uint8 images (N, C, H, W) with part of each drawn anew, by a model of blur with noise, float, on the
    CPU: what is known is a measurement without noise.

    Args:
        masks: bool (N, 1, H, W), True where a pixel is drawn.
        labels: of the images, int64 (N,); a model without labels does not look at them.
    """
    labels = labels_on_device(sampling, labels)

    def draw(indices: range) -> Tensor:
        at_hand = slice(indices.start, indices.stop)
        weights = (~masks[at_hand]).to(sampling.device)
        measurement = Measurement(
            weights * to_model(images[at_hand].to(sampling.device)), Pixelwise(weights), sigma=0.0
        )
        generators = image_generators(sampling.seed, Stream.INPAINTING, indices)
        batch_labels = None if labels is None else labels[at_hand]
        return last(track(trajectory_given(sampling, measurement, "isotropic", generators, batch_labels))).cpu()

    yield from sampling.processes.map_in_order(sampling.batches(len(images)), draw)
