"""Every combination of schedule, prediction, sampler and steps is either refused in one line or gives finite images."""

from __future__ import annotations

import itertools
import json
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_names import ON_BLUR, ON_NOISE

from diffcli.config.build import build_denoiser, resolve
from diffcli.config.registry import build
from diffcli.config.schema import Sampler, validate
from diffcli.data.datasets import digits
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import Prior
from diffcli.diffusion.samplers import timesteps
from diffcli.inference.sampling import Sampling, fit_prior, generate
from diffcli.utils.devices import Processes
from diffcli.utils.errors import UserError


@lru_cache(maxsize=1)
def images_to_fit() -> torch.Tensor:
    return digits().development.images[:100]


@lru_cache(maxsize=1)
def model_of(changes: str) -> tuple[Denoiser, Prior | None, Sampler, tuple[int, int, int]]:
    """An untrained model of 8x8 digits, its prior, its sampler and its images' shape, of a preset in JSON; raises what
    ``resolve`` raises."""
    torch.manual_seed(0)
    resolved = resolve(
        validate(
            {
                "description": "any schedule",
                "data": {"name": "digits"},
                "network": {"name": "cnn", "channels": [4, 4], "kernel_size": 3},
                "training": {},
            }
            | json.loads(changes),
            "test",
        )
    )
    preset, shape = resolved.preset, resolved.image_shape
    denoiser = build_denoiser(resolved).eval().requires_grad_(False)
    prior = fit_prior(build("prior", preset.prior), denoiser.degradation, images_to_fit())
    return denoiser, prior, preset.sampler, shape


def images_of(changes: dict[str, Any], steps: int | None = None) -> torch.Tensor:
    """Three samples of such a model."""
    denoiser, prior, sampler, shape = model_of(json.dumps(changes))
    T = denoiser.degradation.T
    path = timesteps(T, None if steps is None else min(steps, T))
    sampling = Sampling(denoiser, prior, sampler, path, 0, 3, Processes(torch.device("cpu")))
    return torch.cat(list(generate(sampling, 3, shape)))


def check_finite_or_refused(changes: dict[str, Any], steps: int | None) -> bool:
    """Whether the preset was accepted; its images are finite then, and a refusal is one line that names the culprit."""
    try:
        images = images_of(changes, steps)
    except UserError as refusal:
        line = str(refusal)
        assert line.startswith(("schedule", "degradation", "noise", "prediction", "prior", "sampler: eta")), line
        assert "\n" not in line
        return False
    assert bool(torch.isfinite(images).all()), changes
    return True


def hot(schedule: dict[str, Any], prediction: str, sampler: dict[str, Any]) -> dict[str, Any]:
    return {
        "schedule": schedule,
        "degradation": {"name": "gaussian-noise"},
        "prediction": prediction,
        "prior": {"name": "standard-normal"},
        "sampler": sampler,
    }


NOISE = {
    "underflow": {"name": "constant", "T": 400, "beta": 0.9},
    "underflow in float32 alone": {"name": "constant", "T": 100, "beta": 0.9},
    "long": {"name": "constant", "T": 2000, "beta": 0.1},
    "strong": {"name": "constant", "T": 60, "beta": 0.6},
    "one strong step": {"name": "constant", "T": 1, "beta": 0.999999},
    "one step": {"name": "cosine", "T": 1},
    "lost in float64": {"name": "linear", "T": 20, "beta_min": 1e-17, "beta_max": 0.9},
    "lost in float32": {"name": "linear", "T": 20, "beta_min": 1e-12, "beta_max": 0.9},
    "nearly none": {"name": "constant", "T": 5, "beta": 1e-15},
    "shifted to nothing": {"name": "cosine", "T": 50, "shift": 1e-20},
    "shifted to the image": {"name": "cosine", "T": 50, "shift": 1e9},
    "not clipped": {"name": "cosine", "T": 50, "beta_clip": 0.9999999999999999},
}


@pytest.mark.parametrize("schedule", NOISE.values(), ids=NOISE)
@pytest.mark.parametrize("sampler", ON_NOISE)
def test_every_noise_schedule_samples_finite_images_or_is_refused(schedule: dict[str, Any], sampler: str) -> None:
    parameters = {"ddim": [{}, {"eta": 1.0}], "ancestral": [{}, {"variance": "posterior"}]}.get(sampler, [{}])
    for prediction, options, steps in itertools.product(("eps", "x0", "v"), parameters, (1, 4, None)):
        check_finite_or_refused(hot(schedule, prediction, {"name": sampler, **options}), steps)


def test_schedules_within_reach_are_not_refused() -> None:
    for schedule in (NOISE["strong"], NOISE["one step"], NOISE["lost in float32"]):
        for sampler in ON_NOISE:
            assert check_finite_or_refused(hot(schedule, "eps", {"name": sampler}), None)


