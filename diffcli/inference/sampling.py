"""Draws samples in batches, with or without labels.

On a CPU a seed gives the same images, to the byte, whatever the batch size and the number of processes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.config.build import SamplerFunction, bind_sampler
from diffcli.config.schema import Sampler
from diffcli.data.pixels import rounding, to_model
from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.guidance import X0Function, classifier_free, with_autoguidance, with_clipping, with_labels
from diffcli.diffusion.inpainting import KnownPixels, resampling_steps
from diffcli.diffusion.labels import SampleLabels
from diffcli.diffusion.priors import FIT_IMAGES, FIT_VALUES, Prior
from diffcli.diffusion.randomness import Noise, Source, Stream, image_generators, randn_images
from diffcli.diffusion.samplers import Step, last
from diffcli.inference.walks import Walk
from diffcli.utils.devices import Processes
from diffcli.utils.errors import UserError

Track = Callable[[Iterator[Step]], Iterator[Step]]
"""A loop over a batch's steps that yields them on: whoever wants to see a batch as it is drawn puts one around it."""


def step_counter(advance: Callable[[int], None]) -> Track:
    """A loop that calls ``advance(1)`` after each of the sampler's steps, for a progress bar."""

    def track(steps: Iterator[Step]) -> Iterator[Step]:
        yield next(steps)  # x_T, before the first step
        for step in steps:
            advance(1)
            yield step

    return track


CPU_BATCH, LARGEST_BATCH = 128, 4096
"""Images at a time where as many as fit are asked for: on a CPU, where more gain nothing; and at most."""


