"""Unconditional samples and reconstructions, in batches, the same images whatever the batch size and the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcli.assembly import run_sampler
from diffcli.config import Sampler
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import FIT_IMAGES, Prior
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.diffusion.samplers import Callback
from diffcli.processes import Processes

OnStep = Callable[[int], None]
"""Called with the number of sampler steps just done on a batch."""


@dataclass(frozen=True)
class Sampling:
    """Everything that decides what comes out of a trained denoiser.

    ``steps`` descends from T to 0; ``seed`` and an image's index decide its noise.
    """

    denoiser: Denoiser
    prior: Prior
    sampler: Sampler
    steps: Sequence[int]
    seed: int
    batch_size: int
    processes: Processes

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.processes.device

    def walk(
        self,
        xT: Tensor,
        generators: Sequence[torch.Generator],
        on_step: OnStep | None,
        callback: Callback | None = None,
    ) -> Tensor:
        """x_T -> x_0, float (B, C, H, W) in about [-0.5, 0.5], on the device."""

        if callback:
            callback(self.steps[0], xT, xT)

        def after(s: int, xs: Tensor, x0_hat: Tensor) -> None:
            if on_step:
                on_step(1)
            if callback:
                callback(s, xs, x0_hat)

        return run_sampler(self.sampler, self.denoiser, xT, self.steps, generators, after)

    def batches(self, n: int) -> list[range]:
        """The indices of ``n`` images in batches."""
        return [range(start, min(start + self.batch_size, n)) for start in range(0, n, self.batch_size)]

    def total_steps(self, n: int) -> int:
        """Sampler steps that this process takes for ``n`` images, batch by batch."""
        return len(self.processes.mine(self.batches(n))) * (len(self.steps) - 1)


@torch.no_grad()
def fit_prior(prior: Prior, degradation: Degradation, images: Tensor) -> Prior:
    """``prior`` after it has seen z_T of uint8 training images (N, C, H, W) in random order, the first 50,000."""
    if prior.fitted:
        device = next(degradation.buffers()).device
        batches = [to_model(batch.to(device)) for batch in images[:FIT_IMAGES].split(1000)]
        at_T = [torch.full((len(batch),), degradation.T, device=device) for batch in batches]
        prior.fit(torch.cat([degradation.degrade(x0, t).cpu() for x0, t in zip(batches, at_T, strict=True)]))
    return prior


@torch.inference_mode()
def generate(
    sampling: Sampling,
    n: int,
    image_shape: tuple[int, int, int],
    on_step: OnStep | None = None,
    callback: Callback | None = None,
) -> Iterator[Tensor]:
    """Batches of unconditional samples, float (B, C, H, W), on the CPU; ``n`` images in all."""

    def draw(indices: range) -> Tensor:
        generators = image_generators(sampling.seed, Stream.SAMPLE, indices)
        xT = sampling.prior(generators, image_shape, sampling.device)
        return sampling.walk(xT, generators, on_step, callback).cpu()

    yield from sampling.processes.shared(sampling.batches(n), draw)


def degraded(sampling: Sampling, x0: Tensor, t: int, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """(x_t, t as a vector) for a batch of clean images, each with its own generator's noise."""
    noise = randn_images(generators, tuple(x0.shape[1:]), sampling.device)
    at_t = torch.full((len(x0),), t, device=sampling.device)
    return sampling.denoiser.degradation.degrade(x0, at_t, noise), at_t


@torch.inference_mode()
def reconstruct(sampling: Sampling, images: Tensor, on_step: OnStep | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of reconstructions from x_T of uint8 images (N, C, H, W): (sampled, direct), each float (B, C, H, W).

    ``sampled`` walks back with the sampler; ``direct`` is x0_hat in one step from x_T. On the CPU.
    """

    def draw(indices: range) -> tuple[Tensor, Tensor]:
        generators = image_generators(sampling.seed, Stream.RECONSTRUCTION, indices)
        x0 = to_model(images[indices.start : indices.stop].to(sampling.device))
        xT, at_T = degraded(sampling, x0, sampling.steps[0], generators)
        direct = sampling.denoiser(xT, at_T)
        return sampling.walk(xT, generators, on_step).cpu(), direct.cpu()

    yield from sampling.processes.shared(sampling.batches(len(images)), draw)


@torch.inference_mode()
def conditional_rows(sampling: Sampling, images: Tensor, on_step: OnStep | None = None) -> list[tuple[str, Tensor]]:
    """The rows of the report's Figures 2 and 9 for uint8 images (N, C, H, W): labels and float images (N, C, H, W).

    The image x; at t = T/4, T/2 and T the degraded z_t and its one-step reconstruction x_t; and the sampler's
    reconstruction from z_T.
    """
    T = sampling.steps[0]
    x0 = to_model(images.to(sampling.device))
    rows = [("$x$", x0)]
    for t in sorted({max(T // 4, 1), max(T // 2, 1), T}):
        generators = image_generators(sampling.seed, Stream.RECONSTRUCTION, range(len(images)))
        xt, at_t = degraded(sampling, x0, t, generators)
        rows += [(f"$z_{{{t}}}$", xt), (f"$x_{{{t}}}$", sampling.denoiser(xt, at_t))]
    # The last t is T, with the same noise that reconstruct() starts from.
    rows.append((r"$\hat{x}$", sampling.walk(xt, generators, on_step)))
    return [(label, row.cpu()) for label, row in rows]
