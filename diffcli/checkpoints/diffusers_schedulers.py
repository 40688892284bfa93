"""Schedulers of the library diffusers as data: table of noise, prediction, and the sampler that they are here.

Their tables are made as the library makes them, in float32, and then told for pixels in [-0.5, 0.5]:
:mod:`diffcli.diffusion.full_range`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffcli.diffusion.full_range import to_half_range
from diffcli.diffusion.schedules import MAX_STEPS, betas_of
from diffcli.utils.errors import UserError

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
"""Theirs, and ours."""
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
}
CLIPPING = {"clip_sample": True, "clip_sample_range": 1.0}
SOLVER = {
    "solver_order": 2,
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "lower_order_final": True,
    "euler_at_final": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "final_sigmas_type": "zero",
    "lambda_min_clipped": -math.inf,
    "variance_type": None,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "DDPMScheduler": {**NOISE, **CLIPPING, "variance_type": "fixed_small"},
    "DDIMScheduler": {**NOISE, **CLIPPING, "set_alpha_to_one": True},
    "DPMSolverMultistepScheduler": {**NOISE, **SOLVER, "timestep_spacing": "linspace"},
}
"""The meaning, by scheduler, of a file that lacks a key: the library's own defaults."""
VARIANCES = {
    "fixed_small": "posterior",
    "fixed_small_log": "posterior",
    "fixed_large": "beta",
    "fixed_large_log": "beta",
}
"""The names of variances in DDPMScheduler, and in ``ancestral``."""
LEFT_BY_SOLVER = 2.0**-24
"""Their alpha_T of DPM-Solver where the schedule leaves nothing."""
SOLVER_STEPS = 20


@dataclass(frozen=True)
class Scheduler:
    """A scheduler's configuration in our terms.

    Args:
        schedule: of a preset.
        sampler: of a preset.
        notes: what its sampling does otherwise than ours, in lines.
    """

    T: int
    schedule: dict[str, Any]
    prediction: str
    sampler: dict[str, Any]
    notes: tuple[str, ...]


def read_scheduler(values: dict[str, Any], place: str, steps: int | None) -> Scheduler:
    """A scheduler of its configuration, the content of ``scheduler_config.json``.

    Args:
        place: what messages call the file.
        steps: of the pipeline, unless something else is asked for; None is all.

    Raises:
        UserError: it is of another class, or what it says of the noise or of the prediction has no counterpart.
    """
    name = values.get("_class_name")
    if not isinstance(name, str) or name not in DEFAULTS:
        raise UserError(
            f"{place}: scheduler {name!s:.60} is not read; save the pipeline with one of {', '.join(DEFAULTS)}, for "
            "example pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)"
        )
    defaults = DEFAULTS[name]
    config = defaults | {key: value for key, value in values.items() if key in defaults}
    _check_types(config, defaults, place)
    notes = [
        f"note: {place}: {key} is no setting of {name} and is not read"
        for key in values
        if key not in defaults and not key.startswith("_")
    ]
    prediction = PREDICTIONS.get(str(config["prediction_type"]))
    if prediction is None:
        raise UserError(
            f"{place}: prediction_type {config['prediction_type']!s:.60} is not read; known: {', '.join(PREDICTIONS)}"
        )
    alphas = alphas_of(config, place, name)
    T = len(alphas)
    sampler, more = _sampler_of(name, config, place)
    sampler["steps"] = SOLVER_STEPS if sampler["name"] == "dpm-solver++" else steps
    if sampler["steps"] is not None and sampler["steps"] >= T:
        sampler["steps"] = None
    step_count = sampler["steps"] or T
    if T % step_count:
        notes.append(
            f"note: {step_count} steps do not divide T = {T}: there each step goes T // {step_count}, which "
            "leaves noise in the images, and here to the next step"
        )
    schedule = {"name": "betas", "values": betas_of(to_half_range(alphas.double()))}
    return Scheduler(T, schedule, prediction, sampler, tuple(notes + more + _spacing_notes(name, config, T)))


def _check_types(config: dict[str, Any], defaults: dict[str, Any], place: str) -> None:
    """Checks that settings are of the types of their defaults.

    Raises:
        UserError: one is not.
    """
    for key, default in defaults.items():
        value = config[key]
        if isinstance(default, bool):
            right, kind = isinstance(value, bool), "true or false"
        elif isinstance(default, (int, float)):
            numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
            right, kind = numeric and not math.isnan(value), "a number"
        elif isinstance(default, str):
            right, kind = isinstance(value, str), "text"
        else:
            continue
        if not right:
            raise UserError(f"{place}: {key} must be {kind}, got {value!r:.60}")


