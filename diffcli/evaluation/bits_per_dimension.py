"""Bits per dimension of test images under a trained model: docs/bits-per-dimension.md."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from diffcli.config.build import priors_for
from diffcli.data.datasets import ImageSet
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.guidance import X0Function, with_labels
from diffcli.diffusion.likelihood import LikelihoodBound, bits_per_dimension, first_estimate, fit_width, why_unbounded
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.evaluation.options import NLL_EVALUATIONS
from diffcli.evaluation.resampling import with_error
from diffcli.inference.sampling import Sampling
from diffcli.utils.console import progress
from diffcli.utils.errors import UserError

WIDTH_IMAGES = 250
"""Training images that the decoder's width is fitted to."""


def why_none(degradation: Degradation, prior: str) -> str | None:
    """The reason why there are no bits per dimension for models of a degradation from a prior, in words; None where
    there are."""
    if PRIORS[prior].log_density is Prior.log_density:
        others = [name for name in priors_for(degradation) if PRIORS[name].log_density is not Prior.log_density]
        return f"prior {prior} has no density; use one of {', '.join(others)}"
    return why_unbounded(degradation)


def evaluations_of(count: int | None, T: int) -> int:
    """Network evaluations for each image: those asked for, else ``NLL_EVALUATIONS``, or T where that is less.

    Raises:
        UserError: they are out of range.
    """
    fewest = min(2, T)
    if count is not None and not fewest <= count <= T:
        raise UserError(f"`nll_steps` must be in {fewest}..{T} (T of this model), got {count}")
    return min(NLL_EVALUATIONS, T) if count is None else count


def _estimate(sampling: Sampling, labels: Tensor) -> X0Function:
    """x0_hat of images of these labels, unguided: guidance is the sampler's, and no model of the data."""
    denoiser = sampling.denoiser
    return with_labels(denoiser, labels.to(sampling.device)) if denoiser.classes else denoiser


@torch.inference_mode()
def decoder_width(sampling: Sampling, train: ImageSet) -> float:
    """The standard deviation of p(x_0 | x_1), fitted to training images."""
    errors: list[tuple[Tensor, Tensor]] = []
    for indices in sampling.batches(min(WIDTH_IMAGES, len(train))):
        batch = train[torch.arange(indices.start, indices.stop)]
        x0 = to_model(batch.images.to(sampling.device))
        generators = image_generators(sampling.seed, Stream.DECODER, indices)
        noise = randn_images(generators, train.image_shape, x0.device)
        estimate = _estimate(sampling, batch.labels)
        errors.append((x0, first_estimate(estimate, sampling.denoiser.degradation, x0, noise)))
    x0, x0_hat = (torch.cat(parts) for parts in zip(*errors, strict=True))
    return fit_width(x0, x0_hat)


@torch.inference_mode()
def bits_of(
    sampling: Sampling, test: ImageSet, labels: Tensor, evaluations: int, width: float, quiet: bool
) -> dict[str, float]:
    """Scores: the mean of the bound over test images in bits per dimension, its KL terms, and the mean's standard
    error.

    Args:
        labels: what the denoiser and the prior are told of the images, int64 (N,), -1 for nothing.
        width: see :func:`decoder_width`.
    """
    bound = LikelihoodBound(sampling.denoiser.degradation, evaluations)
    prior = sampling.prior
    assert prior is not None
    sigma = float(sampling.denoiser.degradation.sigmas[-1])
    batches = sampling.batches(len(test))
    total = sum(len(indices) for indices in sampling.processes.share(batches))
    with progress("bits per dimension", total, "images", quiet) as advance:

        def cost(indices: range) -> tuple[Tensor, Tensor]:
            batch_labels = labels[indices.start : indices.stop]
            costs = bound.costs(
                _estimate(sampling, batch_labels),
                to_model(test.images[indices.start : indices.stop].to(sampling.device)),
                image_generators(sampling.seed, Stream.LIKELIHOOD, indices),
                width,
                partial(prior.log_density, sigma=sigma, labels=batch_labels if sampling.denoiser.classes else None),
            )
            advance(len(indices))
            return costs.total, costs.prior + costs.kl

        results: Sequence[tuple[Tensor, Tensor]] = list(sampling.processes.map_in_order(batches, cost))
    whole, kl = (bits_per_dimension(torch.cat(parts), test.image_shape) for parts in zip(*results, strict=True))
    return with_error("nll", whole) | {"nll_kl": float(kl.mean())}
