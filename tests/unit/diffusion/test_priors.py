"""Priors: what they learn of z_T, and that what they draw belongs to a seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffcli.config.build import candidate_priors, resolve
from diffcli.config.presets import load_preset
from diffcli.config.schema import Sampler
from diffcli.data.datasets import digits
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation, GaussianBlur
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.labels import NO_LABEL
from diffcli.diffusion.priors import PRIORS, BlurredData, Gaussian, Mixture, Prior, StandardNormal, Uniform
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.schedules import constant
from diffcli.inference.sampling import Sampling, draw_xT, fit_prior
from diffcli.utils.devices import Processes

SHAPE = (1, 8, 8)
FITTED = sorted(name for name, kind in PRIORS.items() if kind.needs_fit)


@pytest.fixture(scope="module")
def xT() -> Tensor:
    blur = GaussianBlur(constant(20, 0.35), SHAPE, kernel_size=7)
    x0 = to_model(digits().development.images)
    return blur.degrade(x0, torch.full((len(x0),), 20))


def draw(prior: Prior, n: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return prior(image_generators(seed, Stream.SAMPLE, range(n)), shape)


@pytest.mark.parametrize("kind", [Gaussian, Mixture])
def test_samples_have_the_moments_of_z_T_in_the_kept_modes(kind: type[Mixture], xT: Tensor) -> None:
    prior = kind()
    prior.fit(xT)
    samples = draw(prior, 20_000)
    # The rows of modes are orthogonal, each as long as z_T's standard deviation along it.
    inverse = (prior.modes / prior.modes.square().sum(dim=1, keepdim=True)).T
    for images in (samples, xT):
        coordinates = (images.flatten(1) - prior.mean) @ inverse
        assert torch.allclose(coordinates.mean(dim=0), torch.zeros(len(prior.modes)), atol=0.05)
        assert torch.allclose(coordinates.T.cov(), torch.eye(len(prior.modes)), atol=0.08)


def test_the_dropped_modes_are_below_the_residual(xT: Tensor) -> None:
    counts = []
    for residual in (1e-2, 1e-4, 1e-6):
        prior = Gaussian(residual=residual)
        prior.fit(xT)
        flat = (xT.flatten(1) - prior.mean).double()
        basis = torch.nn.functional.normalize(prior.modes.double(), dim=1)
        rest = flat - flat @ basis.T @ basis
        assert float(rest.square().mean().sqrt()) < residual * 1.01 + 1e-7
        counts.append(len(prior.modes))
    assert counts[0] < counts[1] < counts[2]


def test_a_mixture_follows_what_one_gaussian_cannot() -> None:
    torch.manual_seed(0)
    two_lumps = torch.cat([torch.randn(500, 1, 1, 1) * 0.1 - 3, torch.randn(500, 1, 1, 1) * 0.1 + 3])
    mixture, gaussian = Mixture(components=2), Gaussian()
    for prior in (mixture, gaussian):
        prior.fit(two_lumps)
    between = [float((draw(prior, 1000, shape=(1, 1, 1)).abs() < 1.5).float().mean()) for prior in (mixture, gaussian)]
    assert between[0] < 0.01 < 0.2 < between[1]


def test_uniform_is_the_reports(xT: Tensor) -> None:
    prior = Uniform(noise=0.0)
    prior.fit(xT)
    samples = draw(prior, 5000)
    levels = xT.mean(dim=(1, 2, 3))
    assert torch.equal(samples.amax(dim=(1, 2, 3)), samples.amin(dim=(1, 2, 3)))
    assert float(samples.mean()) == pytest.approx(float(levels.mean()), abs=0.005)
    assert float(samples[:, 0, 0, 0].std()) == pytest.approx(float(levels.std()), rel=0.05)
    noisy = Uniform(noise=0.01)
    noisy.fit(xT)
    assert float(draw(noisy, 500).var(dim=(1, 2, 3)).mean().sqrt()) == pytest.approx(0.01, rel=0.05)


def test_uniform_colours_vary_together() -> None:
    grey = torch.rand(400, 1, 4, 4).expand(-1, 3, -1, -1)
    prior = Uniform(noise=0.0)
    prior.fit(grey)
    samples = draw(prior, 50, shape=(3, 4, 4))[:, :, 0, 0]
    assert torch.allclose(samples[:, 0], samples[:, 1], atol=1e-3)


def test_blurred_data_draws_copies_and_says_so(xT: Tensor) -> None:
    prior = BlurredData()
    prior.fit(xT)
    samples = draw(prior, 20)
    assert all(bool((image == xT).flatten(1).all(dim=1).any()) for image in samples)
    assert [name for name, kind in PRIORS.items() if kind.restores] == ["blurred-data"]
    assert not prior.state_dict()


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_everything_drawn_belongs_to_its_seed(name: str, xT: Tensor) -> None:
    prior = PRIORS[name]()
    prior.fit(xT)
    whole, again, other = draw(prior, 6), draw(prior, 6), draw(prior, 6, seed=1)
    assert whole.shape == (6, *SHAPE)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, again)
    assert not torch.equal(whole, other)
    assert torch.equal(draw(prior, 2), whole[:2])


@pytest.mark.parametrize("name", [name for name in FITTED if name != "blurred-data"])
def test_what_was_learnt_travels_as_a_state_dict(name: str, xT: Tensor) -> None:
    prior, copy = PRIORS[name](), PRIORS[name]()
    prior.fit(xT)
    copy.load_state_dict(prior.state_dict())
    assert torch.equal(draw(prior, 3), draw(copy, 3))
    # A summary, not the images: far smaller than what it was fitted to.
    assert sum(table.numel() for table in prior.state_dict().values()) < xT.numel() / 5


@pytest.mark.parametrize("kind", [Gaussian, Mixture, BlurredData])
def test_a_prior_that_saw_labels_draws_by_label(kind: type[Prior]) -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 2, 2, 2]).repeat(200)
    images = labels.view(-1, 1, 1, 1) + 0.1 * torch.randn(800, *SHAPE)
    prior = kind()
    prior.fit(images, labels)
    generators = image_generators(0, Stream.SAMPLE, range(400))
    sample_labels = torch.tensor([0, 2, NO_LABEL, 1]).repeat(100)
    levels = prior(generators, SHAPE, "cpu", sample_labels).mean(dim=(1, 2, 3)).round()
    assert torch.equal(levels[sample_labels == 0], torch.zeros(100))
    assert torch.equal(levels[sample_labels == 2], torch.full((100,), 2.0))
    # Without a label, or with one that was never seen, the shares of the labels are kept.
    for label in (NO_LABEL, 1):
        assert 0.6 < float((levels[sample_labels == label] == 2).float().mean()) < 0.9
        assert set(levels[sample_labels == label].tolist()) == {0.0, 2.0}
    again = prior(image_generators(0, Stream.SAMPLE, [5]), SHAPE, "cpu", sample_labels[5:6])
    assert torch.equal(again.mean(dim=(1, 2, 3)).round(), levels[5:6])


def test_the_labels_share_the_components(xT: Tensor) -> None:
    labels = digits().development.labels
    mixture, gaussian = Mixture(components=40), Gaussian()
    for prior in (mixture, gaussian):
        prior.fit(xT, labels)
    counts = torch.bincount(mixture.labels)
    assert (len(counts), int(counts.min()), int(counts.max())) == (10, 4, 4)
    assert torch.bincount(gaussian.labels).tolist() == [1] * 10
    shares = torch.zeros(10).index_add(0, mixture.labels, mixture.weights)
    assert torch.allclose(shares, torch.bincount(labels) / len(labels), atol=1e-5)


def test_one_image_of_a_label_stands_for_itself() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(41, *SHAPE), torch.tensor([0] * 40 + [1])
    prior = Mixture()
    prior.fit(images, labels)
    samples = prior(image_generators(0, Stream.SAMPLE, [0]), SHAPE, "cpu", torch.tensor([1]))
    assert torch.allclose(samples[0], images[40], atol=0.1)


def test_a_fit_repeats(xT: Tensor) -> None:
    first, second = Mixture(), Mixture()
    first.fit(xT)
    second.fit(xT)
    assert torch.allclose(draw(first, 3), draw(second, 3), atol=1e-5)


def test_fit_sees_degraded_images() -> None:
    blur = GaussianBlur(constant(20, 0.35), SHAPE, kernel_size=7)
    prior = fit_prior(BlurredData(), blur, digits().development.images[:30])
    assert isinstance(prior, BlurredData)
    x0 = to_model(digits().development.images[:30])
    assert torch.allclose(prior.images, blur.degrade(x0, torch.full((30,), 20)), atol=1e-6)
    assert isinstance(fit_prior(StandardNormal(), blur, digits().development.images), StandardNormal)


def test_a_fit_sees_the_first_images_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcli.inference.sampling.FIT_IMAGES", 20)
    blur, images = GaussianBlur(constant(20, 0.35), SHAPE, kernel_size=7), digits().development
    prior = fit_prior(BlurredData(), blur, images.images[:30], images.labels[:30])
    assert isinstance(prior, BlurredData)
    assert torch.allclose(prior.images, blur.degrade(to_model(images.images[:20]), torch.full((20,), 20)), atol=1e-6)
    assert torch.equal(prior.labels, images.labels[:20])


class Half(Degradation):
    """Half the image after four steps: no tables, no buffers."""

    T = 4

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0 * (1 - t / 8).view(-1, 1, 1, 1)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_fit_sees_the_signal_alone_of_any_degradation(sigma: float) -> None:
    half, images = Half(), digits().development.images[:30]
    half.sigmas = torch.linspace(0, sigma, 5)
    prior = fit_prior(BlurredData(), half, images)
    assert isinstance(prior, BlurredData)
    assert torch.equal(prior.images, to_model(images) / 2)


def test_noise_is_added_to_a_prior_of_the_signal_and_to_no_other() -> None:
    half = Half()
    half.sigmas = torch.linspace(0, 0.3, 5)
    images = digits().development.images[:1]
    flat = to_model(images) / 2

    def drawn_by(prior: Prior) -> Tensor:
        denoiser = Denoiser(torch.nn.Identity(), half, "x0")
        sampling = Sampling(
            denoiser,
            fit_prior(prior, half, images),
            Sampler(name="cold"),
            [4, 0],
            0,
            8,
            Processes(torch.device("cpu")),
        )
        return draw_xT(sampling, image_generators(0, Stream.SAMPLE, range(500)), SHAPE)

    assert float((drawn_by(BlurredData()) - flat).std()) == pytest.approx(0.3, rel=0.02)
    assert float(drawn_by(StandardNormal()).std()) == pytest.approx(1.0, rel=0.02)


def test_candidates_fit_the_degradation() -> None:
    assert sorted(candidate_priors(resolve(load_preset("quickstart-blur")[1]).preset)) == FITTED
    assert list(candidate_priors(resolve(load_preset("quickstart")[1]).preset)) == ["standard-normal"]
    assert candidate_priors(resolve(load_preset("blur-const")[1]).preset)["uniform"].noise == 0.002


def degenerate(kind: str) -> Tensor:
    """z_T of images that have little to be fitted to."""
    torch.manual_seed(0)
    two = torch.rand(2, *SHAPE) - 0.5
    return {
        "one image": two[:1],
        "two images": two,
        "black": torch.full((100, *SHAPE), -0.5),
        "all equal": two[:1].expand(100, -1, -1, -1),
        "equal up to rounding": two[:1] + 1e-8 * torch.randn(100, *SHAPE),
        "two distinct": two.repeat(100, 1, 1, 1),
        "one of many differs": torch.cat([two[:1].expand(199, -1, -1, -1), two[1:]]),
        "one pixel differs": torch.zeros(100, *SHAPE).index_put(
            (torch.arange(100), *[torch.tensor(0)] * 3), torch.rand(100)),
        "constant levels": (torch.arange(200) % 3).view(-1, 1, 1, 1).expand(-1, *SHAPE) / 3.0,
    }[kind]  # fmt: skip


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize(
    "kind",
    [
        "one image", "two images", "black", "all equal", "equal up to rounding", "two distinct", "one of many differs",
        "one pixel differs", "constant levels",
    ],
)  # fmt: skip
def test_images_with_little_or_no_variance_are_fitted(name: str, kind: str) -> None:
    images = degenerate(kind)
    prior = PRIORS[name]()
    prior.fit(images)
    samples = draw(prior, 50)
    assert bool(samples.isfinite().all())
    # Nothing lies far from what was seen, and where all images are equal, that image comes out.
    assert float(samples.min()) > float(images.min()) - 1
    assert float(samples.max()) < float(images.max()) + 1
    if kind in ("black", "all equal", "equal up to rounding", "one image") and name != "uniform":
        assert torch.allclose(samples, images[:1].expand_as(samples), atol=1e-6)
    copy = PRIORS[name]()
    copy.load_state_dict(prior.state_dict())
    if prior.state_dict():
        assert torch.equal(draw(copy, 2), samples[:2])
