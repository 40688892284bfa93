"""The denoiser: a network, the degradation that it undoes, and what its output means."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import Degradation, GaussianNoise, Separable
from diffcli.diffusion.full_range import full_range_input, full_range_output
from diffcli.diffusion.measurement_noise import level_of


@dataclass(frozen=True)
class Prediction:
    """The meaning of a network's output: the regression target, and how an output becomes x0_hat."""

    target: Callable[[Any, Tensor, Tensor, Any], Tensor]
    """(degradation, x0, t, noise) -> what the network should answer, (B, C, H, W)."""
    to_x0: Callable[[Any, Tensor, Tensor, Tensor], Tensor]
    """(degradation, xt, t, output) -> x0_hat, (B, C, H, W)."""
    degradation: type
    """The degradations that it can be had for."""
    x0_errors: Callable[[Tensor], Tensor]
    """SNR (B,) -> how many squared errors of x0_hat one squared error of the output is, (B,)."""


PREDICTIONS: dict[str, Prediction] = {
    "eps": Prediction(
        target=lambda degradation, x0, t, noise: noise,
        to_x0=lambda degradation, xt, t, output: degradation.x0_from(xt, t, output),
        degradation=GaussianNoise,
        x0_errors=lambda snr: snr,
    ),
    "x0": Prediction(
        target=lambda degradation, x0, t, noise: x0,
        to_x0=lambda degradation, xt, t, output: output,
        degradation=Degradation,
        x0_errors=torch.ones_like,
    ),
    "v": Prediction(
        target=lambda degradation, x0, t, noise: degradation.velocity(x0, t, noise),
        to_x0=lambda degradation, xt, t, output: degradation.x0_from_velocity(xt, t, output),
        degradation=GaussianNoise,
        x0_errors=lambda snr: snr + 1,
    ),
}


@dataclass(frozen=True)
class Input:
    """A network's input, made of x_t."""

    of: Callable[[Any, Tensor, Tensor, Tensor | None], Tensor]
    """(degradation, xt, t, the measurement noise's sigma (B,) or None) -> (B, C, H, W)."""
    degradation: type
    """The degradations that it can be had for."""
    requirement: str = "a degradation"
    """The same in words."""
    answer: Callable[[Any, str, Tensor, Tensor, Tensor], Tensor] | None = None
    """(degradation, prediction, xt, t, output) -> the prediction, where the network answers in other units."""


INPUTS: dict[str, Input] = {
    "degraded": Input(of=lambda degradation, xt, t, sigma: xt, degradation=Degradation),
    "wiener": Input(
        of=lambda degradation, xt, t, sigma: degradation.wiener(xt, t, sigma),
        degradation=Separable,
        requirement="a blur",
    ),
    "full-range": Input(
        of=lambda degradation, xt, t, sigma: full_range_input(degradation, xt, t),
        degradation=GaussianNoise,
        requirement="Gaussian noise",
        answer=full_range_output,
    ),
}


def misfits(prediction: str, input: str, degradation: Degradation) -> dict[str, str]:
    """The reasons why a denoiser of this degradation cannot have its prediction or its input, by key; empty where it
    can."""
    reasons = {}
    choices = [name for name, kind in PREDICTIONS.items() if isinstance(degradation, kind.degradation)]
    if prediction not in PREDICTIONS:
        reasons["prediction"] = f"prediction must be one of {', '.join(PREDICTIONS)}, got {prediction}"
    elif prediction not in choices:
        demand = "that only scales the image and adds noise" if degradation.stochastic else "with noise"
        requirement = f"needs a degradation {demand}; use {' or '.join(choices)}"
        reasons["prediction"] = f"prediction {prediction} {requirement}"
    elif prediction == "eps" and isinstance(degradation, GaussianNoise) and not degradation.alphas_cumprod[-1]:
        reasons["prediction"] = "prediction eps needs something of the image at T, and the last beta is 1; use x0 or v"
    if input not in INPUTS:
        reasons["input"] = f"input must be one of {', '.join(INPUTS)}, got {input}"
    elif not isinstance(degradation, INPUTS[input].degradation):
        reasons["input"] = f"input {input} needs {INPUTS[input].requirement}; use degraded"
    return reasons


