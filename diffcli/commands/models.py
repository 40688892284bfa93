"""What ``sample`` and ``eval`` share: which model, on which device, with which sampler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from diffcli.assembly import build_prior, resolve, steps_of
from diffcli.config import Sampler
from diffcli.errors import UserError, unknown
from diffcli.generation import Sampling
from diffcli.runs import Model, Run, best_checkpoint, find_run, load_model

ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")


@dataclass(frozen=True)
class Choice:
    """The options that ``sample`` and ``eval`` share, as given; None means the preset's own."""

    run: str | None = None
    checkpoint: Path | None = None
    sampler: str | None = None
    steps: int | None = None
    seed: int = 0
    batch_size: int = 128
    accelerator: str = "auto"


def pick_model(choice: Choice) -> tuple[Run | None, Model]:
    """The model that was asked for (the newest run's best checkpoint by default) and the run that it belongs to.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    if choice.checkpoint is not None:
        if choice.run is not None:
            raise UserError("--run and --checkpoint name two models; give one of them")
        folder = choice.checkpoint.parent.parent
        run = Run(folder) if (folder / "preset.yaml").is_file() else None
        return run, load_model(choice.checkpoint)
    run = find_run(choice.run or "last")
    return run, load_model(best_checkpoint(run))


def pick_device(accelerator: str) -> torch.device:
    """The device that ``--accelerator`` means.

    Raises:
        UserError: it is unknown, or this machine has none.
    """
    if accelerator not in ACCELERATORS:
        raise UserError(f"--accelerator: {unknown('accelerator', accelerator, ACCELERATORS)}")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = "cuda" if accelerator == "gpu" else accelerator
    if wanted == "auto":
        wanted = next(name for name, there in available.items() if there)
    if not available[wanted]:
        raise UserError(f"--accelerator {accelerator}: PyTorch sees no such device here; use auto or cpu")
    return torch.device(wanted)


def pick_sampling(model: Model, choice: Choice) -> Sampling:
    """The sampling of a model: the preset's sampler, but for what the options change.

    Raises:
        UserError: the sampler is unknown, or the steps or the batch size are out of range.
    """
    if choice.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {choice.batch_size}")
    if choice.seed < 0:
        raise UserError(f"--seed must be at least 0, got {choice.seed}")
    sampler = model.preset.sampler
    if choice.sampler is not None and choice.sampler != sampler.name:
        sampler = Sampler(name=choice.sampler, steps=sampler.steps)
    preset = resolve(model.preset.model_copy(update={"sampler": sampler}))
    device = pick_device(choice.accelerator)
    return Sampling(
        denoiser=model.denoiser.to(device),
        prior=build_prior(preset),
        sampler=preset.sampler,
        steps=steps_of(preset.sampler.steps if choice.steps is None else choice.steps, model.denoiser.degradation),
        seed=choice.seed,
        batch_size=choice.batch_size,
        device=device,
    )
