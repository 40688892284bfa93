"""Degradations as a user names them, the width of a blur, and the t that explains images best."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diffcli.diffusion.degradations import Degradation, GaussianNoise, Heat, Pixelate
from diffcli.diffusion.schedules import cosine
from diffcli.inference.blur_width import exact_blur, scales_of, step_of_width, width_note, widths
from diffcli.inference.measuring import ROUNDING, degradation_named, measurement_of
from diffcli.inference.t_evidence import candidates_of, spread_of, t_probabilities
from diffcli.utils.errors import UserError

SHAPE = (3, 12, 16)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("description", "name", "T"),
    [
        ("blur-fast", "gaussian-blur", 100),  # a preset, and a ready model
        ("pixelate", "pixelate", 60),
        ("{name: pixelate, block: 4, T: 1}", "pixelate", 1),
        ({"name": "heat", "schedule": {"name": "constant", "T": 3, "beta": 1.0}}, "heat", 3),
        ({"name": "mask", "T": 7, "noise": {"name": "constant", "sigma": 0.1}}, "mask", 7),
    ],
)
def test_a_degradation_is_built_for_the_models_images(description: Any, name: str, T: int) -> None:
    degradation = degradation_named(description, SHAPE)
    assert (degradation.name, degradation.T, degradation.image_shape) == (name, T, SHAPE)
    x0 = torch.zeros(1, *SHAPE)
    assert degradation.degrade(x0, torch.tensor([T])).shape == x0.shape
    assert degradation.stochastic == ("noise" in description)


def test_one_that_is_built_has_to_fit() -> None:
    noise = GaussianNoise(cosine(5))  # a number for all pixels
    assert degradation_named(noise, SHAPE).image_shape == SHAPE
    assert noise.image_shape == (1, 28, 28)
    heat = Heat(torch.tensor([0.0, 1.0]).double(), (1, 8, 8))
    with pytest.raises(UserError, match=r"^`degradation`: this Heat is of images 1x8x8, and the model's are 3x12x16$"):
        degradation_named(heat, SHAPE)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("blur-fats", "`degradation`: unknown preset, run, model or kind 'blur-fats'; did you mean 'blur-fast'?"),
        ("heat", "`degradation`: schedule is missing: degradation heat needs one; for example {name: heat, schedule"),
        (
            "{name: pixelate, blok: 4}",
            "`degradation`: unknown key 'degradation.blok'; did you mean 'degradation.block'",
        ),
        ("{name: pixelate", "`degradation` is not valid YAML"),
        ("{block: 4}", "`degradation`: degradation.name is missing"),
        ("{name: pixelate, block: 3}", "block must be a power of two that divides both sides of 12x16 images, got 3"),
        ("{name: pixelate, block: 4, grid: 2}", "grid and block both say how large the blocks are"),
        ("{name: pixelate, noise: loud}", "unknown noise 'loud'"),
        ("none.yaml", "preset file none.yaml does not exist"),
        ("none.safetensors", "model file none.safetensors does not exist"),
    ],
)
def test_a_wrong_one_costs_a_line(description: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        degradation_named(description, SHAPE)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_eight_bits_are_noise() -> None:
    pixelate = Pixelate(SHAPE, T=1, block=4)
    y = torch.full((2, *SHAPE), 100, dtype=torch.uint8)
    assert measurement_of(y, pixelate, None, None, CPU).sigma == pytest.approx(ROUNDING)
    assert measurement_of(y / 255 - 0.5, pixelate, None, None, CPU).sigma == 0
    assert measurement_of(y, pixelate, 0, 0.3, CPU).sigma == 0.3
    with pytest.raises(UserError, match=r"^`sigma` 0 is no noise, and 8 bits round by 0\.0011"):
        measurement_of(y, pixelate, 1, 0.0, CPU)
    with pytest.raises(UserError, match=r"^`t` must be in 0\.\.1 \(T of Pixelate\), got 2$"):
        measurement_of(y, pixelate, 2, None, CPU)
    longer = Pixelate(SHAPE, T=2, block=4)
    with pytest.raises(UserError, match=r"^say with `t` how far the images are degraded, in 1\.\.2"):
        measurement_of(y, longer, None, None, CPU)


def heat(T: int) -> Degradation:
    result = Heat(torch.cat([torch.zeros(1), torch.ones(T)]).double(), (1, 12, 12))
    result.name, result.image_shape = "heat", (1, 12, 12)
    return result


def test_a_blur_is_said_in_pixels_of_the_picture() -> None:
    blur = heat(16)
    table = widths(blur)
    assert table is not None
    torch.testing.assert_close(table, torch.arange(17).double().sqrt())
    assert widths(Pixelate(SHAPE, T=2)) is None
    assert scales_of([(12, 12), (120, 240)], (1, 12, 12)) == [1.0, 10.0]
    assert width_note(blur, 4, [1.0]) == "t = 4: a blur of 2 pixels"
    assert width_note(blur, 4, [10.0, 10.0]) == "t = 4: a blur of 20 pixels"
    assert width_note(blur, 4, [1.0, 10.0]) == "t = 4: a blur of 2 to 20 pixels, by the size of the pictures"
    assert width_note(Pixelate(SHAPE, T=2), 1, [1.0]) is None


def test_the_step_of_a_width_is_the_nearest() -> None:
    blur = heat(16)
    assert [step_of_width(blur, width) for width in (0.6, 1.0, 3.05, 4.0)] == [1, 1, 9, 16]
    for width in (0.4, 4.5):
        with pytest.raises(UserError, match=r"^`blur` is .* pixels of the model's images, and heat is 1 to 4 \(t = 1"):
            step_of_width(blur, width)
    with pytest.raises(UserError, match=r"^`blur` is the width of a blur, and Pixelate is none"):
        step_of_width(Pixelate(SHAPE, T=2), 1.0)
    exact = exact_blur(2.5, (1, 12, 12))
    pixels = widths(exact)
    assert pixels is not None
    assert pixels.tolist() == pytest.approx([0, 2.5])


def test_the_t_that_explains_images_is_found_with_its_spread() -> None:
    blur = heat(16)
    generator = torch.Generator().manual_seed(0)
    smooth = heat(2).degrade(0.4 * torch.randn(400, 1, 12, 12, generator=generator), torch.full((400,), 1))
    samples = ((smooth[:200] + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    clean = ((smooth[200:] + 0.5).clamp(0, 1) * 255).round() / 255 - 0.5
    for t in (3, 9):
        y = blur.degrade(clean, torch.full((200,), t))
        one, many = (t_probabilities(blur, y[:count], samples, sigma=0.01) for count in (1, 200))
        assert float(many.sum()) == pytest.approx(1)
        best, spread = spread_of(many)
        assert abs(best - t) <= 1
        assert abs(spread_of(one)[0] - t) <= 4
        assert spread_of(one)[1] > spread
    assert candidates_of(blur) == list(range(1, 17))
    assert len(candidates_of(heat(1000))) == 200
    assert candidates_of(heat(1000))[-1] == 1000