class Denoiser(nn.Module):
    """Network + degradation + prediction type -> x0_hat and the training loss.

    Args:
        network: forward(xt (B, C, H, W), t / T (B,)) -> (B, C, H, W); with classes, ``labels`` are its third argument.
        degradation: what the network undoes.
        prediction: a key of ``PREDICTIONS``.
        classes: number of labels that the network was built for; where it is 0, labels are not looked at.
        input: a key of ``INPUTS``: x_t itself, what a linear filter makes of it, or x_t of pixels in [-1, 1].
        measurement_noise: the largest standard deviation of the measurement noise that the network was built for; its
            level in each x_t, (B,) in 0..1, is then its fourth argument. 0 is none.

    Raises:
        ValueError: the degradation does not have that prediction or input, see :func:`misfits`.
    """

    def __init__(
        self,
        network: nn.Module,
        degradation: Degradation,
        prediction: str,
        classes: int = 0,
        input: str = "degraded",
        *,
        measurement_noise: float = 0.0,
    ) -> None:
        super().__init__()
        for reason in misfits(prediction, input, degradation).values():
            raise ValueError(reason)
        self.network = network
        self.degradation = degradation
        self.prediction = prediction
        self.classes = classes
        self.input = input
        self.measurement_noise = measurement_noise
        self.sigma = 0.0
        """Standard deviation of the measurement noise in x_t, where none is given by image."""

    def with_sigma(self, sigma: float) -> Denoiser:
        """The same denoiser, weights shared, for x_t with measurement noise of this standard deviation."""
        denoiser = copy(self)
        denoiser.sigma = sigma
        return denoiser

    def output(self, xt: Tensor, t: Tensor, labels: Tensor | None = None, sigma: Tensor | None = None) -> Tensor:
        """The network's output g[x_t, t / T] as the prediction, (B, C, H, W), in the precision of ``xt``, whatever
        autocast."""
        time = t.to(xt.dtype) / self.degradation.T
        conditions: list[Tensor | None] = [labels] if self.classes else []
        if self.measurement_noise:
            sigma = torch.full_like(time, self.sigma) if sigma is None else sigma
            conditions = [labels if self.classes else None, level_of(sigma, self.measurement_noise)]
        else:
            sigma = None
        kind = INPUTS[self.input]
        output: Tensor = self.network(kind.of(self.degradation, xt, t, sigma), time, *conditions)
        output = output.to(xt.dtype)
        if kind.answer is not None:
            output = kind.answer(self.degradation, self.prediction, xt, t, output)
        return output

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """x0_hat, (B, C, H, W), for t in 1..T, int64 (B,), on the CPU or where ``xt`` is, and labels, int64 (B,), -1
        for none; None is none for all."""
        t = t.to(xt.device, non_blocking=True)
        return PREDICTIONS[self.prediction].to_x0(self.degradation, xt, t, self.output(xt, t, labels))

    def loss(
        self,
        x0: Tensor,
        t: Tensor,
        noise: Tensor | None = None,
        labels: Tensor | None = None,
        sigma: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the prediction, one value per image, (B,) (report Algorithm 1, lines 7 to 9).

        Args:
            sigma: standard deviation of the measurement noise in each x_t, (B,); ``noise`` is of this and of the
                degradation's together.
        """
        if sigma is not None and noise is None:
            noise = torch.randn_like(x0)
        xt = self.degradation.degrade(x0, t, noise)
        if sigma is not None and noise is not None:
            sigma_t = self.degradation.sigma(t)
            xt = xt + (torch.hypot(sigma_t, sigma.view(-1, 1, 1, 1)) - sigma_t) * noise
        target = PREDICTIONS[self.prediction].target(self.degradation, x0, t, noise)
        return (self.output(xt, t, labels, sigma) - target).square().flatten(1).mean(dim=1)

    def estimate_and_loss(
        self, xt: Tensor, t: Tensor, x0: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x0_hat (B, C, H, W), the loss of its prediction (B,)) for an x_t that was made of ``x0`` with the noise that
        the two imply, in one evaluation."""
        output, kind = self.output(xt, t, labels), PREDICTIONS[self.prediction]
        target = kind.target(self.degradation, x0, t, self.degradation.noise_from(xt, t, x0))
        losses = (output - target).square().flatten(1).mean(dim=1)
        return kind.to_x0(self.degradation, xt, t, output), losses

    def min_snr_weight(self, t: Tensor, gamma: float) -> Tensor:
        """The weight of each image's loss, (B,), so that x0_hat's errors count min(SNR, gamma) (Hang et al. 2023,
        section 3.4): low noise, where the SNR is large and little is learnt, no longer outweighs the rest.

        Raises:
            ValueError: the degradation has no signal-to-noise ratio.
        """
        snr = self._snr(t)
        return snr.clamp(max=gamma) / PREDICTIONS[self.prediction].x0_errors(snr)

    def loss_weight(self, t: Tensor, prediction: str) -> Tensor:
        """The weight of each image's loss, (B,), so that it is the squared error of another prediction that follows
        from this one's output (Salimans & Ho 2022, section 4; Li & He 2025): x0_hat weighs SNR + 1 in a loss of v.

        Raises:
            ValueError: the degradation has no signal-to-noise ratio.
        """
        snr = self._snr(t)
        return PREDICTIONS[prediction].x0_errors(snr) / PREDICTIONS[self.prediction].x0_errors(snr)

    def _snr(self, t: Tensor) -> Tensor:
        snr = self.degradation.snr(t)
        if snr is None:
            raise ValueError("losses are weighed for a degradation with a signal-to-noise ratio")
        return snr
