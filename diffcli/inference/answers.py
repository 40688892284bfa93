"""A model's answers to measurements: samples of images, by the labels of the options or those that explain the
measurements."""

from __future__ import annotations

from dataclasses import replace

from diffcli.diffusion.measurements import Measurement
from diffcli.inference.label_evidence import label_log_likelihoods, label_probabilities, labels_drawn
from diffcli.inference.measurement_options import PosteriorOptions
from diffcli.inference.model_labels import ModelLabels
from diffcli.inference.posterior import Posterior, draw_posterior
from diffcli.inference.sampling import Sampling, step_counter
from diffcli.utils.console import progress


def answer(sampling: Sampling, labels: ModelLabels, measurement: Measurement, options: PosteriorOptions) -> Posterior:
    """Images given measurements, as many for each as the options say.

    Args:
        sampling: with a prior.
        options: whose ``method`` is chosen.

    Raises:
        UserError: a label is unknown, or the model does not work without.
    """
    count, samples, method = len(measurement.y), options.samples or 1, str(options.method)
    probabilities, sample_labels = None, None
    if labels.is_auto(options.label):
        candidates = [labels.classes.index(name) for name in labels.trained_classes]
        total = sampling.total_steps(len(candidates) * count)
        with progress(f"trying {len(candidates)} labels", total, "steps", options.quiet) as tick:
            likelihoods = label_log_likelihoods(sampling, measurement, method, candidates, step_counter(tick))
        probabilities = label_probabilities(likelihoods, candidates, labels.shares)
        sample_labels = labels_drawn(probabilities, samples)
    else:
        of_images = labels.of_images(options, count)
        sample_labels = None if of_images is None else of_images.expand(samples, -1)
    total = sampling.total_steps(samples * count)
    with progress(f"restoring {count} images", total, "steps", options.quiet) as tick:
        posterior = draw_posterior(
            sampling, measurement, method, sample_labels, samples=samples, track=step_counter(tick)
        )
    return replace(posterior, label_probabilities=probabilities)
