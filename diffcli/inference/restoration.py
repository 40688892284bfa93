"""Reconstructions, restorations and in-painting of images at hand; in batches, as samples are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from diffcli.data.pixels import quantize, rounding, to_model
from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.guidance import with_clipping
from diffcli.diffusion.inpainting import KnownPixels
from diffcli.diffusion.inversion import inversion_steps
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.diffusion.samplers import Step, last
from diffcli.inference.sampling import Sampling, Track, draw_xT

AT_ONCE = 1000
"""Images that are degraded together."""


def labels_on_device(sampling: Sampling, labels: Tensor | None) -> Tensor | None:
    """The labels on the sampling's device; None where its denoiser knows none."""
    return None if labels is None or not sampling.denoiser.classes else labels.to(sampling.device)


def degrade_batch(
    degradation: Degradation, x0: Tensor, t: int, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """(x_t, t as a vector) for a batch of clean images, each with its own generator's noise."""
    noise = randn_images(generators, tuple(x0.shape[1:]), x0.device)
    at_t = torch.full((len(x0),), t, device=x0.device)
    return degradation.degrade(x0, at_t, noise), at_t


@torch.inference_mode()
def degraded_images(degradation: Degradation, images: Tensor, t: int, seed: int) -> Tensor:
    """x_t of uint8 images (N, C, H, W), float, on the CPU."""
    parts = []
    for indices in torch.arange(len(images)).split(AT_ONCE):
        generators = image_generators(seed, Stream.RECONSTRUCTION, indices.tolist())
        parts.append(
            degrade_batch(degradation, to_model(images[indices].to(degradation.device)), t, generators)[0].cpu()
        )
    return torch.cat(parts)


@torch.inference_mode()
def restore(sampling: Sampling, xt: Tensor, track: Track = iter, labels: Tensor | None = None) -> Iterator[Tensor]:
    """Batches of what the sampler makes of degraded images (N, C, H, W) at its first step, float (B, C, H, W), on the
    CPU.

    Args:
        labels: of the images, int64 (N,); a model without labels does not look at them.
    """
    device_labels = labels_on_device(sampling, labels)

    def draw(indices: range) -> Tensor:
        generators = image_generators(sampling.seed, Stream.RESTORATION, indices)
        batch = xt[indices.start : indices.stop].to(sampling.device)
        batch_labels = None if device_labels is None else device_labels[indices.start : indices.stop]
        return last(track(sampling.trajectory(batch, generators, batch_labels))).cpu()

    yield from sampling.processes.map_in_order(sampling.batches(len(xt)), draw)


@torch.inference_mode()
def invert(sampling: Sampling, images: Tensor, track: Track = iter, labels: Tensor | None = None) -> Iterator[Tensor]:
    """Batches of the noise x_T that DDIM without new noise takes to uint8 images (N, C, H, W), float (B, C, H, W), on
    the CPU.

    Args:
        sampling: of a model of Gaussian noise; its sampler's steps are taken, backwards.
        track: sees the steps, x_0 first.
        labels: of the images, int64 (N,); a model without labels does not look at them.
    """
    device_labels, degradation = labels_on_device(sampling, labels), sampling.denoiser.degradation
    assert isinstance(degradation, GaussianNoise)

    def invert(indices: range) -> Tensor:
        x0 = to_model(images[indices.start : indices.stop].to(sampling.device))
        estimate = sampling.estimate(None if device_labels is None else device_labels[indices.start : indices.stop])
        steps = inversion_steps(
            with_clipping(estimate) if sampling.sampler.clip else estimate, degradation, x0, sampling.steps
        )
        return last(track(chain([Step(0, x0, x0)], steps))).cpu()

    yield from sampling.processes.map_in_order(sampling.batches(len(images)), invert)


@dataclass(frozen=True)
class Disturbance:
    """A change of z_t on the way from the degradation to the network: what a picture file, or a sensor, does to it.

    Args:
        bits: z_t is rounded to 2^bits values and clamped to the range of pixels, as in a picture file; None leaves it
            as it is.
        noise: standard deviation of the normal noise that is added then, where pixels have the range 1.
    """

    bits: int | None = None
    noise: float = 0.0

    @property
    def sigma(self) -> float:
        """Standard deviation of both together."""
        return math.hypot(self.noise, 0.0 if self.bits is None else rounding(self.bits))

    def of(self, zt: Tensor, seed: int, indices: Sequence[int]) -> Tensor:
        """z_t (B, C, H, W) of the images with these indices, disturbed; the noise is a function of (seed, index)."""
        if self.bits is not None:
            zt = quantize(zt, self.bits)
        if self.noise:
            generators = image_generators(seed, Stream.DISTURBANCE, indices)
            zt = zt + self.noise * randn_images(generators, tuple(zt.shape[1:]), zt.device)
        return zt


NO_DISTURBANCE = Disturbance()


@torch.inference_mode()
def reconstruct(
    sampling: Sampling,
    images: Tensor,
    track: Track = iter,
    labels: Tensor | None = None,
    *,
    disturbance: Disturbance = NO_DISTURBANCE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of reconstructions of uint8 images (N, C, H, W) from their z_t at the sampling's first step, T unless it
    starts later: (sampled, direct), each float (B, C, H, W), on the CPU.

    ``sampled`` is where the sampler ends; ``direct`` is x0_hat in one step from the same z_t, unguided.

    Args:
        labels: what the denoiser is told of the images, int64 (N,); None, and -1, is nothing.
        disturbance: of z_t, before the denoiser sees it.
    """
    device_labels = labels_on_device(sampling, labels)

    def draw(indices: range) -> tuple[Tensor, Tensor]:
        generators = image_generators(sampling.seed, Stream.RECONSTRUCTION, indices)
        x0 = to_model(images[indices.start : indices.stop].to(sampling.device))
        zt, at_t = degrade_batch(sampling.denoiser.degradation, x0, sampling.steps[0], generators)
        zt = disturbance.of(zt, sampling.seed, indices)
        batch_labels = None if device_labels is None else device_labels[indices.start : indices.stop]
        direct = sampling.denoiser(zt, at_t, batch_labels)
        return last(track(sampling.trajectory(zt, generators, batch_labels))).cpu(), direct.cpu()

    yield from sampling.processes.map_in_order(sampling.batches(len(images)), draw)


@torch.inference_mode()
def reconstruction_rows(
    sampling: Sampling, images: Tensor, track: Track = iter, labels: Tensor | None = None
) -> list[tuple[str, Tensor]]:
    """The rows of the report's Figures 2 and 9 for uint8 images (N, C, H, W): captions and float images (N, C, H, W).

    The image x; at t = T/4, T/2 and T the degraded z_t and its one-step reconstruction x_t; and the sampler's
    reconstruction from z_T.

    Args:
        labels: what the denoiser is told of the images, int64 (N,); None, and -1, is nothing.
    """
    device_labels = labels_on_device(sampling, labels)
    T = sampling.steps[0]
    x0 = to_model(images.to(sampling.device))
    rows = [("$x$", x0)]
    for t in sorted({max(T // 4, 1), max(T // 2, 1), T}):
        generators = image_generators(sampling.seed, Stream.RECONSTRUCTION, range(len(images)))
        xt, at_t = degrade_batch(sampling.denoiser.degradation, x0, t, generators)
        rows += [(f"$z_{{{t}}}$", xt), (f"$x_{{{t}}}$", sampling.denoiser(xt, at_t, device_labels))]
    # The last t is T, with the same noise that reconstruct() starts from.
    rows.append((r"$\hat{x}$", last(track(sampling.trajectory(xt, generators, device_labels)))))
    return [(caption, row.cpu()) for caption, row in rows]


@torch.inference_mode()
def one_step_estimates(sampling: Sampling, xt: Tensor, labels: Tensor | None = None) -> Iterator[Tensor]:
    """Batches of x0_hat of degraded images (N, C, H, W) at the sampling's first step, unguided, float, on the CPU.

    Args:
        labels: of the images, int64 (N,); a model without labels does not look at them.
    """
    device_labels = labels_on_device(sampling, labels)

    def estimate(indices: range) -> Tensor:
        batch = xt[indices.start : indices.stop].to(sampling.device)
        batch_labels = None if device_labels is None else device_labels[indices.start : indices.stop]
        at_t = torch.full((len(batch),), sampling.steps[0], device=batch.device)
        return sampling.denoiser(batch, at_t, batch_labels).cpu()

    yield from sampling.processes.map_in_order(sampling.batches(len(xt)), estimate)


@torch.inference_mode()
def inpaint(
    sampling: Sampling,
    images: Tensor,
    masks: Tensor,
    rounds: int,
    track: Track = iter,
    labels: Tensor | None = None,
) -> Iterator[Tensor]:
    """Batches of uint8 images (N, C, H, W) with part of each drawn anew, from the sampling's prior, float, on the CPU.

    Args:
        masks: bool (N, 1, H, W), True where a pixel is drawn.
        rounds: how often each step is taken.
        labels: of the images, int64 (N,); a model without labels does not look at them.
    """
    device_labels = labels_on_device(sampling, labels)

    def draw(indices: range) -> Tensor:
        generators = image_generators(sampling.seed, Stream.INPAINTING, indices)
        at_hand = slice(indices.start, indices.stop)
        x0 = to_model(images[at_hand].to(sampling.device))
        known_pixels = KnownPixels(x0, masks[at_hand].to(sampling.device), rounds)
        batch_labels = None if device_labels is None else device_labels[at_hand]
        shape = (x0.shape[1], x0.shape[2], x0.shape[3])
        noise = randn_images(generators, shape, sampling.device)
        xT = known_pixels.start(
            sampling.denoiser.degradation, draw_xT(sampling, generators, shape, batch_labels), noise
        )
        return last(track(sampling.trajectory(xT, generators, batch_labels, known_pixels))).cpu()

    yield from sampling.processes.map_in_order(sampling.batches(len(images)), draw)
