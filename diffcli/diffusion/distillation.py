"""Distillation by distribution matching: how a model learns to draw in few steps what another draws in many (Yin et al.
2023, "One-step diffusion with distribution matching distillation", and 2024, section 4.4, for several steps).

A denoiser answers with the mean of all images that x_t may have been; a sampler of few steps needs one of them. So the
student is not compared with an answer of the teacher. Its image is degraded again, to an x_s, and two denoisers say
what that may have been: the teacher, who knows real images, and an auxiliary one, which is trained on the student's
alone. Where the student's images are distributed as real ones are, the two agree; else the student's image is moved by
their difference.

Each step of the student's has an auxiliary denoiser of its own: one for all would see their images mixed, and be
content with wide ones of one step beside narrow ones of another. The noise in x_s is drawn anew: of the noise in x_t
the student's answer is a function, a real image is not, and no answer would be right at every s.

It serves every degradation with noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.guidance import LabelledX0Function


class Interval(NamedTuple):
    """The times at which a student is asked, and at which its answer is compared."""

    step: Tensor
    """The number of one of its steps, from 0, int64 (B,)."""
    t: Tensor
    """The beginning of that step, in 1..T, int64 (B,)."""
    s: Tensor
    """A time below it, in 1..t, int64 (B,)."""


def draw_intervals(path: Sequence[int], size: int, generator: torch.Generator) -> Interval:
    """The steps of a student's sampler, each for the same share of a batch, and times below them, drawn evenly.

    Args:
        path: the sampler's time steps, descending from T to 0.
        size: of the batch, B.
    """
    step = torch.arange(size, device=generator.device) * (len(path) - 1) // max(size, 1)
    t = torch.tensor(path, device=generator.device)[step]
    share = torch.rand(size, generator=generator, device=generator.device)
    return Interval(step, t, (1 + share * (t - 1)).long())


def distribution_matching(
    student: Denoiser,
    auxiliaries: Sequence[Denoiser],
    teacher: LabelledX0Function,
    xt: Tensor,
    interval: Interval,
    noise: Tensor,
    *,
    labels: Tensor | None = None,
) -> Tensor:
    """The loss of a student and its auxiliary denoisers together, one value per image, (B,): its value is the
    auxiliary's, and its gradient that of both (Yin et al. 2023, Eq. 3 and 6; here both move in the same step).

    Args:
        auxiliaries: one for each step of the student's sampler.
        teacher: x0_hat of a trained model, guided as its samples are.
        xt: real images degraded to ``interval.t``, (B, C, H, W).
        noise: standard normal, (B, C, H, W), for x_s.
        labels: of the images, int64 (B,), -1 for none; None is none for all.
    """
    step, t, s = interval
    x0_hat = student(xt, t, labels)
    image = x0_hat.detach()
    xs = student.degradation.degrade(image, s, noise)
    x0_of_student, losses = torch.zeros_like(image), torch.zeros(len(image), device=image.device)
    for number, auxiliary in enumerate(auxiliaries):
        if len(index := (step == number).nonzero().flatten()):
            own_labels = None if labels is None else labels[index]
            estimates, own_losses = auxiliary.estimate_and_loss(xs[index], s[index], image[index], own_labels)
            x0_of_student[index], losses = estimates.detach(), losses.index_put((index,), own_losses)
        else:  # processes that train together wait for a gradient of every weight
            losses = losses + 0 * sum(weight.sum() for weight in auxiliary.parameters())
    with torch.no_grad():
        x0_of_teacher = teacher(xs, s, torch.full_like(s, -1) if labels is None else labels)
        # As large as estimates err at s: where there is little noise, small differences count.
        direction = (x0_of_student - x0_of_teacher) / student.degradation.sigma(s)
    # A product whose gradient is the direction, and whose value is taken away again.
    product = (x0_hat * direction).flatten(1).mean(dim=1)
    return losses + product - product.detach()
