"""The evidence for the label of a measured image: how well the estimates of each label explain the measurement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.degradations.separable import SPREAD
from diffcli.diffusion.guidance import X0Function
from diffcli.diffusion.measurements import Measurement, dot
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.diffusion.samplers import last
from diffcli.inference.posterior import trajectory_given
from diffcli.inference.sampling import Sampling, Track

MOST_NATS = 5.0
"""The most by which a step may call a label worse than the best."""
STEPS_WORTH = 1.5
"""The number of independent steps that all the steps of a trajectory are worth: measured, see docs/restore.md."""
ITERATIONS = 1
"""Conjugate gradients in each step, as the two numbers above were chosen with: two name fewer labels, see
docs/restore.md."""


@torch.inference_mode()
def label_log_likelihoods(
    sampling: Sampling, measurement: Measurement, method: str, labels: Sequence[int], track: Track = iter
) -> Tensor:
    """About log p(y | label) of each measured image, up to a constant, float64 (N, labels).

    Each image is sampled given its measurement under each label, with the same noise. At every step the residual b = y
    - A x0_hat is as probable as -1/2 b' (r^2 A A' + sigma^2)^-1 b says, r^2 being what x_t leaves of an image. A step
    speaks for all that come after it, so the mean over the steps counts, not the sum; and the tails of the true
    distribution are longer than normal ones, so no step says more than ``MOST_NATS``.
    """
    count, classes = len(measurement.y), len(labels)
    candidates = torch.tensor(labels, device=sampling.device).repeat(count)
    degradation = sampling.denoiser.degradation

    def score(indices: range) -> Tensor:
        images = [index // classes for index in indices]
        batch_measurement = measurement.of(torch.tensor(images, device=sampling.device))
        generators = [generator_for(sampling.seed, Stream.EVIDENCE, image) for image in images]
        scores: dict[tuple[int, ...], list[Tensor]] = {}

        def watch(estimate: X0Function, batch_measurement: Measurement, rows: Tensor) -> X0Function:
            step_scores = scores.setdefault(tuple(rows.tolist()), [])

            def estimate_and_score(xt: Tensor, t: Tensor) -> Tensor:
                x0_hat = estimate(xt, t)
                step_scores.append(_log_probability(batch_measurement, x0_hat.detach(), t, degradation))
                return x0_hat

            return estimate_and_score

        batch_labels = candidates[indices.start : indices.stop]
        trajectory = trajectory_given(
            sampling, batch_measurement, method, generators, batch_labels, iterations=ITERATIONS, watch=watch
        )
        last(track(trajectory))
        return torch.cat([torch.stack(parts) for parts in scores.values()], dim=1)[:, : len(indices)].cpu()

    parts = list(sampling.processes.map_in_order(sampling.batches(count * classes), score))
    steps = torch.cat(parts, dim=1).unflatten(1, (count, classes))
    losses = (steps - steps.amax(dim=2, keepdim=True)).clamp(min=-MOST_NATS)
    return STEPS_WORTH * losses.mean(dim=0)


def _log_probability(measurement: Measurement, x0_hat: Tensor, t: Tensor, degradation: Degradation) -> Tensor:
    """-1/2 b' (r^2 A A' + sigma^2)^-1 b, float64 (B,), for a batch that is all at step t, with r^2 as white images of
    the usual spread have it given x_t."""
    power = float(degradation.power(t[:1].to(degradation.device)))
    variance = 1 / (1 / SPREAD**2 + power / float(degradation.sigmas[int(t[0])]) ** 2)
    residual = measurement.residual(x0_hat)
    return -0.5 * dot(residual, measurement.operator.solve(residual, variance, measurement.noise)).flatten()


def label_probabilities(log_likelihoods: Tensor, labels: Sequence[int], shares: Sequence[float]) -> Tensor:
    """p(label | y), float64 (N, classes), by Bayes' rule; 0 of a label that was not tried.

    Args:
        log_likelihoods: (N, labels).
        labels: those that were tried.
        shares: how frequent each of all labels is.
    """
    prior = torch.tensor([shares[label] for label in labels], dtype=torch.float64).log()
    probabilities = torch.zeros(len(log_likelihoods), len(shares), dtype=torch.float64)
    probabilities[:, list(labels)] = torch.softmax(log_likelihoods + prior, dim=1)
    return probabilities


def labels_drawn(probabilities: Tensor, samples: int) -> Tensor:
    """Labels of K samples of each image in proportion to their probabilities, the most probable first, int64 (K, N)."""
    sorted_probabilities, labels = probabilities.sort(dim=1, descending=True, stable=True)
    positions = torch.arange(samples, dtype=torch.float64) / samples
    places = torch.searchsorted(
        sorted_probabilities.cumsum(dim=1), positions.expand(len(sorted_probabilities), -1).contiguous(), right=True
    )
    return labels.gather(1, places.clamp(max=labels.shape[1] - 1)).T.contiguous()
