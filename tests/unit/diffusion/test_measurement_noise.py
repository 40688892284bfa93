"""Noise that a file or a sensor adds to x_t: drawn in training, told to the network and to its linear input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcli.config.build import build_denoiser, resolve
from diffcli.config.presets import load_preset
from diffcli.diffusion.degradations import Degradation, GaussianBlur
from diffcli.diffusion.degradations.separable import RESOLUTION, SPREAD
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.losses import fixed_draws
from diffcli.diffusion.measurement_noise import LEAST, level_of, sigma_of
from diffcli.diffusion.randomness import Stream
from diffcli.networks import NETWORKS
from diffcli.networks.compact import CompactUNet
from diffcli.utils.errors import UserError

SHAPE = (1, 8, 12)
LARGEST = 0.02


class LevelNetwork(nn.Module):
    """Answers with its input, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, ...]] = []

    def forward(self, xt: Tensor, time: Tensor, labels: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        self.calls.append((xt, time, *(part for part in (labels, level) if part is not None)))
        return xt


def blur(sigma: float = 0.0) -> GaussianBlur:
    result = GaussianBlur(torch.cat([torch.zeros(1), torch.full((6,), 0.5)]).double(), SHAPE, kernel_size=5)
    if sigma:
        result.sigmas = torch.cat([torch.zeros(1), torch.full((6,), sigma)]).double()
    return result


def denoiser(degradation: Degradation, classes: int = 0, input: str = "degraded") -> Denoiser:
    return Denoiser(LevelNetwork(), degradation, "x0", classes, input, measurement_noise=LARGEST)


def calls_of(model: Denoiser) -> list[tuple[Tensor, ...]]:
    assert isinstance(model.network, LevelNetwork)
    return model.network.calls


def test_levels_are_standard_deviations_on_a_scale_of_ratios() -> None:
    sigma = torch.tensor([0.0, LEAST, 1e-3, LARGEST], dtype=torch.float64)
    levels = level_of(sigma, LARGEST)
    assert float(levels[0]) == 0.0
    assert float(levels[-1]) == pytest.approx(1.0)
    assert bool((levels.diff() > 0).all())
    torch.testing.assert_close(sigma_of(levels, LARGEST), sigma)
    faint = sigma_of(torch.linspace(0, 1, 1001, dtype=torch.float64), LARGEST) < 2e-3
    assert 0.4 < float(faint.double().mean()) < 0.6, "faint noise is as frequent as strong"
    assert pytest.approx(RESOLUTION * SPREAD) == LEAST


def test_the_linear_estimate_of_noise_that_is_told_is_that_of_a_degradation_with_it() -> None:
    xt, t = torch.rand(3, *SHAPE) - 0.5, torch.tensor([1, 3, 6])
    noisy = blur(0.01).wiener(xt, t)
    torch.testing.assert_close(blur().wiener(xt, t, torch.full((3,), 0.01)), noisy, rtol=1e-4, atol=1e-4)
    both = blur(0.006).wiener(xt, t, torch.full((3,), 0.008))
    torch.testing.assert_close(both, noisy, rtol=1e-4, atol=1e-4)
    estimates = blur().wiener(xt, t, torch.tensor([0.01, 0.0, 0.01]))
    torch.testing.assert_close(estimates[::2], noisy[::2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(estimates[1], blur().wiener(xt, t)[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("own", [0.0, 0.05])
def test_the_loss_is_of_images_with_both_noises_and_the_network_is_told(own: float) -> None:
    degradation = blur(own)
    x0, t, sigma = torch.zeros(2, *SHAPE), torch.tensor([2, 5]), torch.tensor([0.0, 0.012])
    noise = torch.randn(2, *SHAPE)
    model = denoiser(degradation, classes=3)
    loss = model.loss(x0, t, noise, torch.tensor([1, -1]), sigma)
    deviations = torch.tensor([own, (own**2 + 0.012**2) ** 0.5])
    torch.testing.assert_close(loss, (deviations.view(-1, 1, 1, 1) * noise).square().flatten(1).mean(dim=1))
    (_, _, labels, level), *_ = calls_of(model)
    torch.testing.assert_close(level, level_of(sigma, LARGEST))
    assert labels.tolist() == [1, -1]


def test_noise_of_a_loss_is_drawn_where_none_is_given() -> None:
    model, sigma = denoiser(blur()), torch.full((64,), LARGEST)
    loss = model.loss(torch.zeros(64, *SHAPE), torch.full((64,), 3), sigma=sigma)
    assert float(loss.mean()) == pytest.approx(LARGEST**2, rel=0.1)


def test_sampling_tells_one_level_for_all_images_and_shares_the_weights() -> None:
    model = denoiser(blur(), input="wiener")
    xt, t = torch.rand(2, *SHAPE) - 0.5, torch.tensor([2, 5])
    twin = model.with_sigma(0.004)
    assert (model.sigma, twin.sigma, twin.network) == (0.0, 0.004, model.network)
    model(xt, t)
    twin(xt, t)
    (clean, _, none), (filtered, _, level) = calls_of(model)
    assert none.tolist() == [0.0, 0.0]
    torch.testing.assert_close(level, level_of(torch.full((2,), 0.004), LARGEST))
    torch.testing.assert_close(filtered, blur().wiener(xt, t, torch.full((2,), 0.004)))
    torch.testing.assert_close(clean, blur().wiener(xt, t), rtol=1e-4, atol=1e-4)


def test_a_denoiser_of_exact_images_tells_its_network_nothing() -> None:
    network = LevelNetwork()
    model = Denoiser(network, blur(), "x0", input="wiener")
    xt, t = torch.rand(2, *SHAPE) - 0.5, torch.tensor([2, 5])
    model(xt, t)
    model.loss(xt, t)
    assert [len(call) for call in network.calls] == [2, 2]
    assert torch.equal(network.calls[0][0], blur().wiener(xt, t))


def test_fixed_draws_have_levels_of_their_own_and_the_same_times() -> None:
    degradation = blur()
    plain = fixed_draws(degradation, range(200), SHAPE, 5, Stream.VALIDATION)
    draws = fixed_draws(degradation, range(200), SHAPE, 5, Stream.VALIDATION, measurement_noise=LARGEST)
    assert plain.noise is None
    assert plain.sigma is None
    assert torch.equal(plain.t, draws.t)
    assert draws.sigma is not None
    assert draws.noise is not None
    levels = level_of(draws.sigma, LARGEST)
    assert 0.4 < float(levels.mean()) < 0.6
    assert float(levels.min()) >= 0
    assert float(levels.max()) <= 1
    one = fixed_draws(degradation, [7], SHAPE, 5, Stream.VALIDATION, measurement_noise=LARGEST)
    assert torch.equal(one.sigma, draws.sigma[7:8])  # type: ignore[arg-type]
    parts = [draws.of_process(rank, 3) for rank in range(3)]
    assert torch.equal(parts[1].sigma, draws.sigma[1::3])  # type: ignore[arg-type]
    assert sum(len(part.t) for part in parts) == 200


def test_the_compact_unet_listens_to_the_level() -> None:
    torch.manual_seed(0)
    network = CompactUNet(SHAPE, 16, 1, noise_levels=True).eval()
    for block in [*network.down, *network.middle, *network.up]:  # which are the identity at first
        nn.init.normal_(block.second.weight, std=0.1)
    xt, time = torch.rand(2, *SHAPE), torch.full((2,), 0.5)
    clean, faint, strong = (network(xt, time, level=torch.full((2,), level)) for level in (0.0, 0.5, 1.0))
    torch.testing.assert_close(network(xt, time), clean)
    assert float((clean - faint).detach().abs().max()) > 1e-3
    assert float((faint - strong).detach().abs().max()) > 1e-3


def test_a_preset_builds_it_and_what_cannot_be_is_refused() -> None:
    _, preset = load_preset("quickstart-blur", {"measurement_noise": 0.01})
    assembly = build_denoiser(resolve(preset))
    assert assembly.measurement_noise == 0.01
    _, plain = load_preset("quickstart-blur")
    names = assembly.network.state_dict().keys() - build_denoiser(resolve(plain)).network.state_dict().keys()
    assert names
    assert all(name.startswith("level.") for name in names)
    with pytest.raises(UserError, match=r"^measurement_noise needs prediction x0"):
        resolve(load_preset("quickstart", {"measurement_noise": 0.01, "prediction": "eps"})[1])
    fitting = {"compact-unet", "dit"}
    for network in fitting:
        changes = {"measurement_noise": 0.01, "network": {"name": network, "width": 8}}
        assert build_denoiser(resolve(load_preset("quickstart-blur", changes)[1])).measurement_noise == 0.01
    for network in NETWORKS.keys() - fitting:
        _, other = load_preset("blur-const", {"measurement_noise": 0.01, "network": {"name": network}})
        with pytest.raises(UserError, match=f"network {network} is not told any; use compact-unet or dit"):
            resolve(other)
    with pytest.raises(UserError, match=r"measurement_noise: input should be greater than or equal to 0.001"):
        load_preset("quickstart-blur", {"measurement_noise": 0})