def alphas_of(config: dict[str, Any], place: str, name: str) -> Tensor:
    """Their products of 1 - beta, float32 (T,), as the library computes them.

    Raises:
        UserError: the schedule is unknown, or its betas are none.
    """
    T, start, end = config["num_train_timesteps"], float(config["beta_start"]), float(config["beta_end"])
    if not isinstance(T, int) or not 1 <= T <= MAX_STEPS:
        raise UserError(f"{place}: num_train_timesteps must be a whole number in 1..{MAX_STEPS:,}, got {T!r:.60}")
    kind, beta_list = config["beta_schedule"], config["trained_betas"]
    if beta_list is not None:
        numbers = isinstance(beta_list, list) and all(
            isinstance(beta, (int, float)) and not isinstance(beta, bool) for beta in beta_list
        )
        if not numbers or not 1 <= len(beta_list) <= MAX_STEPS:
            raise UserError(f"{place}: trained_betas must be a list of numbers, got {beta_list!r:.60}")
        if len(beta_list) != T:
            raise UserError(f"{place}: trained_betas are {len(beta_list):,}, and num_train_timesteps is {T:,}")
        betas = torch.tensor(beta_list, dtype=torch.float32)
    elif kind == "linear":
        betas = torch.linspace(start, end, T, dtype=torch.float32)
    elif kind == "scaled_linear" and min(start, end) > 0:
        betas = torch.linspace(start**0.5, end**0.5, T, dtype=torch.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        betas = torch.tensor([_cosine_beta(i / T, (i + 1) / T) for i in range(T)], dtype=torch.float32)
    elif kind == "sigmoid" and name == "DDPMScheduler":
        betas = torch.sigmoid(torch.linspace(-6, 6, T)) * (end - start) + start
    elif kind == "scaled_linear":
        raise UserError(f"{place}: beta_start and beta_end must be positive, got {start:g} and {end:g}")
    else:
        raise UserError(
            f"{place}: beta_schedule {kind:.60} is not read; known: linear, scaled_linear, squaredcos_cap_v2, of "
            "DDPMScheduler sigmoid, and trained_betas"
        )
    if config["rescale_betas_zero_snr"]:
        betas = _without_snr_at_the_end(betas)
    out_of_range = betas[(betas <= 0) | (betas > 1) | betas.isnan()]
    if len(out_of_range):
        raise UserError(f"{place}: beta must lie in (0, 1), got {float(out_of_range[0]):g}")
    alphas = torch.cumprod(1.0 - betas, dim=0)
    if config["rescale_betas_zero_snr"] and name == "DPMSolverMultistepScheduler":
        alphas[-1] = LEFT_BY_SOLVER
    return alphas


def _cosine_beta(before: float, after: float) -> float:
    """beta of Nichol & Dhariwal 2021, Eq. 17, between two shares of the steps, at most 0.999."""

    def alpha(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    return min(1 - alpha(after) / alpha(before), 0.999)


def _without_snr_at_the_end(betas: Tensor) -> Tensor:
    """betas whose last one is 1, and the first as it was (Lin et al. 2024, Algorithm 1), float32 (T,)."""
    roots = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, final = roots[0].clone(), roots[-1].clone()
    roots -= final
    roots *= first / (first - final)
    alphas = roots**2
    return 1 - torch.cat([alphas[:1], alphas[1:] / alphas[:-1]])


def _sampler_of(name: str, config: dict[str, Any], place: str) -> tuple[dict[str, Any], list[str]]:
    """(the sampler of a preset, what theirs does otherwise)."""
    notes = []
    clip = bool(config.get("clip_sample", False))
    if config["thresholding"]:
        clip = True
        if config["sample_max_value"] != 1:
            notes.append(
                "their thresholds are dynamic (thresholding); here estimates are clipped to the range of pixels"
            )
    elif clip and config["clip_sample_range"] != 1:
        clip = False
        notes.append(
            f"they clip estimates to {config['clip_sample_range']:g} times the range of pixels; here not at all"
        )
    if name == "DDPMScheduler":
        kind = config["variance_type"]
        if kind not in VARIANCES:
            raise UserError(f"{place}: variance_type {kind!s:.60} is not read; known: {', '.join(VARIANCES)}")
        if VARIANCES[kind] == "beta":
            notes.append(f"their {kind} adds noise in the last step, too, where steps are skipped; ancestral does not")
        sampler: dict[str, Any] = {"name": "ancestral", "variance": VARIANCES[kind]}
    elif name == "DDIMScheduler":
        sampler = {"name": "ddim"}
        if clip:
            notes.append(
                "their DDIM keeps the noise of what was not clipped; here it follows from the clipped estimate, their "
                "use_clipped_model_output=True"
            )
        if not config["set_alpha_to_one"]:
            notes.append("they end at the noise of their first step (set_alpha_to_one false); here images end without")
    else:
        order = config["solver_order"]
        sampler = {"name": "ddim" if order == 1 else "dpm-solver++"}
        keys = [key for key in SOLVER if key not in ("solver_order", "lower_order_final", "euler_at_final")]
        differing_keys = [key for key in keys if config[key] != SOLVER[key]]
        if order not in (1, 2):
            differing_keys.insert(0, "solver_order")
        if differing_keys:
            settings = ", ".join(f"{key} {config[key]}" for key in differing_keys)
            notes.append(f"their {settings} has no counterpart; here it is DPM-Solver++(2M)")
    return sampler | {"clip": clip}, [f"note: {line}" for line in notes]


def _spacing_notes(name: str, config: dict[str, Any], T: int) -> list[str]:
    spacing = config["timestep_spacing"]
    if spacing == "trailing":
        return []
    return [
        f"note: their steps are spaced '{spacing}', and begin or end elsewhere than here, which is their 'trailing': "
        f"t = {T} is the first, where noise is strongest"
    ]
