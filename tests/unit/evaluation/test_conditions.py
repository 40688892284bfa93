"""The report's three conditions, against degradations that keep or break each of them by construction."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import PLUGIN
from PIL import Image
from torch import Tensor

from diffcli.diffusion.degradations import DEGRADATIONS, Degradation, GaussianNoise
from diffcli.diffusion.schedules import constant
from diffcli.evaluation.conditions import conditions, identity_error, step_sizes, uniqueness

SHAPE = (1, 6, 6)


def images(count: int = 40) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0)) - 0.5


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


class Scale(Degradation):
    """shares[t] of the image, whatever they are."""

    def __init__(self, shares: list[float]) -> None:
        super().__init__()
        self.T, self.shares, self.image_shape = len(shares) - 1, torch.tensor(shares), SHAPE

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return self.shares[t].view(-1, 1, 1, 1) * x0


class LeftHalf(Degradation):
    """Keeps what lies left of the middle."""

    T = 1

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return torch.cat([x0[..., :3], x0[..., 3:] * (1 - t).view(-1, 1, 1, 1)], dim=-1)


def test_steps_are_as_large_as_what_they_change() -> None:
    x0 = images()
    size = float(x0.square().mean().sqrt())
    sizes = step_sizes(Scale([1, 0.9, 0.5, 0.5]), x0)
    assert sizes.tolist() == pytest.approx([0.1 * size, 0.4 * size, 0], rel=1e-5)
    numbers = conditions(Scale([1, 0.9, 0.5, 0.5]), x0, 0.0, generator())
    assert (numbers.largest_step, numbers.largest_at) == (pytest.approx(0.4 * size, rel=1e-5), 2)
    assert numbers.unevenness == pytest.approx(0.4 / (0.5 / 3), rel=1e-5)
    even = conditions(Scale([1, 0.75, 0.5, 0.25]), x0, 0.0, generator())
    assert even.unevenness == pytest.approx(1, rel=1e-5)
    nothing = conditions(Scale([1, 1, 1]), x0, 0.0, generator())
    assert (nothing.largest_step, nothing.unevenness) == (0, 0)


def test_the_signal_is_measured_not_the_noise() -> None:
    quiet, loud = Scale([1, 0.5]), Scale([1, 0.5])
    loud.sigmas = torch.tensor([0.0, 3.0])
    assert torch.equal(step_sizes(quiet, images()), step_sizes(loud, images()))


def test_the_identity_is_measured_with_noise() -> None:
    x0 = images()
    assert identity_error(Scale([1, 0]), x0) == 0
    assert identity_error(Scale([0.9, 0]), x0) == pytest.approx(0.1 * float(x0.abs().max()), rel=1e-4)
    noisy = Scale([1, 0])
    noisy.sigmas = torch.tensor([0.2, 1.0])
    assert identity_error(noisy, x0) == pytest.approx(0.2, rel=1e-4)


def test_what_ends_in_one_image_identifies_none() -> None:
    for disturbance in (0.0, 0.1):
        assert uniqueness(Scale([1, 0]), images(), disturbance, generator()) == (0, 0)


def test_the_margin_is_the_distance_to_the_nearest_other_image() -> None:
    x0 = images()
    distances = [
        min(math.sqrt(float((a - b).square().mean())) for j, b in enumerate(x0) if i != j) for i, a in enumerate(x0)
    ]
    share, margin = uniqueness(Scale([1, 1e-6]), x0, 0.0, generator())
    assert share == 1
    assert margin == pytest.approx(1e-6 * sorted(distances)[19], rel=0.05)


def test_disturbed_as_far_as_to_the_next_image_it_is_no_longer_identified() -> None:
    shares = [uniqueness(Scale([1, 1e-6]), images(), d, generator())[0] for d in (1e-9, 1e-6, 1e-4)]
    assert shares[0] == 1
    assert 0.1 < shares[1] < 0.99
    assert shares[2] < 0.15  # one of 40 is chance


def test_noise_of_the_degradation_counts_as_a_disturbance() -> None:
    noise = GaussianNoise(constant(1, 0.5))
    share, _ = uniqueness(noise, images(200), 0.0, generator())
    assert 0.02 < share < 0.9
    noise = GaussianNoise(constant(40, 0.5))
    assert uniqueness(noise, images(200), 0.0, generator())[0] < 0.05


def test_twins_after_the_degradation_are_no_identification() -> None:
    x0 = images(4)
    x0[1, ..., :3] = x0[0, ..., :3]
    assert uniqueness(LeftHalf(), x0, 0.0, generator())[0] == 0.5
    # A batch is compared with all images, not with its own alone.
    many = images(600)
    many[599, ..., :3] = many[0, ..., :3]
    assert uniqueness(LeftHalf(), many, 0.0, generator())[0] == pytest.approx(598 / 600)


def test_what_the_kinds_are_built_for() -> None:
    x0 = torch.rand(60, 1, 12, 12) - 0.5
    fade = conditions(DEGRADATIONS["fade"](image_shape=(1, 12, 12), T=10), x0, 0.0, generator())
    assert fade.unevenness == pytest.approx(1, rel=1e-3)
    assert fade.identity_error == 0
    mask = conditions(DEGRADATIONS["mask"](image_shape=(1, 12, 12), T=10), x0, 0.0, generator())
    assert mask.unevenness < 3
    assert mask.identified == 1


def test_the_command_measures_presets_and_plugins(cli, workplace: Path, registries: None) -> None:
    shutil.copy(PLUGIN, "mine.py")
    cnn = "network: {name: cnn, channels: [4, 4], kernel_size: 3}"
    rest = f"{cnn}\nprediction: x0\nprior: {{name: gaussian}}\nsampler: {{name: cold}}\ntraining: {{}}\n"
    Path("dim.yaml").write_text(f"description: x\ndata: {{name: stripes}}\ndegradation: {{name: dim}}\n{rest}")
    options = ["--preset", "dim.yaml", "--preset", "quickstart-blur", "--n", 50, "--disturbance", 0]
    result = cli("--plugin", "mine.py", "degradation-report", *options)
    assert result.code == 0, result.err
    assert "z_T identifies" in result.out
    result = cli("--plugin", "mine.py", "degradation-report", *options, "--json")
    report = json.loads(result.out)
    assert list(report) == ["dim", "quickstart-blur"]
    # A tenth of three stripe patterns is left, so none of the twelve images is alone.
    assert report["dim"]["identified"] == 0
    assert report["dim"]["unevenness"] == pytest.approx(1, rel=1e-4)
    assert report["quickstart-blur"]["identified"] == 1
    assert result.out == cli("--plugin", "mine.py", "degradation-report", *options, "--json").out
    assert sorted(path.name for path in workplace.iterdir()) == ["dim.yaml", "mine.py"]


def test_the_command_draws_an_image_over_t(cli, workplace: Path) -> None:
    presets = ["--preset", "quickstart", "--preset", "quickstart-pixelate", "--n", 5]
    result = cli("degradation-report", *presets, "--out", "strips.png")
    assert result.code == 0, result.err
    assert result.out.endswith("strips.png\n")
    with Image.open("strips.png") as picture:
        assert picture.width > 3 * picture.height
    from diffcli.inference.figures import strip

    x0 = images(1)[0]
    row, steps = strip(Scale([1, 0.75, 0.5, 0.25, 0]), x0, torch.zeros(9, *SHAPE))
    assert steps == [0, 0, 1, 2, 2, 2, 3, 4, 4]  # of four steps, each is drawn about twice
    assert torch.allclose(row[2], 0.75 * x0)
    assert torch.equal(row[0], x0)


BAD = {
    "out": (["--out", "strips.gif"], "--out"),
    "n": (["--n", 1], "--n must be at least 2, got 1"),
    "disturbance": (["--disturbance", "nan"], "--disturbance must be in 0..1, got nan"),
    "twice": (["--preset", "quickstart"], "named twice"),
    "data": (["--preset", "blur-const", "--data-dir", "."], "MNIST"),
    "preset": (["--preset", "quickstrat"], "did you mean 'quickstart'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_of_the_command_cost_one_line(
    case: str, cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    options, expected = BAD[case]
    result = cli("degradation-report", "--preset", "quickstart", *options)
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert expected in result.err
