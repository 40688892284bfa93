"""Unconditional samples and reconstructions, in batches, the same images whatever the batch size and the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffcli.assembly import BoundSampler, bind_sampler
from diffcli.config import Sampler
from diffcli.data.pixels import to_model
from diffcli.devices import Processes
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import FIT_IMAGES, Prior
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.diffusion.samplers import Step, last

Track = Callable[[Iterator[Step]], Iterator[Step]]
"""A loop over a batch's steps that yields them on: whoever wants to see a batch as it is drawn puts one around it."""


def counting(advance: Callable[[int], None]) -> Track:
    """A loop that calls ``advance(1)`` after each of the sampler's steps, for a progress bar."""

    def track(steps: Iterator[Step]) -> Iterator[Step]:
        yield next(steps)  # x_T, before the first step
        for step in steps:
            advance(1)
            yield step

    return track


@dataclass(frozen=True)
class Sampling:
    """Everything that decides what comes out of a trained denoiser.

    ``steps`` descends from T to 0; ``seed`` and an image's index decide its noise.
    """

    denoiser: Denoiser
    prior: Prior | None
    """Where unconditional sampling starts; None where it does not."""
    sampler: Sampler
    steps: Sequence[int]
    seed: int
    batch_size: int
    processes: Processes

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.processes.device

    @cached_property
    def bound_sampler(self) -> BoundSampler:
        """The sampler with its parameters, looked up and checked once."""
        return bind_sampler(self.sampler, self.denoiser.degradation)

    def trajectory(self, xT: Tensor, generators: Sequence[torch.Generator]) -> Iterator[Step]:
        """x_T (B, C, H, W) -> ``Step(T, xT, xT)``, then a step for each of the sampler's, the last one at s = 0."""
        yield Step(self.steps[0], xT, xT)

        def draw() -> Tensor:
            return randn_images(generators, tuple(xT.shape[1:]), xT.device)

        yield from self.bound_sampler(self.denoiser, xT, self.steps, draw)

    def batches(self, n: int) -> list[range]:
        """The indices of ``n`` images in batches."""
        return [range(start, min(start + self.batch_size, n)) for start in range(0, n, self.batch_size)]

    def total_steps(self, n: int) -> int:
        """Sampler steps that this process takes for ``n`` images, batch by batch."""
        return len(self.processes.mine(self.batches(n))) * (len(self.steps) - 1)


@torch.no_grad()
def fit_prior(prior: Prior, degradation: Degradation, images: Tensor) -> Prior:
    """``prior`` after it has seen A_T x_0 of uint8 training images (N, C, H, W) in random order, the first 50,000."""
    if prior.needs_fit:

        def signal(batch: Tensor) -> Tensor:
            x0 = to_model(batch.to(degradation.device))
            at_T = torch.full((len(x0),), degradation.T, device=x0.device)
            return degradation.degrade(x0, at_T, torch.zeros_like(x0)).cpu()

        prior.fit(torch.cat([signal(batch) for batch in torch.split(images[:FIT_IMAGES], 1000)]))
    return prior


def draw_xT(sampling: Sampling, generators: Sequence[torch.Generator], image_shape: tuple[int, int, int]) -> Tensor:
    """x_T of the prior, (B, C, H, W) on the sampling's device; image i is drawn from ``generators[i]``."""
    assert sampling.prior is not None
    drawn: Tensor = sampling.prior(generators, image_shape, sampling.device)
    degradation = sampling.denoiser.degradation
    if not sampling.prior.of_signal or not degradation.sigmas[degradation.T] > 0:
        return drawn
    at_T = torch.full((len(drawn),), degradation.T, device=drawn.device)
    return drawn + degradation.sigma(at_T) * randn_images(generators, image_shape, drawn.device)


@torch.inference_mode()
def generate(sampling: Sampling, n: int, image_shape: tuple[int, int, int], track: Track = iter) -> Iterator[Tensor]:
    """Batches of unconditional samples, float (B, C, H, W), on the CPU; ``n`` images in all."""

    def draw(indices: range) -> Tensor:
        generators = image_generators(sampling.seed, Stream.SAMPLE, indices)
        xT = draw_xT(sampling, generators, image_shape)
        return last(track(sampling.trajectory(xT, generators))).cpu()

    yield from sampling.processes.shared(sampling.batches(n), draw)


def degraded(
    degradation: Degradation, x0: Tensor, t: int, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """(x_t, t as a vector) for a batch of clean images, each with its own generator's noise."""
    noise = randn_images(generators, tuple(x0.shape[1:]), x0.device)
    at_t = torch.full((len(x0),), t, device=x0.device)
    return degradation.degrade(x0, at_t, noise), at_t


@torch.inference_mode()
def restore(sampling: Sampling, xt: Tensor, track: Track = iter) -> Iterator[Tensor]:
    """Batches of what the sampler makes of degraded images (N, C, H, W) at its first step, float (B, C, H, W), on the CPU."""

    def draw(indices: range) -> Tensor:
        generators = image_generators(sampling.seed, Stream.RESTORATION, indices)
        batch = xt[indices.start : indices.stop].to(sampling.device)
        return last(track(sampling.trajectory(batch, generators))).cpu()

    yield from sampling.processes.shared(sampling.batches(len(xt)), draw)


@torch.inference_mode()
def reconstruct(sampling: Sampling, images: Tensor, track: Track = iter) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of reconstructions from x_T of uint8 images (N, C, H, W): (sampled, direct), each float (B, C, H, W).

    ``sampled`` is where the sampler ends; ``direct`` is x0_hat in one step from x_T. On the CPU.
    """

    def draw(indices: range) -> tuple[Tensor, Tensor]:
        generators = image_generators(sampling.seed, Stream.RECONSTRUCTION, indices)
        x0 = to_model(images[indices.start : indices.stop].to(sampling.device))
        xT, at_T = degraded(sampling.denoiser.degradation, x0, sampling.steps[0], generators)
        direct = sampling.denoiser(xT, at_T)
        return last(track(sampling.trajectory(xT, generators))).cpu(), direct.cpu()

    yield from sampling.processes.shared(sampling.batches(len(images)), draw)


@torch.inference_mode()
def conditional_rows(sampling: Sampling, images: Tensor, track: Track = iter) -> list[tuple[str, Tensor]]:
    """The rows of the report's Figures 2 and 9 for uint8 images (N, C, H, W): captions and float images (N, C, H, W).

    The image x; at t = T/4, T/2 and T the degraded z_t and its one-step reconstruction x_t; and the sampler's
    reconstruction from z_T.
    """
    T = sampling.steps[0]
    x0 = to_model(images.to(sampling.device))
    rows = [("$x$", x0)]
    for t in sorted({max(T // 4, 1), max(T // 2, 1), T}):
        generators = image_generators(sampling.seed, Stream.RECONSTRUCTION, range(len(images)))
        xt, at_t = degraded(sampling.denoiser.degradation, x0, t, generators)
        rows += [(f"$z_{{{t}}}$", xt), (f"$x_{{{t}}}$", sampling.denoiser(xt, at_t))]
    # The last t is T, with the same noise that reconstruct() starts from.
    rows.append((r"$\hat{x}$", last(track(sampling.trajectory(xt, generators)))))
    return [(caption, row.cpu()) for caption, row in rows]
