"""What fits a degradation is asked of it: priors, samplers, predictions, schedules, noise; and any degradation works whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from diffcli.config.build import build_degradation, candidate_priors, image_shape_of, resolve, samplers_for
from diffcli.config.presets import load_preset, to_yaml
from diffcli.config.schema import Preset, validate
from diffcli.diffusion.degradations import DEGRADATIONS, Degradation
from diffcli.utils.errors import UserError

FADING = {
    "description": "a third degradation",
    "data": {"name": "digits"},
    "degradation": {"name": "fading", "T": 6},
    "network": {"name": "cnn", "channels": [4, 4], "kernel_size": 3},
    "prediction": "x0",
    "prior": {"name": "gaussian"},
    "sampler": {"name": "cold"},
    "training": {"epochs": 1, "batch_size": 128, "sample_epochs": [1], "sample_n": 2},
}


class Fading(Degradation):
    """Towards a tenth of the image; knows its own T and no tables."""

    def __init__(self, T: int = 10) -> None:
        super().__init__()
        self.T = T

    def signal(self, x0: Tensor, t: Tensor) -> Tensor:
        return (1 - 0.9 * t / self.T).view(-1, 1, 1, 1) * x0


@pytest.fixture(autouse=True)
def fading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEGRADATIONS, "fading", Fading)


def preset(**changes: Any) -> Preset:
    return validate(FADING | changes, "test")


def degradation_of(preset: Preset) -> Degradation:
    return build_degradation(preset, image_shape_of(preset))


def test_a_degradation_without_betas_takes_no_schedule() -> None:
    resolved = resolve(preset())
    assert resolved.schedule is None
    degradation = degradation_of(resolved)
    assert (degradation.T, degradation.name, degradation.image_shape) == (6, "fading", (1, 8, 8))
    assert resolve(preset(degradation={"name": "fading"})).degradation.parameters == {"T": 10}
    assert samplers_for(degradation) == ["cold-naive", "cold"]


LINEAR = {"name": "linear", "sigma_max": 0.3}


def test_a_preset_adds_noise_to_what_draws_none() -> None:
    for base in (preset(), load_preset("quickstart-blur")[1]):
        noise = preset(noise=LINEAR).noise
        resolved = resolve(base.model_copy(update={"noise": noise}))
        assert resolved.noise is not None
        assert resolved.noise.parameters == {"sigma_max": 0.3, "sigma_min": 0.0}
        degradation = degradation_of(resolved)
        assert degradation.stochastic
        assert float(degradation.sigmas[-1]) == pytest.approx(0.3)
        assert samplers_for(degradation) == ["cold-naive", "cold"]
        assert "standard-normal" not in candidate_priors(resolved)


def test_enough_noise_on_a_blur_ends_in_a_standard_normal() -> None:
    drowned = load_preset("quickstart-blur")[1].model_copy(
        update={
            "noise": preset(noise={"name": "linear", "sigma_max": 1.0}).noise,
            "prior": preset(prior={"name": "standard-normal"}).prior,
        }
    )
    assert list(candidate_priors(resolve(drowned))) == ["standard-normal"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "schedule": ({"schedule": {"name": "cosine", "T": 5}}, "schedule: degradation fading takes none; leave it out"),
    "no schedule": ({"degradation": {"name": "gaussian-noise"}}, "schedule is missing: degradation gaussian-noise needs"),
    "T": ({"degradation": {"name": "fading", "T": 0}}, "degradation fading: T must be a whole number of at least 1"),
    "noise": ({"noise": {"name": "lineal", "sigma_max": 1.0}}, "noise.name: unknown noise 'lineal'; did you mean 'linear'"),
    "level": ({"noise": {"name": "constant", "sigma": 0.0}}, "noise.sigma: "),
    "key": ({"noise": {"name": "constant", "sigma_max": 0.1}}, "noise.sigma"),
    "sampler": ({"sampler": {"name": "ddim"}}, "sampler: ddim does not undo a fading; use cold-naive or cold"),
    "prior": ({"prior": {"name": "standard-normal"}}, "prior: standard-normal is not where a fading ends; use uniform or"),
    "eps": ({"prediction": "eps"}, "prediction: prediction eps needs a degradation with noise; use x0"),
    "eps of noise": ({"prediction": "eps", "noise": LINEAR}, "that only scales the image and adds noise; use x0"),
    "min_snr": ({"training": {"min_snr": 5.0}, "noise": LINEAR}, "training.min_snr needs a degradation with one ratio"),
    "distribution": ({"training": {"t_distribution": "unifrom"}}, "training.t_distribution: unknown distribution 'unifrom'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_costs_one_line(case: str) -> None:
    changes, expected = BAD[case]
    with pytest.raises(UserError) as caught:
        resolve(preset(**changes))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


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
    hot = resolve(load_preset("quickstart", short | {"prior": {"name": "mixture"}})[1])
    assert "standard-normal" not in candidate_priors(hot)


@pytest.mark.parametrize("noise", [None, LINEAR], ids=["deterministic", "with noise"])
def test_a_third_degradation_trains_resumes_samples_evaluates_and_plots(cli, workplace: Path, noise: Any) -> None:
    (workplace / "mine.yaml").write_text(to_yaml(resolve(preset(noise=noise))))
    quiet = ["--accelerator", "cpu", "--quiet"]
    assert cli("train", "--preset", "mine.yaml", "--out", "run", "--limit-batches", 2, *quiet).code == 0
    assert cli("train", "--resume", "run", "--epochs", 2, "--limit-batches", 2, *quiet).code == 0
    assert cli("sample", "--run", "run", "--n", 3, "--out", "s.npz", *quiet).code == 0
    assert cli("sample", "--run", "run", "--n", 2, "--conditional", "--out", "s.png", *quiet).code == 0
    result = cli("eval", "--rmse", "--loss", "--run", "run", "--n-test", 5, *quiet)
    assert result.code == 0, result.err
    assert cli("schedule-plot", "--preset", "mine.yaml", "--out", "s.svg").code == 0
    assert cli("schedule-plot", "--preset", "mine.yaml", "--out", "s.csv").code == 0
    header, *rows = (workplace / "s.csv").read_text().splitlines()
    assert header == "preset,t,t_over_T,signal,change" + (",sigma" if noise else "")
    assert len(rows) == 6
    assert float(rows[-1].split(",")[3]) == pytest.approx(0.1, rel=1e-5)


def test_a_blur_with_and_without_noise_share_a_plot(cli, workplace: Path) -> None:
    noisy = load_preset("quickstart-blur")[1].model_copy(update={"noise": preset(noise=LINEAR).noise})
    (workplace / "noisy.yaml").write_text(to_yaml(resolve(noisy)))
    presets = ["--preset", "quickstart-blur", "--preset", "noisy.yaml"]
    assert cli("schedule-plot", *presets, "--out", "s.png").code == 0
    assert cli("schedule-plot", *presets, "--out", "s.csv").code == 0
    lines = (workplace / "s.csv").read_text().splitlines()
    assert lines[0].endswith(",sigma")
    assert lines[1].endswith(",")  # no noise there
    assert float(lines[-1].rpartition(",")[2]) == pytest.approx(0.3)
