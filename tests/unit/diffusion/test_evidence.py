"""The evidence of a measurement: the density of a normal distribution, and which degradation it tells from others."""

from __future__ import annotations

import pytest
import torch
from mixtures import matrix_of, smooth_mixture

from diffcli.diffusion.degradations import Fade, Heat, Mask, Pixelate
from diffcli.diffusion.evidence import log_evidence
from diffcli.diffusion.measurements import measurement_at
from diffcli.diffusion.testing import betas

SHAPE = (1, 6, 5)
KINDS = {
    "heat": Heat(betas(8), SHAPE),
    "pixelate": Pixelate(SHAPE, T=8, grid=2),
    "mask": Mask(SHAPE, T=8),
    "fade": Fade(SHAPE, T=8, colour=0.9),
}
for degradation in KINDS.values():
    degradation.image_shape = SHAPE


@pytest.mark.parametrize("white", [0.2, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_density_of_a_normal_distribution(kind: str, white: float) -> None:
    degradation, t, sigma = KINDS[kind], 5, 0.05
    images = smooth_mixture(2, SHAPE, 1.0).draw(12, 1)
    x0 = smooth_mixture(2, SHAPE, 1.0).draw(3, 2)
    y = degradation.degrade(x0, torch.full((3,), t)) + sigma * torch.randn(x0.shape, dtype=torch.float64)
    measurement = measurement_at(degradation, t, y, sigma=sigma)
    logs = log_evidence(measurement, images, white=white)
    A = matrix_of(measurement.operator, SHAPE)
    flat = images.flatten(1)
    variance = float((flat - flat.mean(dim=0)).square().mean())
    covariance = (1 - white) * flat.T.cov() + white * variance * torch.eye(30)
    mean = A @ flat.mean(dim=0) + torch.as_tensor(measurement.constant).expand(1, *SHAPE).flatten()
    exact = torch.distributions.MultivariateNormal(mean, A @ covariance @ A.T + sigma**2 * torch.eye(30))
    torch.testing.assert_close(logs, exact.log_prob(y.flatten(1)), rtol=1e-6, atol=1e-3)


def test_it_finds_the_width_of_a_blur() -> None:
    """On images that are normal, of 200 the error is what the evidence says of itself."""
    shape = (1, 12, 12)
    mixture, degradation = smooth_mixture(1, shape, 1.0), Heat(betas(12), shape)
    degradation.image_shape = shape
    x0, samples, t = mixture.draw(200, 1), mixture.draw(500, 2), 5
    y = degradation.degrade(x0, torch.full((200,), t)) + 0.01 * torch.randn(
        x0.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    steps = range(1, 13)
    logs = torch.stack(
        [log_evidence(measurement_at(degradation, s, y, sigma=0.01), samples, white=0.05) for s in steps]
    )
    assert int(logs.sum(dim=1).argmax()) + 1 == t
    t_hat = logs.argmax(dim=0) + 1
    assert float((t_hat - t).double().abs().mean()) < 1.0
    # A blur of another width is told apart in most single images.
    assert float((logs[t - 1] > logs[t + 3]).double().mean()) > 0.9


def test_what_has_no_determinant_is_refused() -> None:
    colour = (3, 4, 4)
    fade = Fade(colour, T=4, colour="own")
    fade.image_shape = colour
    y = torch.zeros(1, *colour)
    with pytest.raises(ValueError, match=r"^its determinant is not known"):
        log_evidence(measurement_at(fade, 2, y, sigma=0.1), torch.randn(4, *colour))
