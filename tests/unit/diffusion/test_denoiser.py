"""The denoiser: both prediction types, the loss, and the t that training draws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import Degradation, GaussianBlur, GaussianNoise
from diffcli.diffusion.denoiser import PREDICTIONS, Denoiser
from diffcli.diffusion.schedules import constant, linear


class Answers(nn.Module):
    """A network that gives a fixed answer and keeps the times that it was asked about."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.calls: list[Tensor] = []

    def forward(self, xt: Tensor, t_fraction: Tensor) -> Tensor:
        self.calls.append(t_fraction)
        return self.answer


class Identity(Degradation):
    T = 5

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0


@pytest.mark.parametrize("prediction", sorted(PREDICTIONS))
def test_a_right_answer_has_no_loss_and_gives_x0(prediction: str) -> None:
    noise = GaussianNoise(linear(10, 0.01, 0.2))
    x0, eps, t = torch.rand(4, 1, 5, 5) - 0.5, torch.randn(4, 1, 5, 5), torch.tensor([1, 4, 7, 10])
    target = PREDICTIONS[prediction].target(noise, x0, t, eps)
    assert target is not None
    denoiser = Denoiser(Answers(target), noise, prediction)
    assert torch.equal(denoiser.loss(x0, t, eps), torch.zeros(4))
    assert torch.allclose(denoiser(noise.degrade(x0, t, eps), t), x0, atol=1e-5)


def test_loss_is_the_mean_square_per_image() -> None:
    eps = torch.stack([torch.full((1, 2, 2), 2.0), torch.full((1, 2, 2), 3.0)])
    denoiser = Denoiser(Answers(torch.zeros(2, 1, 2, 2)), GaussianNoise(linear(10)), "eps")
    assert denoiser.loss(torch.zeros(2, 1, 2, 2), torch.tensor([1, 10]), eps).tolist() == [4.0, 9.0]


def test_the_network_is_asked_about_t_over_T() -> None:
    network = Answers(torch.zeros(3, 1, 2, 2))
    Denoiser(network, GaussianNoise(linear(10)), "eps")(torch.zeros(3, 1, 2, 2), torch.tensor([1, 5, 10]))
    assert torch.allclose(network.calls[0], torch.tensor([0.1, 0.5, 1.0]))


def test_eps_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a degradation with noise; use x0"):
        Denoiser(Answers(torch.zeros(1)), Identity(), "eps")


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_noise_beside_a_degradation_that_cannot_be_divided_out_is_refused(prediction: str) -> None:
    noisy = Identity()
    noisy.sigmas = torch.linspace(0, 1, 6)
    with pytest.raises(ValueError, match="only scales the image and adds noise; use x0"):
        Denoiser(Answers(torch.zeros(1)), noisy, prediction)


def test_unknown_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="one of eps, x0"):
        Denoiser(Answers(torch.zeros(1)), GaussianNoise(linear(10)), "score")


def test_autocast_reaches_the_network_alone() -> None:
    blur = GaussianBlur(constant(20, 0.4), (1, 8, 8), kernel_size=5)
    inputs: list[Tensor] = []

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, xt: Tensor, t_fraction: Tensor) -> Tensor:
            inputs.append(xt)
            output = self.layer(xt)
            assert output.dtype == torch.bfloat16
            return output

    denoiser = Denoiser(Network(), blur, "x0")
    x0, t = torch.rand(4, 1, 8, 8) - 0.5, torch.tensor([1, 5, 10, 20])
    with torch.autocast("cpu", torch.bfloat16):
        loss = denoiser.loss(x0, t)
        x0_hat = denoiser(x0, t)
    assert loss.dtype == x0_hat.dtype == torch.float32
    assert torch.equal(inputs[0], blur.degrade(x0, t))
