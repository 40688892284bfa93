"""A trained model as a folder that the library diffusers opens, :func:`write_pipeline`.

Where the network is the library's own, so are its files; other models come as graphs, and with a pipeline of a few
lines that samples with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcli.checkpoints.diffusers_folder import (
    CONFIG,
    INDEX,
    NETWORK,
    OWN_PIPELINE,
    SCHEDULER,
    TABLE,
    WEIGHTS,
)
from diffcli.checkpoints.diffusers_schedulers import PREDICTIONS, VARIANCES
from diffcli.config.schema import Sampler
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.full_range import to_full_range
from diffcli.diffusion.schedules import betas_of
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.inference.pictures import channels_across
from diffcli.utils.errors import UserError
from diffcli.utils.files import write_json, write_safetensors

TEMPLATES = Path(__file__).parent / "pipelines"
PREFIX = "network.unet."
PIPELINE = "pipeline.py"
GRAPHS = "model.pt2"
ZERO_ALPHA = 1e-6
"""alpha_T below which their DPM-Solver needs to be told that nothing is left."""


def is_native(model: Model) -> bool:
    """Whether a model's network is the library's, and knows pixels as the library does."""
    return model.preset.network.name == "diffusers-unet" and model.preset.input == "full-range"


def write_pipeline(model: Model, options: SamplerOptions, folder: Path, out: Path) -> list[str]:
    """Writes a native model into an empty folder; returns what its user should know, in lines.

    Args:
        out: what the folder will be called.

    Raises:
        UserError: the sampler is guided, which no pipeline of the library does.
    """
    guidance_options = {name for name in ("guidance", "autoguidance") if getattr(options, name) not in (None, 1)}
    if guidance_options:
        raise UserError(f"`{min(guidance_options)}`: a pipeline of diffusers is not guided; leave it out")
    sampler, steps = model.sampler(options)
    notes = _differences(sampler, steps, model.T)
    scheduler, pipeline = _scheduler(model, sampler)
    weights, unlabelled = _weights(model)
    (folder / "unet").mkdir()
    (folder / "scheduler").mkdir()
    index: dict[str, Any] = {"_class_name": pipeline}
    if model.classes:
        index = {"_class_name": OWN_PIPELINE, "class_names": model.classes, "unlabelled_row": unlabelled}
        _copy_program("labelled", folder)
    parts = {"scheduler": ["diffusers", scheduler["_class_name"]], "unet": ["diffusers", NETWORK]}
    write_json(folder / INDEX, index | parts)
    write_json(folder / "unet" / CONFIG, _network(model, weights))
    write_json(folder / "scheduler" / SCHEDULER, scheduler)
    write_safetensors(folder / "unet" / WEIGHTS, weights, "pt", entry="format")
    call = {"num_inference_steps": len(steps) - 1}
    if scheduler["_class_name"] == "DDIMScheduler":
        call |= {"eta": sampler.parameters.get("eta", 0.0)} if sampler.parameters.get("eta") else {}
        call |= {"use_clipped_model_output": True} if sampler.clip else {}
    return [*notes, *_range_notes(model), _usage(out, bool(model.classes), call | _without_pictures(model))]


def write_graph_pipeline(model: Model, folder: Path, out: Path) -> list[str]:
    """Writes the files that make a folder of a model's graphs a pipeline, see :func:`write_pipeline`."""
    write_json(folder / INDEX, {"_class_name": ["pipeline", "GraphPipeline"], "graphs": GRAPHS})
    _copy_program("graphs", folder)
    return [*_range_notes(model), _usage(out, True, _without_pictures(model))]


def _range_notes(model: Model) -> list[str]:
    """A line on the range of images there, of a model that was trained on arrays of another range."""
    form = model.array_format
    if form.low is None:
        return []
    low, high = form.limits
    return [f"note: images there are in 0 to 1, which stand for {low:g} to {high:g}"]


def _without_pictures(model: Model) -> dict[str, Any]:
    """The argument with which a pipeline returns arrays, for a model whose channels are no colours."""
    return {} if channels_across(model.image_shape[0]) == 1 else {"output_type": "np"}


