"""What ``sample`` and ``eval`` share: which model, on which device, with which sampler."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from diffcli.assembly import build_prior, load_source, resolve, steps_of
from diffcli.config import Component, Preset, Sampler
from diffcli.data.datasets import ImageSet, Source, split
from diffcli.devices import Devices, Processes, launch
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.errors import UserError, unknown
from diffcli.generation import Sampling, fit_prior
from diffcli.model import Model, load_model
from diffcli.presets import sampler_named
from diffcli.runs import Run, best_checkpoint, find_run


@dataclass(frozen=True)
class Choice:
    """The options that ``sample`` and ``eval`` share, as given; None means the preset's own."""

    run: str | None = None
    checkpoint: Path | None = None
    prior: str | None = None
    sampler: str | None = None
    steps: int | None = None
    seed: int = 0
    batch_size: int = 128
    hardware: Devices = field(default_factory=Devices)
    data_dir: Path = Path("data")


def pick_checkpoint(choice: Choice) -> tuple[Run | None, Path]:
    """The checkpoint that was asked for (the newest run's best one by default) and the run that it belongs to.

    Raises:
        UserError: there is none.
    """
    if choice.checkpoint is not None:
        if choice.run is not None:
            raise UserError("--run and --checkpoint name two models; give one of them")
        folder = choice.checkpoint.parent.parent
        return Run(folder) if (folder / "preset.yaml").is_file() else None, choice.checkpoint
    run = find_run(choice.run or "last")
    return run, best_checkpoint(run)


def pick_model(choice: Choice) -> tuple[Run | None, Model]:
    """The model that was asked for and the run that it belongs to.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    run, checkpoint = pick_checkpoint(choice)
    return run, load_model(checkpoint)


def training_split(source: Source, preset: Preset) -> ImageSet:
    """The images that a preset's model was trained on."""
    train, _ = split(source.development, preset.training.val_share, preset.training.seed)
    return train


def prior_component(model: Model, name: str | None) -> Component:
    """The prior by name with its parameters, the preset's own where that is None.

    Raises:
        UserError: it is unknown, or does not fit the model's degradation.
    """
    if name is not None and name not in PRIORS:
        raise UserError(f"--prior: {unknown('prior', name, PRIORS)}")
    component = model.preset.prior if name in (None, model.preset.prior.name) else Component(name=str(name))
    return resolve(model.preset.model_copy(update={"prior": component})).prior


def pick_prior(model: Model, name: str | None, data_dir: Path) -> Prior:
    """The prior by name, the preset's own where that is None, as it was fitted when the model was trained.

    Raises:
        UserError: see :func:`prior_component`; or it was not stored and its data are missing.
    """
    component = prior_component(model, name)
    prior = build_prior(component)
    if component.name in model.priors:
        try:
            prior.load_state_dict(model.priors[component.name])
        except KeyError as error:
            raise UserError(
                f"checkpoint {model.checkpoint} is damaged: prior {component.name} lacks {error}"
            ) from error
    elif prior.needs_fit:
        images = training_split(load_source(model.preset, data_dir), model.preset).images
        fit_prior(prior, model.denoiser.degradation, images)
    return prior


def pick_sampler(model: Model, choice: Choice) -> tuple[Sampler, list[int]]:
    """The preset's sampler, but for what the options change, and its time steps, T to 0.

    Raises:
        UserError: the sampler is unknown, or an option is out of range.
    """
    if choice.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {choice.batch_size}")
    if choice.seed < 0:
        raise UserError(f"--seed must be at least 0, got {choice.seed}")
    sampler = model.preset.sampler
    if choice.sampler is not None and choice.sampler != sampler.name:
        chosen = sampler_named(choice.sampler)
        kept = {key: getattr(sampler, key) for key in ("steps", "clip") if key not in chosen.model_fields_set}
        sampler = chosen.model_copy(update=kept)
    sampler = resolve(model.preset.model_copy(update={"sampler": sampler})).sampler
    return sampler, steps_of(sampler.steps if choice.steps is None else choice.steps, model.denoiser.degradation)


def pick_sampling(model: Model, choice: Choice, processes: Processes | None = None) -> Sampling:
    """The sampling of a model: the preset's prior and sampler, but for what the options change.

    Args:
        processes: those that work on it; None starts the ones that ``choice`` asks for.

    Raises:
        UserError: an option does not fit the model, or the devices are not there.
    """
    sampler, steps = pick_sampler(model, choice)
    prior_component(model, choice.prior)
    processes = processes or launch(choice.hardware)
    prior = pick_prior(model, choice.prior, choice.data_dir)
    return Sampling(
        denoiser=model.denoiser.to(processes.device),
        prior=prior,
        sampler=sampler,
        steps=steps,
        seed=choice.seed,
        batch_size=choice.batch_size,
        processes=processes,
    )
