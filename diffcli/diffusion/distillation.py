"""Distillation by moment matching: how a model learns to draw in few steps what another draws in many (Salimans et al.
2024, "Multistep distillation of diffusion models via moment matching").

A denoiser answers with the mean of all images that x_t may have been; a sampler of few steps needs one of them. So the
student is not compared with an answer of the teacher. Its image takes x_t some way back, to an x_s, and two denoisers
say what that may have been: the teacher, who knows real images, and an auxiliary one, which is trained on the student's
alone. Where the student's images are distributed as real ones are, the two agree; else the student's image is moved by
their difference. With a single step this is distribution matching (Yin et al. 2023).

Unlike in Salimans et al. 2024, s lies anywhere below t, not within the step. A student has one answer to each x_t. The
two denoisers of an s near t agree on the mean, those of an s near 0 on a sample, and what is learnt lies between:
images of several steps vary a little less than real ones. The auxiliary, one for all steps, has to tell their images
apart by what it sees.

It serves every degradation with noise, whose step back is that of the cold sampler with eta 1, and of DDIM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.guidance import LabelledX0Function
from diffcli.diffusion.samplers import new_noise

POWER_BATCH = 64
"""So many t at a time: a degradation's power is measured on images."""


class Interval(NamedTuple):
    """The times at which a student is asked, and at which its answer is compared."""

    t: Tensor
    """The beginning of one of its steps, in 1..T, int64 (B,)."""
    s: Tensor
    """A time below it, in 1..t, int64 (B,)."""


def draw_intervals(path: Sequence[int], size: int, generator: torch.Generator) -> Interval:
    """Beginnings of a student's steps, drawn evenly from those of its sampler, and times below them, drawn evenly, too.

    Args:
        path: the sampler's time steps, descending from T to 0.
        size: of the batch, B.
    """
    times = torch.tensor(path, device=generator.device)
    step, share = torch.rand((2, size), generator=generator, device=generator.device)
    number = (step * (len(path) - 1)).long()
    t = times[number]
    return Interval(t, (1 + share * (t - 1)).long())


@torch.no_grad()
def powers_of(degradation: Degradation) -> Tensor:
    """The power of a degradation's signal at every t, float32 (T + 1,), on its device; 1 at 0."""
    times = torch.arange(1, degradation.T + 1, device=degradation.device).split(POWER_BATCH)
    return torch.cat([torch.ones(1, device=degradation.device), *(degradation.power(t) for t in times)])


def step_back(
    degradation: Degradation, xt: Tensor, interval: Interval, x0_hat: Tensor, noise: Tensor, powers: Tensor
) -> Tensor:
    """x_s of x_t and an estimate of x_0, with as much noise drawn anew as a sampler of eta 1 draws, (B, C, H, W); see
    :func:`~diffcli.diffusion.samplers.cold`.

    Args:
        noise: standard normal, (B, C, H, W).
        powers: see :func:`powers_of`.
    """
    t, s = interval
    sigma_t, sigma_s = degradation.sigma(t).double(), degradation.sigma(s).double()
    tau = new_noise(sigma_t.flatten(), sigma_s.flatten(), powers[t], powers[s]).view(-1, 1, 1, 1)
    rest = (sigma_s.square() - tau.square()).clamp(min=0).sqrt()
    signal = degradation.degrade(x0_hat, s, torch.zeros_like(x0_hat))
    return signal + rest.to(xt.dtype) * degradation.noise_from(xt, t, x0_hat) + tau.to(xt.dtype) * noise


def moment_matching(
    student: Denoiser,
    auxiliary: Denoiser,
    teacher: LabelledX0Function,
    xt: Tensor,
    interval: Interval,
    noise: Tensor,
    *,
    powers: Tensor,
    labels: Tensor | None = None,
) -> Tensor:
    """The loss of student and auxiliary together, one value per image, (B,): its value is the auxiliary's, and its
    gradient that of both (Salimans et al. 2024, section 3.2).

    Args:
        teacher: x0_hat of a trained model, guided as its samples are.
        xt: real images degraded to ``interval.t``, (B, C, H, W).
        noise: standard normal, (B, C, H, W), for x_s.
        powers: see :func:`powers_of`.
        labels: of the images, int64 (B,), -1 for none; None is none for all.
    """
    t, s = interval
    x0_hat = student(xt, t, labels)
    image = x0_hat.detach()
    xs = step_back(student.degradation, xt, interval, image, noise, powers)
    x0_of_student, losses = auxiliary.estimate_and_loss(xs, s, image, labels)
    with torch.no_grad():
        x0_of_teacher = teacher(xs, s, torch.full_like(s, -1) if labels is None else labels)
        # As large as estimates err at s: where there is little noise, small differences count.
        direction = (x0_of_student - x0_of_teacher) / student.degradation.sigma(s)
    # A product whose gradient is the direction, and whose value is taken away again.
    product = (x0_hat * direction).flatten(1).mean(dim=1)
    return losses + product - product.detach()
