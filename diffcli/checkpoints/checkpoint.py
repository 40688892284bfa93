"""Checkpoints as they are read: nothing that a file holds is executed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.utils.errors import UserError

if TYPE_CHECKING:
    from torch import nn


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, without executing anything that it holds.

    Raises:
        UserError: it is missing, damaged, holds code, or was not written by diffcli.
    """
    import pickle

    import torch

    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; 'diffcli runs' lists the runs")
    try:
        # PyTorch does not compare the checksums that it wrote.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise UserError(f"checkpoint {path} is damaged; use another one")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} is refused: it is damaged, or holds code instead of plain weights"
        ) from error
    except UserError:
        raise
    except Exception as error:  # bytes that are damaged can raise anything
        raise UserError(f"checkpoint {path} is damaged or not a checkpoint; use another one") from error
    expected = {"preset", "preset_name", "image_shape"}
    about = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not isinstance(about, dict) or not expected <= set(about) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"checkpoint {path} was not written by diffcli: it holds no preset")
    return content


def check_weights(where: str, weights: dict[str, Any], denoiser: nn.Module) -> None:
    """Checks that weights fit a network, by name and shape.

    Args:
        where: what messages call the file that they come from.

    Raises:
        UserError: they belong to another network; the line names the first weight that does not fit.
    """
    shapes = {key: tuple(value.shape) for key, value in denoiser.state_dict().items()}
    for key in sorted(shapes.keys() | weights.keys()):
        there = tuple(weights[key].shape) if key in weights else "none"
        if there != shapes.get(key, "none"):
            raise UserError(f"{where} is of another network: {key} is {there} there and {shapes.get(key, 'none')} here")
