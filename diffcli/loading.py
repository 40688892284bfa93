"""Trained models by name: from a run, a preset's newest run, or a checkpoint."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from diffcli.assembly import build_denoiser, image_shape_of, resolve
from diffcli.checkpoints import check_weights, read_checkpoint
from diffcli.computing import check_compiler, precision_of
from diffcli.config import validate
from diffcli.devices import ONE_DEVICE, Devices, Processes, launch
from diffcli.errors import UserError
from diffcli.model import Model
from diffcli.plugins import check_loaded
from diffcli.runs import Run, best_checkpoint, find_run


def find_checkpoint(name: Run | Path | str) -> tuple[Run | None, Path]:
    """The checkpoint that a name stands for, see :func:`load`, and the run that it belongs to.

    Raises:
        UserError: there is none.
    """
    if isinstance(name, Run):
        return name, best_checkpoint(name)
    path = Path(os.path.expanduser(name))
    if path.suffix == ".ckpt" or path.is_file() or (isinstance(name, Path) and not path.is_dir()):
        folder = path.parent.parent
        return Run(folder) if (folder / "preset.yaml").is_file() else None, path
    run = find_run(str(name))
    return run, best_checkpoint(run)


def load(
    name: Run | Path | str = "last", *, data_dir: Path | str | None = None, devices: Devices = ONE_DEVICE
) -> Model:
    """A trained model.

    Args:
        name: a run, its folder, a preset's name (its newest run), ``last`` (the newest of all), or a checkpoint file.
        data_dir: folder of the data sets, which only some priors need; None is ``DIFFCLI_DATA``, else ``data``.
        devices: what it computes on.

    Raises:
        UserError: there is none, it cannot be read, or the devices are not there.
    """
    run, checkpoint = find_checkpoint(name)
    model = read_model(checkpoint)
    return started(replace(model, run=run, data_dir=data_dir), devices)


def started(model: Model, devices: Devices, processes: Processes | None = None) -> Model:
    """A model on the devices that were asked for, computing as they say.

    Args:
        processes: those that are started already.

    Raises:
        UserError: an option is not usable on this machine.
    """
    precision = precision_of(devices)
    processes = processes or launch(devices)
    if devices.compile:
        check_compiler(processes.device)
    return model.on(processes, precision, devices.compile)


def read_model(checkpoint: Path) -> Model:
    """A checkpoint's model, on the CPU and in evaluation mode.

    Raises:
        UserError: see :func:`~diffcli.checkpoints.read_checkpoint`; or its weights do not fit the network that its preset
            names.
    """
    content = read_checkpoint(checkpoint)
    about = content["hyper_parameters"]
    check_loaded(about.get("plugins") or {}, f"checkpoint {checkpoint}")
    preset = resolve(validate(about["preset"], f"checkpoint {checkpoint}"))
    image_shape = image_shape_of(preset)
    denoiser = build_denoiser(preset, image_shape)
    try:
        weights = {key.removeprefix("denoiser."): value for key, value in content["state_dict"].items()}
        check_weights(checkpoint, weights, denoiser)
        denoiser.load_state_dict(weights)
        epoch = int(content.get("epoch", 0)) + 1
        guide = build_denoiser(preset, image_shape) if content.get("guide") else None
        if guide is not None:
            check_weights(checkpoint, content["guide"], guide)
            guide.load_state_dict(content["guide"])
            guide.eval().requires_grad_(False)
        shares = tuple(float(share) for share in content.get("class_shares", ()))
        clusters = content["clusters"].float() if preset.labels and preset.labels.clusters else None
        fitted = {str(name): dict(state) for name, state in content.get("priors", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"checkpoint {checkpoint} is damaged: it holds something else than weights") from error
    return Model(
        checkpoint=checkpoint,
        preset_name=str(about["preset_name"]),
        preset=preset,
        image_shape=image_shape,
        denoiser=denoiser.eval().requires_grad_(False),
        epoch=epoch,
        fitted=fitted,
        guide=guide,
        class_shares=shares,
        clusters=clusters,
    )
