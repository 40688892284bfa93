"""What fits a degradation is asked of it: priors, samplers, predictions, schedules, noise; and any degradation works
whole."""

from __future__ import annotations

from typing import Any

import pytest
from fading import LINEAR, preset

from diffcli.config.build import candidate_priors, resolve, samplers_for
from diffcli.config.presets import load_preset
from diffcli.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("fading")


def test_a_degradation_without_betas_takes_no_schedule() -> None:
    resolved = resolve(preset())
    assert resolved.preset.schedule is None
    degradation = resolved.degradation
    assert (degradation.T, degradation.name, degradation.image_shape) == (6, "fading", (1, 8, 8))
    assert resolve(preset(degradation={"name": "fading"})).preset.degradation.parameters == {"T": 10}
    assert samplers_for(degradation) == ["cold-naive", "cold"]


def test_a_preset_adds_noise_to_what_draws_none() -> None:
    for base in (preset(), load_preset("quickstart-blur")[1]):
        noise = preset(noise=LINEAR).noise
        resolved = resolve(base.model_copy(update={"noise": noise}))
        assert resolved.preset.noise is not None
        assert resolved.preset.noise.parameters == {"sigma_max": 0.3, "sigma_min": 0.0}
        degradation = resolved.degradation
        assert degradation.stochastic
        assert float(degradation.sigmas[-1]) == pytest.approx(0.3)
        assert samplers_for(degradation) == ["cold-naive", "cold"]
        assert "standard-normal" not in candidate_priors(resolved.preset)


def test_enough_noise_on_a_blur_ends_in_a_standard_normal() -> None:
    noisy = load_preset("quickstart-blur")[1].model_copy(
        update={
            "noise": preset(noise={"name": "linear", "sigma_max": 1.0}).noise,
            "prior": preset(prior={"name": "standard-normal"}).prior,
        }
    )
    assert list(candidate_priors(resolve(noisy).preset)) == ["standard-normal"]


def test_one_preset_blurs_images_of_any_size_alike() -> None:
    for side in (32, 64):
        for name in ("colour-fast", "colour-64-fast"):
            degradation = resolve(load_preset(name, {"data.size": side})[1]).degradation
            schedule = load_preset(name)[1].schedule
            assert schedule is not None
            share = float(schedule.parameters["width_max"].rstrip("%")) / 100
            assert float(degradation.describe()["width"][-1]) == pytest.approx(share * side)


def test_a_width_that_is_none_is_named_with_what_would_be_right() -> None:
    for width in ("wide", "14", True):
        with pytest.raises(UserError) as error:
            resolve(load_preset("colour-fast", {"schedule.width_max": width})[1])
        assert str(error.value).startswith("schedule.width_max: a width is a number of pixels, or a percentage of the")
    with pytest.raises(
        UserError, match=r"schedule log-widths: width_max must be more than width_min, got 0\.5% <= 0\.3"
    ):
        resolve(load_preset("colour-fast", {"schedule.width_max": "0.5%"})[1])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "schedule": ({"schedule": {"name": "cosine", "T": 5}}, "schedule: degradation fading takes none; leave it out"),
    "no schedule": ({"degradation": {"name": "gaussian-noise"}},
        "schedule is missing: degradation gaussian-noise needs"),
    "T": ({"degradation": {"name": "fading", "T": 0}}, "degradation fading: T must be a whole number of at least 1"),
    "noise": ({"noise": {"name": "lineal", "sigma_max": 1.0}},
        "noise.name: unknown noise 'lineal'; did you mean 'linear'"),
    "level": ({"noise": {"name": "constant", "sigma": 0.0}}, "noise.sigma: "),
    "key": ({"noise": {"name": "constant", "sigma_max": 0.1}}, "noise.sigma"),
    "sampler": ({"sampler": {"name": "ddim"}}, "sampler: ddim does not undo a fading; use cold-naive or cold"),
    "prior": ({"prior": {"name": "standard-normal"}},
        "prior: standard-normal is not where a fading ends; use uniform or"),
    "eps": ({"prediction": "eps"}, "prediction: prediction eps needs a degradation with noise; use x0"),
    "eps of noise": ({"prediction": "eps", "noise": LINEAR}, "that only scales the image and adds noise; use x0"),
    "min_snr": ({"training": {"min_snr": 5.0}, "noise": LINEAR}, "training.min_snr needs a degradation with one ratio"),
    "loss": ({"training": {"loss": "v"}, "noise": LINEAR}, "training.loss needs a degradation with one ratio"),
    "loss of nothing": ({"training": {"loss": "vv"}}, "training.loss: unknown prediction 'vv'; did you mean 'v'"),
    "two weights": ({"training": {"loss": "v", "min_snr": 5.0}},
        "training.loss and training.min_snr are two weights of the loss; leave one out"),
    "distribution": ({"training": {"t_distribution": "unifrom"}},
        "training.t_distribution: unknown distribution 'unifrom'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_costs_one_line(case: str) -> None:
    changes, expected = BAD[case]
    with pytest.raises(UserError) as error:
        resolve(preset(**changes))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_noise_on_noise_is_refused() -> None:
    hot = load_preset("quickstart")[1].model_copy(update={"noise": preset(noise=LINEAR).noise})
    with pytest.raises(UserError, match="noise: degradation gaussian-noise has its own; leave it out"):
        resolve(hot)


def test_a_fitted_prior_serves_noise_that_leaves_much_of_the_image() -> None:
    short = {"schedule": {"name": "constant", "T": 10, "beta": 0.01}}
    with pytest.raises(
        UserError, match=r"standard-normal is not where a gaussian-noise ends.* or a schedule with more noise"
    ):
        resolve(load_preset("quickstart", short)[1])
    hot = resolve(load_preset("quickstart", short | {"prior": {"name": "mixture"}})[1]).preset
    assert "standard-normal" not in candidate_priors(hot)
