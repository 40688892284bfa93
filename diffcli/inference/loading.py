"""Trained models by name: from a run, a preset's newest run, a checkpoint, a model file, or among the ready ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffcli.checkpoints.diffusers_folder import is_pipeline
from diffcli.checkpoints.model_file import StoredModel, check_weights, is_model_file, read_stored, ready_models
from diffcli.checkpoints.runs import Run, best_checkpoint, check_version, no_run, run_named
from diffcli.config.build import ResolvedPreset, build_denoiser, resolve
from diffcli.config.plugins import check_loaded
from diffcli.config.schema import validate_stored
from diffcli.inference.model import Model
from diffcli.utils.compile import check_compiler, precision_of, prepare_network
from diffcli.utils.console import note
from diffcli.utils.devices import ENGINES, ONE_DEVICE, Devices, Processes, devices_of, launch
from diffcli.utils.distributed import is_first
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import user_path

if TYPE_CHECKING:
    from torch import Tensor


GRAPH_WORK = 50_000_000
"""Weights times pixels of the networks that another engine is worth the start for; the report's smallest has more."""


def find_checkpoint(name: Run | Path | str) -> tuple[Run | None, Path]:
    """The checkpoint, model file or pipeline that a name stands for, see :func:`load`, and the run that it belongs to.

    Where a ready model is taken, or could have been meant, a note says what is.

    Raises:
        UserError: there is none, or its run is of a version that is no longer read.
    """
    if not isinstance(name, (Run, Path, str)):
        raise UserError(f"a model is named by a run, a file or folder, or a name; {type(name).__name__} is none")
    if isinstance(name, Run):
        return name, best_checkpoint(name)
    path = user_path(name)
    if (
        path.suffix == ".ckpt"
        or is_model_file(path)
        or path.is_file()
        or (isinstance(name, Path) and not path.is_dir())
    ):
        parent_run = Run(path.parent.parent)
        if not parent_run.preset_file.is_file():
            return None, path
        check_version(parent_run)
        return parent_run, path
    ready = ready_models()
    file = ready.get(str(name))
    run = run_named(str(name), file)
    if run is None:
        if file is None and is_pipeline(path):
            if is_first():
                note(f"note: {path} is a pipeline of diffusers; 'diffcli import' tells what it does otherwise there")
            return None, path
        if file is None:
            raise no_run(str(name), list(ready))
        if is_first():
            note(f"note: the ready model {name} is used; no run has that name")
        return None, file
    if path.is_dir() and path.resolve() != run.folder.resolve() and is_pipeline(path) and is_first():
        note(f"note: your run {run.folder} is used; the pipeline of that name is {path.absolute()}")
    return run, best_checkpoint(run)


def load(
    name: Run | Path | str = "last",
    *,
    data_dir: Path | str | None = None,
    data: Path | str | None = None,
    devices: Devices = ONE_DEVICE,
) -> Model:
    """A trained model.

    Args:
        name: a run, its folder, a preset's name (its newest run), ``last`` (the newest of all), a ready model's name,
            the file of a checkpoint or of a model, or the folder of a pipeline of diffusers. A run comes before the
            ready model of its name.
        data_dir: folder of the data sets, which only some priors need; None is ``DIFFCLI_DATA``, else ``data``.
        data: a folder of images in place of the one that the model was trained on, where that is needed.
        devices: what it computes on.

    Raises:
        UserError: there is none, it cannot be read, or the devices are not there.
    """
    run, checkpoint = find_checkpoint(name)
    model = replace(read_model(checkpoint), run=run, data_dir=data_dir, data=data)
    model.check_data()
    return model_on_devices(model, devices_of(devices))


def model_on_devices(model: Model, devices: Devices, processes: Processes | None = None) -> Model:
    """A model on the devices that were asked for, its networks computing as they say; do that once.

    Args:
        processes: those that are started already.

    Raises:
        UserError: an option is not usable on this machine.
    """
    precision = precision_of(devices)
    processes = processes or launch(devices)
    if devices.compile:
        check_compiler(processes.device)
    if devices.engine not in ENGINES:
        raise UserError(f"`engine`: {unknown_name('engine', devices.engine, ENGINES)}")
    work = sum(weight.numel() for weight in model.denoiser.network.parameters()) * math.prod(model.image_shape[1:])
    automatic = devices.engine == "auto" and processes.device.type == "cpu" and work >= GRAPH_WORK
    description = model.preset.network.model_dump()
    for denoiser in filter(None, (model.denoiser, model.guide)):
        network = denoiser.to(processes.device).network
        denoiser.network = prepare_network(network, precision, devices.compile)
        if automatic or devices.engine == "onnxruntime":
            from diffcli.utils.engine import with_graphs

            denoiser.network = with_graphs(network, denoiser.network, devices, precision, description)
    return replace(model, processes=processes, precision=precision)


def read_model(file: Path) -> Model:
    """The model of a checkpoint or of a model file, on the CPU and in evaluation mode.

    Raises:
        UserError: see :func:`~diffcli.checkpoints.model_file.read_stored`; or its weights do not fit the network that
            its preset names.
    """
    return model_of(read_stored(file))


def model_of(stored_model: StoredModel) -> Model:
    """A stored model, on the CPU and in evaluation mode.

    Raises:
        UserError: its preset is not valid here, or its weights do not fit the network that the preset names.
    """
    check_loaded(stored_model.plugins, stored_model.title)
    resolved_preset = resolve(
        validate_stored(stored_model.preset, stored_model.title), network=False
    )  # which is built next
    sampler = resolved_preset.preset.sampler
    if stored_model.guide is None and sampler.autoguidance != 1:
        without_guide = {"sampler": sampler.model_copy(update={"autoguidance": 1.0})}
        resolved_preset = replace(resolved_preset, preset=resolved_preset.preset.model_copy(update=without_guide))
        if is_first():
            average = "its early average of the weights (training.guide_at)"
            note(f"note: {stored_model.title} is of before {average}: no autoguidance")
    denoiser = build_denoiser(resolved_preset)
    guide = build_denoiser(resolved_preset) if stored_model.guide is not None else None
    try:
        for network, weights in ((denoiser, stored_model.weights), (guide, stored_model.guide)):
            if network is not None and weights is not None:
                check_weights(stored_model.title, weights, network)
                network.load_state_dict(weights)
                network.eval().requires_grad_(False)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{stored_model.title} is damaged: it holds something else than weights") from error
    return Model(
        checkpoint=stored_model.file,
        preset_name=stored_model.preset_name,
        resolved=resolved_preset,
        denoiser=denoiser,
        epoch=stored_model.epoch,
        prior_states=stored_model.prior_states,
        guide=guide,
        class_shares=stored_model.class_shares,
        unlabelled_share=stored_model.unlabelled_share,
        clusters=_clusters_of(stored_model, resolved_preset),
    )


def _clusters_of(stored_model: StoredModel, resolved_preset: ResolvedPreset) -> Tensor | None:
    """The centres of the clusters that are a model's labels, if they are."""
    labels = resolved_preset.preset.labels
    if labels is None or not labels.clusters:
        return None
    expected = (labels.clusters, math.prod(resolved_preset.image_shape))
    if stored_model.clusters is None or tuple(stored_model.clusters.shape) != expected:
        raise UserError(f"{stored_model.title} is damaged: it lacks the centres of its {labels.clusters} clusters")
    return stored_model.clusters.float()
