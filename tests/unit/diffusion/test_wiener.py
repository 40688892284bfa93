"""The linear estimate of an image that a network may be given in place of the blurred one."""

from __future__ import annotations

import pytest
import torch

from diffcli.config.build import build_denoiser, resolve
from diffcli.config.presets import load_preset
from diffcli.diffusion.degradations import GaussianBlur, GaussianNoise, Heat, Separable
from diffcli.diffusion.degradations.separable import RESOLUTION, SPREAD
from diffcli.diffusion.denoiser import Denoiser
from diffcli.utils.errors import UserError

SHAPE = (1, 8, 12)
T = 6


def betas() -> torch.Tensor:
    return torch.cat([torch.zeros(1), torch.full((T,), 0.5)]).double()


def blurs(sigma: float) -> list[Separable]:
    degradations: list[Separable] = [GaussianBlur(betas(), SHAPE, kernel_size=5), Heat(betas(), SHAPE)]
    for blur in degradations:
        blur.sigmas = torch.linspace(0, sigma, T + 1).double()
    return degradations


@pytest.mark.parametrize("sigma", [0.0, 0.05])
@pytest.mark.parametrize("kind", [0, 1])
def test_it_is_ridge_regression_on_the_whole_image(kind: int, sigma: float) -> None:
    """(A'A + r^2)^-1 A' x_t with A the matrix of all pixels, in float64."""
    blur = blurs(sigma)[kind]
    xt, t = torch.randn(T + 1, *SHAPE), torch.arange(T + 1)
    estimate = blur.wiener(xt, t)
    assert estimate.dtype == torch.float32
    for step in range(T + 1):
        matrix = torch.kron(blur.rows[step].double(), blur.columns[step].double())
        noise = RESOLUTION**2 + float(blur.sigmas[step] / SPREAD) ** 2
        ridge = torch.linalg.solve(matrix.T @ matrix + noise * torch.eye(96), matrix.T @ xt[step].double().flatten())
        expected = (1 + noise) * ridge
        assert float((estimate[step].flatten() - expected).abs().max()) < 2e-4 * float(expected.abs().max())


def test_a_blur_that_leaves_all_modes_is_undone() -> None:
    blur, x0 = blurs(0.0)[1], torch.rand(3, *SHAPE) - 0.5
    t = torch.tensor([0, 1, 1])
    assert float((blur.wiener(blur.degrade(x0, t), t) - x0).abs().max()) < 2e-3


def test_a_network_is_given_the_estimate_in_training_and_sampling() -> None:
    inputs = []

    class Network(torch.nn.Module):
        def forward(self, xt: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            inputs.append(xt)
            return xt

    blur, x0, t = blurs(0.0)[0], torch.rand(2, *SHAPE) - 0.5, torch.tensor([2, 5])
    denoiser = Denoiser(Network(), blur, "x0", input="wiener")
    with torch.inference_mode():
        denoiser(blur.degrade(x0, t), t)
    denoiser.loss(x0.requires_grad_(), t).sum().backward()
    for estimate in inputs:
        torch.testing.assert_close(estimate, blur.wiener(blur.degrade(x0, t), t))
    assert torch.equal(denoiser.to("cpu").degradation.wiener(x0, t), blur.wiener(x0, t))


def test_what_is_no_blur_has_none() -> None:
    with pytest.raises(ValueError, match="input wiener needs a blur; use degraded"):
        Denoiser(torch.nn.Identity(), GaussianNoise(betas() / 10), "eps", input="wiener")
    with pytest.raises(UserError, match=r"^input: input wiener needs a blur"):
        resolve(load_preset("quickstart", {"input": "wiener"})[1])
    with pytest.raises(UserError, match=r"input: .*did you mean 'wiener'"):
        resolve(load_preset("quickstart-blur", {"input": "winer"})[1])
    assert resolve(load_preset("quickstart-blur")[1]).preset.input == "degraded"
    assert build_denoiser(resolve(load_preset("quickstart-blur", {"input": "wiener"})[1])).input == "wiener"
