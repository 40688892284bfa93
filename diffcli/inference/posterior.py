"""Images drawn from a model given measurements of them: samples, their mean, and what the measurements leave open.

>>> from diffcli.inference.posterior import conditioned
>>> estimate = conditioned(sampling, measurement, "moments", labels)  # doctest: +SKIP
>>> steps = sampling.trajectory(xT, generators, labels, estimate=estimate)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.measurements import Measurement
from diffcli.diffusion.posterior import POSTERIORS, refitted
from diffcli.diffusion.randomness import Noise, Stream, generator_for
from diffcli.diffusion.samplers import last
from diffcli.inference.sampling import Sampling, Track, draw_xT
from diffcli.utils.compile import FIXED_BATCH
from diffcli.utils.errors import UserError

START_ROUNDS = 5
"""How often a start that a prior drew is fitted to a measurement."""


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
        """Of the samples, (N, C, H, W): the nearest to the image in the mean square."""
        return self.samples.mean(dim=0)

    @property
    def standard_deviation(self) -> Tensor:
        """Of the samples, (N, C, H, W): what the measurement leaves open; 0 where there is one sample."""
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


def conditioned(sampling: Sampling, measurement: Measurement, method: str, labels: Tensor | None = None) -> X0Function:
    """x0_hat of a batch of images given a measurement of each, guided as the sampling says.

    On a CPU always as many images at once, so that an image does not depend on those beside it.

    Args:
        method: see :data:`~diffcli.diffusion.posterior.POSTERIORS`.
        labels: of the images, int64 (B,); None of a model without.
    """
    wrapper: Callable[..., X0Function] = POSTERIORS[method]
    if method == "dps":
        wrapper = partial(wrapper, timesteps=sampling.steps)
    degradation = sampling.denoiser.degradation

    def of(rows: Tensor) -> X0Function:
        told = None if labels is None else labels[rows]
        return wrapper(sampling.estimate(told), degradation, measurement.of(rows))

    count = len(measurement.y)
    if sampling.device.type != "cpu":
        return of(torch.arange(count, device=sampling.device))
    parts = [torch.arange(start, start + FIXED_BATCH) % count for start in range(0, count, FIXED_BATCH)]
    estimates = [of(rows) for rows in parts]

    def estimate(xt: Tensor, t: Tensor) -> Tensor:
        images = [own(xt[rows], t[rows]) for own, rows in zip(estimates, parts, strict=True)]
        return torch.cat(images)[:count]

    return estimate


@torch.inference_mode()
def draw_posterior(
    sampling: Sampling,
    measurement: Measurement,
    method: str,
    labels: Tensor | None = None,
    *,
    samples: int = 1,
    track: Track = iter,
    stream: Stream = Stream.POSTERIOR,
) -> Posterior:
    """``samples`` images for each that was measured, from where the sampling's prior starts.

    Sample k of image n is a function of (seed, n, k), and on a CPU the same to the byte whatever the batch size.

    Args:
        labels: of the images, int64 (K, N); None of a model without.
    """
    count = len(measurement.y)
    degradation = sampling.denoiser.degradation
    at_hand = None if labels is None else labels.T.flatten().to(sampling.device)

    def draw(indices: range) -> tuple[Tensor, Tensor]:
        of_images = torch.tensor([index // samples for index in indices], device=sampling.device)
        known = measurement.of(of_images)
        own = None if at_hand is None else at_hand[indices.start : indices.stop]
        generators = [generator_for(sampling.seed, stream, *divmod(index, samples)) for index in indices]
        shape = degradation.image_shape
        estimate = conditioned(sampling, known, method, own)
        xT = draw_xT(sampling, generators, shape, own)
        assert sampling.prior is not None
        if sampling.prior.of_signal:
            xT = refitted(
                xT, estimate, degradation, Noise(generators, shape, sampling.device, START_ROUNDS), START_ROUNDS
            )
        made = last(track(sampling.trajectory(xT, generators, own, estimate=estimate)))
        return made.cpu(), known.misfit(made).cpu()

    parts = list(sampling.processes.shared(sampling.batches(count * samples), draw))
    made, misfit = (
        torch.cat(values).unflatten(0, (count, samples)).transpose(0, 1) for values in zip(*parts, strict=True)
    )
    return Posterior(made.contiguous(), misfit.contiguous(), labels)