@dataclass(frozen=True)
class Sampling:
    """Everything that decides what comes out of a trained denoiser.

    ``steps`` descends from T to 0; ``seed`` and an image's index decide its noise, and its label where that is drawn.

    Args:
        labels: which label each sample gets; None is none.
        guide: the early average of the weights, which the sampler's autoguidance needs.
        walk: the way that the samples show, from those of one seed to those of another, in place of ``seed``.

    Raises:
        UserError: labels, or guidance by them, are asked of a model that was trained without; a label is unknown; or
            there is no guide for autoguidance.
    """

    denoiser: Denoiser
    prior: Prior | None
    """The prior that unconditional sampling starts from; None where it does not."""
    sampler: Sampler
    steps: Sequence[int]
    seed: int
    batch_size: int
    processes: Processes
    labels: SampleLabels | None = None
    guide: Denoiser | None = None
    walk: Walk | None = None

    def __post_init__(self) -> None:
        classes = self.denoiser.classes
        if not classes and (self.labels is not None or self.sampler.guidance != 1):
            raise UserError("this model was trained without labels; train one whose preset has 'labels: {}'")
        unknown_labels = [label for label in (self.labels.labels if self.labels else ()) if not -1 <= label < classes]
        if unknown_labels:
            raise UserError(f"label {unknown_labels[0]} is unknown: this model's are 0..{classes - 1}, and -1 for none")
        if self.sampler.autoguidance != 1 and self.guide is None:
            raise UserError("this model has no early average to be guided by; train one with training.guide_at: 0.1")

    @property
    def device(self) -> torch.device:
        """The device that this process computes on."""
        return self.processes.device

    @cached_property
    def bound_sampler(self) -> SamplerFunction:
        """The sampler with its parameters, looked up and checked once."""
        return bind_sampler(self.sampler)

    def labels_of(self, indices: Sequence[int]) -> Tensor | None:
        """The labels of the samples with these indices, int64 (B,), on the device; None where they have none."""
        if self.labels is None:
            return None
        if self.walk is not None:
            return self.walk.labels_of(self.labels, indices).to(self.device)
        return self.labels.of(self.seed, indices).to(self.device)

    def start(
        self, indices: Sequence[int], image_shape: tuple[int, int, int]
    ) -> tuple[Tensor, Sequence[Source], Tensor | None]:
        """(x_T of the prior, (B, C, H, W), the sources of the noise to come, the labels) of the samples with these
        indices."""
        walk = self.walk
        generators: Sequence[Source] = (
            image_generators(self.seed, Stream.SAMPLE, indices) if walk is None else walk.generators(indices)
        )
        labels = self.labels_of(indices)
        return draw_xT(self, generators, image_shape, labels), generators, labels

    def estimate(self, labels: Tensor | None) -> X0Function:
        """x0_hat of a batch of images of these labels, int64 (B,), guided as the sampler says."""
        estimate: X0Function = self.denoiser
        if labels is not None and self.sampler.guidance != 1:
            estimate = classifier_free(self.denoiser, labels, self.sampler.guidance, self.guided_t)
        elif labels is not None:
            estimate = with_labels(self.denoiser, labels)
        if self.guide is None or self.sampler.autoguidance == 1:
            return estimate
        guide = self.guide if labels is None else with_labels(self.guide, labels)
        return with_autoguidance(estimate, guide, self.sampler.autoguidance, self.guided_t)

    @property
    def guided_t(self) -> tuple[float, float] | None:
        """The interval of t in which estimates are guided; None is everywhere."""
        (low, high), T = self.sampler.guided_t, self.denoiser.degradation.T
        return None if (low, high) == (0, 1) else (low * T, high * T)

    def trajectory(
        self,
        xT: Tensor,
        generators: Sequence[Source],
        labels: Tensor | None = None,
        known_pixels: KnownPixels | None = None,
        *,
        estimate: X0Function | None = None,
    ) -> Iterator[Step]:
        """x_T (B, C, H, W) -> ``Step(T, xT, xT)``, then a step for each of the sampler's, the last one at s = 0.

        Args:
            labels: int64 (B,), -1 for none.
            known_pixels: what is known of each image, for in-painting.
            estimate: in place of the sampling's own, that of these images given a measurement, for example.
        """
        yield Step(self.steps[0], xT, xT)
        # Once a step at most, and never in the last one; in-painting once a round, and once between two rounds.
        calls = len(self.steps) - 2 if known_pixels is None else (2 * known_pixels.rounds - 1) * (len(self.steps) - 1)
        draw = Noise(generators, tuple(xT.shape[1:]), xT.device, calls)
        degradation = self.denoiser.degradation
        estimate = self.estimate(labels) if estimate is None else estimate
        if known_pixels is not None:
            estimate = known_pixels.with_known_pixels(estimate)
        if self.sampler.clip:
            estimate = with_clipping(estimate)
        if known_pixels is None:
            yield from self.bound_sampler(estimate, degradation, xT, self.steps, draw)
            return

        assert isinstance(degradation, GaussianNoise)

        def sample(xt: Tensor, steps: Sequence[int]) -> Iterator[Step]:
            return self.bound_sampler(estimate, degradation, xt, steps, draw)

        yield from resampling_steps(sample, degradation, xT, self.steps, draw, known_pixels.rounds)

    def with_sigma(self, sigma: float) -> Sampling:
        """The same for x_t with measurement noise of this standard deviation.

        Raises:
            UserError: the model was trained for none, or for less.
        """
        largest = self.denoiser.measurement_noise
        if not 0 <= sigma <= largest:
            training_noise = f"noise of up to {largest:g}" if largest else "exact degraded images"
            raise UserError(
                f"`sigma` must be in 0..{largest:g} for this model, which was trained for {training_noise}; "
                f"got {sigma:g}"
            )
        if sigma == self.denoiser.sigma:
            return self
        guide = None if self.guide is None else self.guide.with_sigma(sigma)
        return replace(self, denoiser=self.denoiser.with_sigma(sigma), guide=guide)

    def from_prior(self) -> Sampling:
        """The same for images that are drawn from the prior: a model that knows measurement noise starts from x_T as a
        file of 8 bits holds it.

        What a prior gets wrong in modes too faint for a file would be amplified; that noise drowns it.
        """
        if self.prior is None or not self.prior.of_signal:
            return self
        return self.with_sigma(min(rounding(8), self.denoiser.measurement_noise))

    def batches(self, n: int) -> list[range]:
        """The indices of ``n`` images in as few batches as ``batch_size`` allows, of even sizes: a small rest would
        cost nearly as much as a whole batch."""
        count = -(-n // self.batch_size)
        bounds = [-(-n * i // count) for i in range(count + 1)] if n else []
        return [range(start, end) for start, end in pairwise(bounds)]

    @torch.inference_mode()
    def with_largest_batches(self) -> Sampling:
        """The same with the largest batches, of 1, 2, 4, ... images, whose guided estimate the device's memory
        holds."""
        if self.device.type == "cpu":
            return replace(self, batch_size=CPU_BATCH)
        size = 1
        while size < LARGEST_BATCH and self._fits(2 * size):
            size *= 2
        return replace(self, batch_size=size)

    def _fits(self, count: int) -> bool:
        t = torch.full(
            (count,), round(sum(self.sampler.guided_t) / 2 * self.denoiser.degradation.T), device=self.device
        )
        try:
            images = torch.zeros(count, *self.denoiser.degradation.image_shape, device=self.device)
            self.estimate(self.labels_of(range(count)))(images, t)
        except torch.OutOfMemoryError:
            return False
        return True

    def total_steps(self, n: int) -> int:
        """Sampler steps that this process takes for ``n`` images, batch by batch."""
        return len(self.processes.share(self.batches(n))) * (len(self.steps) - 1)


class _EvaluationCounter(nn.Module):
    """Stands for a denoiser: adds the images that it is asked for to ``counts``."""

    def __init__(self, like: Denoiser, counts: list[int]) -> None:
        super().__init__()
        self.degradation, self.classes, self.counts = like.degradation, like.classes, counts

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        self.counts.append(len(xt))
        return torch.zeros_like(xt)


@torch.inference_mode()
def evaluations(sampling: Sampling) -> int:
    """The number of times that an image passes a network on its way from x_T to x_0, guidance included."""
    counts: list[int] = []
    counter: Any = _EvaluationCounter(sampling.denoiser, counts)
    count_sampling = replace(sampling, denoiser=counter, guide=counter if sampling.guide is not None else None)
    xT = torch.zeros(1, *sampling.denoiser.degradation.image_shape, device=sampling.device)
    last(count_sampling.trajectory(xT, image_generators(0, Stream.SAMPLE, [0]), count_sampling.labels_of([0])))
    return sum(counts)


DEGRADED_VALUES = 1000 * 28 * 28
"""Values of pixels that are degraded at a time for a fit: its memory."""


def images_to_fit(images: Tensor) -> int:
    """The number of the images (N, C, H, W) that a prior is fitted to."""
    return min(len(images), FIT_IMAGES, max(1, FIT_VALUES // images[0].numel()))


@torch.no_grad()
def fit_prior(
    prior: Prior,
    degradation: Degradation,
    images: Tensor,
    labels: Tensor | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Prior:
    """Fits a prior to training images, uint8 (N, C, H, W), degraded to T without noise, A_T x_0; returns it.

    The first are taken, see :func:`images_to_fit`, so they must be in random order already, as those of
    :func:`~diffcli.data.sources.split` are. A prior that needs no fit stays as it is.

    Args:
        labels: int64 (N,), for a model that knows them: the prior then draws by label.
        advance: called with the number of images that are done; they add up to what is fitted to.
    """
    if prior.needs_fit:
        count = images_to_fit(images)

        def signal(batch: Tensor) -> Tensor:
            x0 = to_model(batch.to(degradation.device))
            at_T = torch.full((len(x0),), degradation.T, device=x0.device)
            return degradation.degrade(x0, at_T, torch.zeros_like(x0)).cpu()

        signals = torch.empty(count, *images.shape[1:])
        size = max(1, DEGRADED_VALUES // images[0].numel())
        for place, batch in zip(signals.split(size), images[:count].split(size), strict=True):
            place.copy_(signal(batch))
        total = 0

        def count_images(images: int) -> None:
            nonlocal total
            total += images
            advance(images)

        # A plug-in's fit need not take more than the images and their labels.
        parameters = inspect.signature(prior.fit).parameters
        rest: dict[str, Any] = {"sigma": float(degradation.sigmas[degradation.T]), "advance": count_images}
        rest = {name: value for name, value in rest.items() if name in parameters}
        prior.fit(signals, None if labels is None else labels[:count], **rest)
        advance(count - total)
    return prior


def draw_xT(
    sampling: Sampling,
    generators: Sequence[Source],
    image_shape: tuple[int, int, int],
    labels: Tensor | None = None,
) -> Tensor:
    """x_T of the prior, (B, C, H, W) on the sampling's device; image i is drawn from ``generators[i]``, by its
    label."""
    assert sampling.prior is not None
    signal: Tensor = sampling.prior(generators, image_shape, sampling.device, labels)
    if not sampling.prior.of_signal:
        return signal
    degradation, measurement_sigma = sampling.denoiser.degradation, sampling.denoiser.sigma
    if not (degradation.sigmas[degradation.T] > 0 or measurement_sigma):
        return signal
    sigma = degradation.sigma(torch.full((len(signal),), degradation.T, device=signal.device))
    if measurement_sigma:
        sigma = torch.hypot(sigma, torch.full_like(sigma, measurement_sigma))
    return signal + sigma * randn_images(generators, image_shape, signal.device)


@torch.inference_mode()
def generate(sampling: Sampling, n: int, image_shape: tuple[int, int, int], track: Track = iter) -> Iterator[Tensor]:
    """Batches of samples, float (B, C, H, W), on the CPU; ``n`` images in all, of the sampling's labels."""

    yield from sampling.processes.map_in_order(
        sampling.batches(n),
        lambda indices: last(track(sampling.trajectory(*sampling.start(indices, image_shape)))).cpu(),
    )
