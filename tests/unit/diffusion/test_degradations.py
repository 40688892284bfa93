"""Gaussian noise, and what a degradation is made of: tables, devices, what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import DEGRADATIONS, Degradation, GaussianBlur, GaussianNoise, check_basics
from diffcli.diffusion.schedules import constant, cosine, linear


def test_sampled_chain_has_the_closed_forms_moments() -> None:
    torch.manual_seed(0)
    noise = GaussianNoise(linear(20, 0.01, 0.2))
    x0 = torch.full((40_000, 1, 1, 1), 0.5)
    xt = x0
    for t in range(1, 21):
        xt = noise.step(xt, torch.full((len(xt),), t))
    alpha = float(noise.alphas_cumprod[20])
    assert float(xt.mean()) == pytest.approx(0.5 * alpha**0.5, abs=0.02)
    assert float(xt.var()) == pytest.approx(1 - alpha, rel=0.03)  # not alpha, as the report's section 3.2 has it


def test_noise_and_image_are_recovered() -> None:
    noise = GaussianNoise(linear(50, 0.001, 0.05))
    x0, eps, t = torch.randn(4, 1, 6, 6), torch.randn(4, 1, 6, 6), torch.tensor([1, 10, 30, 50])
    xt = noise.degrade(x0, t, eps)
    assert torch.allclose(noise.noise_from(xt, t, x0), eps, atol=1e-4)
    assert torch.allclose(noise.x0_from(xt, t, eps), x0, atol=1e-4)


@pytest.mark.parametrize("beta", [1.0, 1.5])
def test_noise_of_variance_1_or_more_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=rf"beta must lie in \(0, 1\), got {beta}"):
        GaussianNoise(constant(10, beta))


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        (constant(400, 0.9), "nothing of the image long before T = 400: T can be at most 23, or the betas"),
        (constant(1, 1 - 1e-15).repeat_interleave(2)[[0, 2, 2]], "T can be at most 1, or the betas must be smaller"),
        (linear(5, 1e-17, 0.5), "beta 1e-17 is too small for a step of this schedule: it is lost in rounding"),
    ],
    ids=["strong", "two", "weak"],
)
def test_noise_that_no_table_can_hold_is_refused(betas: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianNoise(betas)


@pytest.mark.parametrize(
    ("betas", "ends"),
    [(constant(2000, 0.001), True), (cosine(100), True), (constant(10, 0.001), False), (constant(1, 0.25), True)],
    ids=["lowbeta", "cosine", "hardly any", "quarter"],
)
def test_standard_normal_is_where_enough_noise_ends(betas: Tensor, ends: bool) -> None:
    assert GaussianNoise(betas).ends_in_noise() is ends


def test_a_blur_ends_in_noise_where_noise_drowns_it() -> None:
    blur = GaussianBlur(constant(20, 1.0), (1, 8, 8), kernel_size=7)
    for sigma, ends in ((0.0, False), (0.01, False), (0.4, False), (1.0, True), (20.0, False)):
        blur.sigmas = torch.linspace(0, sigma, 21)
        assert blur.ends_in_noise() is ends


class Fading(Degradation):
    """Towards grey in T steps, by plain tensors alone."""

    def __init__(self, T: int, sigmas: Tensor | None = None, as_buffers: bool = False) -> None:
        super().__init__()
        self.T = T
        shares = torch.linspace(1, 0, T + 1, dtype=torch.float64)
        if as_buffers:
            self.register_buffer("left", shares)
        else:
            self.left = shares
        if sigmas is not None and as_buffers:
            self.register_buffer("sigmas", sigmas)
        elif sigmas is not None:
            self.sigmas = sigmas

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return self.left[t].view(-1, 1, 1, 1) * x0


@pytest.mark.parametrize("as_buffers", [False, True])
def test_a_degradation_is_its_signal(as_buffers: bool) -> None:
    fading = Fading(4, as_buffers=as_buffers)
    check_basics(fading)
    x0, t = torch.rand(5, 1, 28, 28) - 0.5, torch.arange(5)
    assert not fading.stochastic
    assert torch.equal(fading.sigmas, torch.zeros(5, dtype=torch.float64))
    xt = fading.degrade(x0, t, torch.randn_like(x0))
    assert xt.dtype == torch.float32  # whatever the tables are
    assert torch.allclose(xt, torch.tensor([1, 0.75, 0.5, 0.25, 0]).view(5, 1, 1, 1) * x0)
    assert fading.snr(t) is None
    table = fading.describe()
    assert set(table) == {"signal", "change"}
    assert torch.allclose(table["signal"], torch.tensor([0.75, 0.5, 0.25, 0.0]).double())
    assert torch.allclose(table["change"], torch.tensor([0.25, 0.5, 0.75, 1.0]).double())


def test_tables_made_while_sampling_serve_where_gradients_flow() -> None:
    fading = Fading(4, torch.linspace(0, 1, 5))
    t, x0 = torch.tensor([2]), torch.zeros(1, 1, 28, 28, requires_grad=True)
    with torch.inference_mode():
        fading.sigma(t)
    fading.noise_from(torch.ones_like(x0), t, x0).sum().backward()
    assert x0.grad is not None
    assert torch.allclose(x0.grad, torch.tensor(-0.5 / 0.5))


@pytest.mark.parametrize("as_buffers", [False, True])
def test_noise_is_a_table(as_buffers: bool) -> None:
    fading = Fading(4, torch.tensor([0, 0, 0.1, 0.2, 1.0]), as_buffers)
    check_basics(fading)
    x0, noise, t = torch.rand(5, 1, 28, 28), torch.randn(5, 1, 28, 28), torch.arange(5)
    assert fading.stochastic
    xt = fading.degrade(x0, t, noise)
    assert torch.allclose(xt[4], noise[4])
    estimate = fading.noise_from(xt, t, x0)
    assert not estimate[:2].any()  # where none is drawn, none is implied
    assert torch.allclose(estimate[2:], noise[2:], atol=1e-4)
    assert not torch.equal(fading.degrade(x0, t), fading.degrade(x0, t))
    assert fading.ends_in_noise()
    assert set(fading.describe()) == {"signal", "change", "sigma"}
    assert "sigmas" not in fading.state_dict()


def test_tables_follow_a_module_to_its_device_and_no_cast_rounds_them() -> None:
    blur, fading = GaussianBlur(constant(5, 1.0), (1, 14, 14)), Fading(4)
    module = nn.ModuleList([blur, fading, GaussianNoise(linear(10))])
    rows = blur.rows.clone()
    module.to(torch.bfloat16)
    assert torch.equal(blur.rows, rows)
    assert fading.left.dtype == torch.float64
    noise = module[2]
    module.to("meta")
    assert isinstance(noise, GaussianNoise)
    assert {blur.rows.device.type, fading.left.device.type, noise.sqrt_alphas_cumprod.device.type} == {"meta"}
    assert (fading.device.type, noise.alphas_cumprod.device.type) == ("meta", "cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_degrading_is_float32_whatever_the_images_are(dtype: torch.dtype) -> None:
    for degradation in (GaussianBlur(constant(5, 1.0), (1, 14, 14)), GaussianNoise(linear(5)), Fading(5)):
        x0, noise = torch.rand(2, 1, 14, 14).to(dtype), torch.randn(2, 1, 14, 14).to(dtype)
        t = torch.tensor([1, 5])
        with torch.autocast("cpu", torch.bfloat16):
            xt = degradation.degrade(x0.float(), t, noise.float())
        assert torch.equal(xt, degradation.degrade(x0.float(), t, noise.float()))
        assert torch.allclose(degradation.degrade(x0, t, noise).float(), xt, atol=0.02)


class Shifted(Fading):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0 + 0.1


class Cropped(Fading):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0[..., 1:]


class Broken(Fading):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0 / (1 - t / self.T).view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Shifted(4), "must be x0 at t = 0"),
        (lambda: Cropped(4), "of x0's shape .* not at t = 0"),
        (lambda: Broken(4), "finite .* not at t = 4"),
        (lambda: Fading(0), "T must be a whole number of at least 1, got 0"),
        (lambda: Fading(4, torch.zeros(3)), "sigmas must be 5 numbers"),
        (lambda: Fading(4, torch.ones(5)), "the first of them 0"),
        (lambda: Fading(4, torch.tensor([0, 1e-40, 1, 1, 1])), "each 0 or at least 1e-12"),
        (lambda: Fading(4, torch.tensor([0, 1, 2, 3, torch.nan])), "sigmas must be"),
    ],
)
def test_what_a_degradation_must_keep_to(wrong: Callable[[], Degradation], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_basics(wrong())


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_tables_are_not_weights(name: str) -> None:
    context = {"betas": linear(10), "image_shape": (1, 12, 12)}
    parameters = inspect.signature(DEGRADATIONS[name]).parameters
    degradation = DEGRADATIONS[name](**{key: value for key, value in context.items() if key in parameters})
    assert not list(degradation.parameters())
    assert not degradation.state_dict()
    assert {buffer.dtype for buffer in degradation.buffers()} == {torch.float32}
