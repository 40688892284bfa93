"""A trained model, and all that one does with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffcli.checkpoints import check_weights, read_checkpoint
from diffcli.config import Preset, validate
from diffcli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from diffcli.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Model:
    """A trained model as a checkpoint holds it."""

    checkpoint: Path
    preset_name: str
    preset: Preset
    image_shape: tuple[int, int, int]
    denoiser: Denoiser
    epoch: int
    """Epochs done, counted from 1."""
    priors: dict[str, dict[str, Tensor]]
    """What each fitted prior learnt from the training split, as state dicts by name."""


def load_model(path: Path) -> Model:
    """A checkpoint's model, on the CPU and in evaluation mode.

    Raises:
        UserError: see :func:`read_checkpoint`; or its weights do not fit the network that its preset names.
    """
    from diffcli.assembly import build_denoiser, image_shape_of, resolve

    content = read_checkpoint(path)
    held = content["hyper_parameters"]
    preset = resolve(validate(held["preset"], f"checkpoint {path}"))
    image_shape = image_shape_of(preset)
    denoiser = build_denoiser(preset, image_shape)
    try:
        weights = {key.removeprefix("denoiser."): value for key, value in content["state_dict"].items()}
        check_weights(path, weights, denoiser)
        denoiser.load_state_dict(weights)
        epoch = int(content.get("epoch", 0)) + 1
        priors = {str(name): dict(state) for name, state in content.get("priors", {}).items()}
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"checkpoint {path} is damaged: it holds something else than weights") from error
    return Model(
        checkpoint=path,
        preset_name=str(held["preset_name"]),
        preset=preset,
        image_shape=image_shape,
        denoiser=denoiser.eval().requires_grad_(False),
        epoch=epoch,
        priors=priors,
    )