@settings(max_examples=40, deadline=None)
@given(
    T=st.integers(1, 60),
    beta=st.floats(-18, -1e-16).map(lambda power: 10**power),
    growth=st.floats(0, 17).map(lambda power: 10**power),
    prediction=st.sampled_from(["eps", "x0", "v"]),
    sampler=st.sampled_from(ON_NOISE),
    steps=st.sampled_from([None, 1, 3]),
)
def test_any_line_of_noise(
    T: int, beta: float, growth: float, prediction: str, sampler: str, steps: int | None
) -> None:
    schedule = {"name": "linear", "T": T, "beta_min": beta, "beta_max": min(beta * growth, 0.9999999999)}
    check_finite_or_refused(hot(schedule, prediction, {"name": sampler}), steps)


BLUR = {
    "none": {"name": "constant", "T": 3, "beta": 5e-324},
    "hardly any": {"name": "constant", "T": 3, "beta": 1e-12},
    "all of it": {"name": "constant", "T": 200, "beta": 1e4},
    "one step": {"name": "constant", "T": 1, "beta": 1.0},
}


@pytest.mark.parametrize("schedule", BLUR.values(), ids=BLUR)
@pytest.mark.parametrize("padding", ["reflect", "circular", "zero"])
@pytest.mark.parametrize("prior", ["uniform", "gaussian", "mixture", "blurred-data"])
def test_every_blur_samples_finite_images_or_is_refused(schedule: dict[str, Any], padding: str, prior: str) -> None:
    for sampler, steps in itertools.product(ON_BLUR, (1, None)):
        changes = {
            "schedule": schedule,
            "degradation": {"name": "gaussian-blur", "kernel_size": 7, "padding": padding},
            "prediction": "x0",
            "prior": {"name": prior},
            "sampler": {"name": sampler},
        }
        check_finite_or_refused(changes, steps)


@pytest.mark.parametrize(
    "noise",
    [
        {"name": "constant", "sigma": 1e-6},
        {"name": "constant", "sigma": 1e-300},
        {"name": "linear", "sigma_max": 100.0},
        {"name": "linear", "sigma_max": 1e-6, "sigma_min": 100.0},
    ],
    ids=str,
)
def test_every_noise_on_a_blur_samples_finite_images_or_is_refused(noise: dict[str, Any]) -> None:
    for sampler, prior, steps in itertools.product(ON_BLUR, ("gaussian", "standard-normal"), (1, 3, None)):
        changes = {
            "schedule": {"name": "constant", "T": 20, "beta": 0.35},
            "degradation": {"name": "gaussian-blur", "kernel_size": 7},
            "noise": noise,
            "prediction": "x0",
            "prior": {"name": prior},
            "sampler": {"name": sampler},
        }
        check_finite_or_refused(changes, steps)


@pytest.mark.parametrize(
    "degradation",
    [
        {"name": "pixelate", "T": 1, "grid": 1},
        {"name": "pixelate", "T": 9, "grid": 7},
        {"name": "mask", "T": 5, "width": 0.2, "left": 1e-30},
        {"name": "mask", "T": 5, "width": 10.0, "left": 0.999, "start": "border"},
        {"name": "fade", "T": 5, "left": 1e-30},
        {"name": "fade", "T": 5, "left": 1e-300, "colour": 1},
        {"name": "heat", "schedule": {"name": "log-widths", "T": 6}},
        {"name": "heat", "schedule": {"name": "log-widths", "T": 6, "width_min": 1e-150, "width_max": 90.0}},
        {"name": "heat", "schedule": {"name": "constant", "T": 6, "beta": 1e4}},
    ],
    ids=str,
)
def test_every_kind_samples_finite_images_or_is_refused(degradation: dict[str, Any]) -> None:
    kind = {key: value for key, value in degradation.items() if key != "schedule"}
    levels: tuple[dict[str, Any] | None, ...] = (
        None,
        {"name": "sine"},
        {"name": "geometric", "sigma_min": 1e-6, "sigma_max": 100.0},
    )
    samplers = ({"name": "cold"}, {"name": "cold-naive"}, {"name": "cold", "eta": 1.0})
    for noise, prior, sampler in itertools.product(levels, ("uniform", "mixture", "standard-normal"), samplers):
        for steps in (1, None):
            changes = {
                "degradation": kind,
                "schedule": degradation.get("schedule"),
                "noise": noise,
                "prediction": "x0",
                "prior": {"name": prior},
                "sampler": sampler,
            }
            verdict = check_finite_or_refused(changes, steps)
            assert verdict or prior == "standard-normal" or "eta" in sampler or "e-" in str(degradation)
