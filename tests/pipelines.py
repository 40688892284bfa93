"""Pipelines of diffusers, made by the library itself where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

NOISY = {"beta_start": 0.001, "beta_end": 0.05, "num_train_timesteps": 100}
"""A schedule of few steps that leaves next to nothing of an image."""


def small_network(**changes: Any) -> Any:
    """A UNet2DModel of two levels with weights that are always the same."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    settings = {
        "sample_size": 16,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    }
    return diffusers.UNet2DModel(**(settings | changes)).eval()


def save_pipeline(folder: Path | str, scheduler: Any, network: Any) -> Path:
    """Saves a pipeline of a network and a scheduler, None of which is the library's default."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = scheduler or diffusers.DDPMScheduler()
    kind = diffusers.DDIMPipeline if isinstance(scheduler, diffusers.DDIMScheduler) else diffusers.DDPMPipeline
    kind(unet=network, scheduler=scheduler).save_pretrained(folder)
    return Path(folder)
