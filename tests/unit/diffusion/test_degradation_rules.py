"""The rules that every degradation keeps: all that are registered, plug-ins, and broken ones, each told which rule it
breaks."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from conftest import PLUGIN
from references import REFERENCES
from torch import Tensor

import diffcli
from diffcli.config.registry import KINDS
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation, GaussianBlur, GaussianNoise, Pixelate
from diffcli.diffusion.noise_levels import NOISE_LEVELS
from diffcli.diffusion.rules import RULES
from diffcli.diffusion.schedules import constant, cosine, linear
from diffcli.diffusion.testing import SHAPES, check_degradation

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "blur, circular": ("gaussian-blur", {"kernel_size": 7, "padding": "circular"}),
    "blur, zero": ("gaussian-blur", {"kernel_size": 5, "padding": "zero"}),
    "blur, strong": ("gaussian-blur", {"kernel_size": 7, "betas": constant(30, 3.0)}),
    "noise, constant": ("gaussian-noise", {"betas": constant(40, 0.05)}),
    "noise, cosine": ("gaussian-noise", {"betas": cosine(40)}),
    "pixelate to 3x3": ("pixelate", {"grid": 3}),
    "pixelate to one": ("pixelate", {"grid": 1}),
    "narrow mask": ("mask", {"width": 0.2}),
    "mask from the border": ("mask", {"start": "border", "width": 10.0, "left": 0.3}),
    "fade to white": ("fade", {"colour": 1.0, "left": 0.2}),
    "fade to a colour": ("fade", {"colour": [0.1, 0.9, 0.3]}),
    "fade to its own grey": ("fade", {"colour": "own"}),
    "plug-in": ("dim", {"level": 0.1}),
    "plug-in with noise": ("fog", {}),
}


@pytest.fixture(autouse=True)
def plugins(registries: None) -> None:
    diffcli.plugin(PLUGIN)


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_everything_registered_keeps_the_rules_and_is_its_reference(name: str) -> None:
    assert name in REFERENCES, f"write {name} once more in tests/references.py, in float64 and in some other way"
    kind = DEGRADATIONS[name]
    assert isinstance(kind, type)
    check_degradation(kind, REFERENCES[name])


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_parameters_and_plugins_keep_the_rules(variant: str) -> None:
    name, parameters = VARIANTS[variant]
    check_degradation(KINDS["degradation"].registry[name], **parameters)


@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_other_paddings_are_their_reference(padding: str) -> None:
    check_degradation(GaussianBlur, REFERENCES["gaussian-blur"], kernel_size=5, padding=padding)


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_nothing_leaves_the_range_of_pixels(name: str) -> None:
    context = {"image_shape": (3, 9, 9), "betas": linear(20, 0.01, 0.3), "T": 20}
    kind = DEGRADATIONS[name]
    parameters = getattr(kind, "__init__").__annotations__  # noqa: B009
    degradation = kind(**{key: value for key, value in context.items() if key in parameters})
    t = torch.arange(degradation.T + 1)
    for x0 in (torch.rand(len(t), 3, 9, 9) - 0.5, torch.full((len(t), 3, 9, 9), 0.5)):
        assert float(degradation.degrade(x0, t, torch.zeros_like(x0)).abs().max()) <= 0.5 + 1e-5


def test_an_instance_is_checked_as_it_is_and_left_as_it_was() -> None:
    blur = GaussianBlur(constant(5, 1.0), (1, 14, 14))
    blur.sigmas = NOISE_LEVELS["linear"](T=5, sigma_max=0.3)
    before = blur.sigmas.clone()
    check_degradation(blur)
    assert torch.equal(blur.sigmas, before)


class Right(Degradation):
    """Fades: what the broken ones below are made of."""

    def __init__(self, image_shape: tuple[int, int, int], T: int = 10) -> None:
        super().__init__()
        self.T, self.image_shape = T, image_shape
        self.sigmas = 0.2 * torch.arange(T + 1, dtype=torch.float64) / T

    def share(self, t: Tensor) -> Tensor:
        return (1 - 0.9 * t / self.T).view(-1, 1, 1, 1)

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return self.share(t) * x0

    def step(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        ratio = self.share(t) / self.share(t - 1)
        sigma, before = (self.sigmas[at].float().view(-1, 1, 1, 1) for at in (t, t - 1))
        return ratio * x + (sigma.square() - (ratio * before).square()).sqrt() * noise

    def step_norms(self) -> Tensor:
        t = torch.arange(self.T + 1)
        return (self.share(t) / self.share((t - 1).clamp(min=0))).flatten().double()


class NoTables(Right):
    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(image_shape)
        self.sigmas = torch.ones(self.T + 1)


class Early(Right):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return super().signal(x0, (t + 1).clamp(max=self.T))


class Infinite(Right):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0 / (t != self.T).view(-1, 1, 1, 1)


class Cropped(Right):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0[..., 1:] if bool((t == 1).any()) else x0


class InPlace(Right):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0.mul_(self.share(t))


class Random(Right):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return self.share(t) * x0 + 0.01 * (t > 0).view(-1, 1, 1, 1) * torch.rand_like(x0)


class Clipped(Right):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return x0.minimum(0.5 * self.share(t)) if bool((t > 0).any()) else x0


class OneStep(Right):
    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return self.share(t[:1]) * x0


class OwnNoise(Right):
    def degrade(self, x0: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        normal = torch.randn_like(x0) if noise is None else noise
        return self.signal(x0, t) + 1.1 * self.sigma(t) * normal


class OwnSteps(Right):
    def step(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return super().step(x, t, noise) * 0.99


class LittleNoise(Right):
    def step(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return super().step(x, t, 0.9 * noise)


class Growing(Right):
    def step_norms(self) -> Tensor:
        return super().step_norms() * 0.9


class NoCurves(Right):
    def describe(self) -> dict[str, Tensor]:
        return {"signal": torch.ones(self.T + 1, dtype=torch.float64)}


BROKEN = {
    NoTables: "T and sigmas are tables",
    Early: "t = 0 is the identity",
    Infinite: "the signal is finite",
    Cropped: "the signal is finite",
    InPlace: "what is handed in stays",
    Random: "the same images give the same signal",
    Clipped: "the signal is linear",
    OneStep: "a batch of different t",
    OwnNoise: "noise is added as sigma_t eps",
    OwnSteps: "steps one after another",
    LittleNoise: "steps one after another .* the variance of their noise",
    Growing: "no step enlarges an image",
    NoCurves: "what schedule-plot draws",
}


def test_what_the_broken_ones_are_made_of_keeps_the_rules() -> None:
    check_degradation(Right)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_rule_is_named(broken: type[Degradation]) -> None:
    with pytest.raises(AssertionError, match=f"{broken.__name__}, T .*: broken rule: {BROKEN[broken]}"):
        check_degradation(broken)


def test_a_wrong_reference_and_one_that_fails_are_told_apart() -> None:
    with pytest.raises(AssertionError, match=r"it is its float64 reference: it is off by .* at t = 1"):
        check_degradation(Pixelate, lambda degradation, x0, t: x0)
    with pytest.raises(AssertionError, match=r"it is its float64 reference: it is off"):
        check_degradation(
            GaussianNoise, lambda degradation, x0, t: 1.01 * REFERENCES["gaussian-noise"](degradation, x0, t)
        )


def test_a_class_that_takes_no_images_is_told_so() -> None:
    sizes = re.escape(str(SHAPES))
    with pytest.raises(AssertionError, match=f"Pixelate: it cannot be built for any of the images {sizes}: grid must"):
        check_degradation(Pixelate, grid=99)


def test_every_rule_is_broken_by_one() -> None:
    broken = tuple(start.split(" .*")[0] for start in BROKEN.values())
    (rule,) = (rule for rule in RULES if not rule.startswith(broken))
    assert rule == "a perfect denoiser gets the image back"  # which follows from the others
    with pytest.raises(AssertionError, match="it is off by"):
        RULES[rule](Early((1, 8, 8)))