def _copy_program(name: str, folder: Path) -> None:
    (folder / PIPELINE).write_text((TEMPLATES / f"{name}.py.txt").read_text(encoding="utf-8"), encoding="utf-8")


def _usage(out: Path, runs_code: bool, call: dict[str, Any]) -> str:
    """A line on how a pipeline is opened and called."""
    trust = f", trust_remote_code=True), which runs its {PIPELINE}" if runs_code else ")"
    settings = ", ".join(f"{key}={value!r}" for key, value in call.items())
    call_hint = f"; call it with {settings}" if settings else ""
    return f"note: open it with DiffusionPipeline.from_pretrained('{out}'{trust}{call_hint}"


def _differences(sampler: Sampler, steps: list[int], T: int) -> list[str]:
    """Lines on what the library's sampling does otherwise."""
    notes, count = [], len(steps) - 1
    if sampler.guidance != 1 or sampler.autoguidance != 1:
        notes.append(
            "its sampler is guided, and a pipeline of diffusers is not: their images are those without guidance"
        )
    if sampler.name not in ("ancestral", "ddim", "dpm-solver++", "cold"):
        notes.append(f"{sampler.name} has no scheduler there: it is DDIM")
    if sampler.spacing != "even":
        notes.append(f"spacing {sampler.spacing} is not there: steps are spaced evenly")
    if T % count:
        notes.append(
            f"{count} steps do not divide T = {T}: there each step goes T // {count}, which leaves noise in images"
        )
    return [f"note: {line}" for line in notes]


def _scheduler(model: Model, sampler: Sampler) -> tuple[dict[str, Any], str]:
    """(the scheduler's configuration, the class of the pipeline)."""
    degradation = model.denoiser.degradation
    assert isinstance(degradation, GaussianNoise)
    alphas = to_full_range(degradation.alphas_cumprod[1:])
    their_names = {ours: name for name, ours in PREDICTIONS.items()}
    config: dict[str, Any] = {
        "num_train_timesteps": model.T,
        "trained_betas": betas_of(alphas),
        "prediction_type": their_names[model.preset.prediction],
        "timestep_spacing": "trailing",
    }
    if sampler.name == "ancestral":
        variance = next(name for name, ours in VARIANCES.items() if ours == sampler.parameters["variance"])
        more = {"_class_name": "DDPMScheduler", "variance_type": variance, "clip_sample": sampler.clip}
        return more | config, "DDPMPipeline"
    if sampler.name == "dpm-solver++":
        more = {"_class_name": "DPMSolverMultistepScheduler", "thresholding": sampler.clip}
        return more | config | {"rescale_betas_zero_snr": float(alphas[-1]) < ZERO_ALPHA}, "DDPMPipeline"
    return {"_class_name": "DDIMScheduler", "clip_sample": sampler.clip} | config, "DDIMPipeline"


def _weights(model: Model) -> tuple[dict[str, Tensor], int | None]:
    """(the network's weights by the library's names, the row of no label): that row is the last one, and left out where
    the model does not work without a label."""
    state = model.denoiser.state_dict()
    weights = {key.removeprefix(PREFIX): value.contiguous() for key, value in state.items() if key.startswith(PREFIX)}
    if not model.classes:
        return weights, None
    table = weights[TABLE]
    if not model.works_without_label:
        return weights | {TABLE: table[1:].clone()}, None
    return weights | {TABLE: torch.cat([table[1:], table[:1]])}, len(table) - 1


def _network(model: Model, weights: dict[str, Tensor]) -> dict[str, Any]:
    channels, height, width = model.image_shape
    return {
        "_class_name": NETWORK,
        **model.preset.network.parameters,
        "sample_size": height if height == width else [height, width],
        "in_channels": channels,
        "out_channels": channels,
        "class_embed_type": None,
        "num_class_embeds": len(weights[TABLE]) if model.classes else None,
        "num_train_timesteps": model.T,
    }
