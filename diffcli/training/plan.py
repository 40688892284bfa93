"""The plan of a training, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from diffcli.checkpoints.images import with_images
from diffcli.checkpoints.model_file import check_weights, read_checkpoint
from diffcli.checkpoints.runs import Run, find_run, run_preset
from diffcli.config.build import ResolvedPreset, number_labels, read_source, resolve, splits, with_classes
from diffcli.config.plugins import check_loaded
from diffcli.config.presets import preset_of, preset_values, to_yaml, with_overrides
from diffcli.config.registry import components_of, needed_by
from diffcli.config.schema import Preset, seconds, validate, validate_stored
from diffcli.data.clusters import check_clusters
from diffcli.data.datamodule import ImageDataModule
from diffcli.data.datasets import NO_LABEL, Inventory
from diffcli.data.label_names import check_nameable
from diffcli.inference.loading import model_of
from diffcli.training.cautions import replaced_keys, shortness
from diffcli.training.distillation import STUDENT, DistillationModule, student_values
from diffcli.training.initial_weights import (
    Beginning,
    InitialModel,
    begin_from,
    initial_model,
    recorded_model,
)
from diffcli.training.loggers import check_loggers
from diffcli.training.module import DiffusionModule
from diffcli.training.options import TrainOptions
from diffcli.training.outlook import Outlook, outlook
from diffcli.training.pace import time_spent
from diffcli.training.recipes import OwnPictures, own_pictures
from diffcli.training.resume import check_changes
from diffcli.training.trainer import check_processes
from diffcli.training.trial import check_plugins
from diffcli.utils.devices import ACCELERATORS
from diffcli.utils.errors import UserError
from diffcli.utils.hashing import of_images

DEFAULT_LOGGERS = ("tensorboard",)


@dataclass(frozen=True)
class Plan:
    """A checked training, before anything is written."""

    name: str
    preset: Preset
    module: DiffusionModule
    data: ImageDataModule
    options: TrainOptions
    run: Run | None = None
    """The run that is gone on with."""
    skipped: tuple[str, ...] = ()
    """Files of the data set that were left out, each with the reason."""
    inventory: Inventory | None = None
    """The inventory of a folder of images."""
    data_notes: tuple[str, ...] = ()
    """Lines on arrays that a user should read."""
    images: str | None = None
    """The place of the folder of images: the preset's ``data.path``, or of a run that is gone on with, where they are
    by now."""
    replacements: tuple[str, ...] = ()
    """The keys of the preset that no longer hold, as an override replaced a whole part of it."""
    test_images: int = 0
    """Images that are held out for tests."""
    pictures: OwnPictures | None = None
    """The folder of pictures that the preset was chosen for."""
    beginning: Beginning | None = None
    """The weights that it takes of another model."""

    @property
    def untrained_classes(self) -> list[str]:
        """The names of the labels that no training image has."""
        labels = self.preset.labels
        if labels is None or labels.clusters:
            return []
        numbers = set(self.data.train.labels.tolist())
        return [name for number, name in enumerate(labels.names) if number not in numbers]

    @property
    def works_without_label(self) -> bool:
        """Whether the training has images without a label, or hides some."""
        labels = self.preset.labels
        return labels is None or labels.works_without(
            0 if labels.clusters else self._without_label / len(self.data.train)
        )

    @property
    def _without_label(self) -> int:
        """Training images that have no label in the data set."""
        return int((self.data.train.labels == NO_LABEL).sum())

    @property
    def _untrained_validation(self) -> int:
        """Validation images that have no label of a training image; of clusters all have one."""
        labels = self.preset.labels
        if labels is None or labels.clusters:
            return 0
        return int((~torch.isin(self.data.val.labels, self.data.train.labels)).sum())

    @property
    def first_notes(self) -> list[str]:
        """Notes on the initial weights and on the images before a training, in lines."""
        lines = list(self.beginning.notes) if self.beginning is not None else []
        lines += [] if self.pictures is None else self.pictures.lines(self.preset)
        lines += [] if self.inventory is None else [str(self.inventory)]
        lines += self.data_notes
        lines += [self.split] if self.inventory is not None or self.data_notes else []
        if names := self.untrained_classes:
            lines.append(
                f"note: no training image is of class {', '.join(names):.200}: too few images; its label cannot be "
                "asked for"
            )
        if self.preset.labels is not None and not self.preset.labels.clusters and self._without_label:
            lines.append(f"note: {self._without_label:,} training images have no label")
        if not self.works_without_label and (count := self._untrained_validation):
            lines.append(
                f"note: {count:,} validation images have no label that training images have, and labels.dropped: 0 "
                "trains no "
                "estimate without: the validation loss takes them all the same"
            )
        return lines

    @property
    def split(self) -> str:
        """The numbers of images for training, validation and tests, in words."""
        counts = len(self.data.train), len(self.data.val), self.test_images
        return "{:,} training, {:,} validation and {:,} test images".format(*counts)

    @property
    def loggers(self) -> list[str]:
        """The names of the loggers, each once."""
        run_loggers = self.run.info().get("loggers") if self.run else None
        return list(dict.fromkeys(self.options.logger or run_loggers or DEFAULT_LOGGERS))

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(weight.numel() for weight in self.module.parameters() if weight.requires_grad)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what a user may not expect of the training, a line each."""
        return self.notes_after(self.all_steps)

    @property
    def all_steps(self) -> int:
        """Steps of all epochs."""
        return self.preset.training.epochs * self.data.batches_per_epoch

    def notes_after(self, steps: int) -> tuple[str, ...]:
        """The :attr:`notes`, where the training ends after ``steps`` steps."""
        quick_look = self.options.limit_batches is not None or self.run is not None
        short = None if quick_look else shortness(self.preset, self.data, steps)
        few = None if self.pictures is None else self.pictures.caution(self.preset, self.all_steps)
        return (*self.replacements, *(line for line in (few, short) if line is not None))

    def outlook(self) -> Outlook | None:
        """The time and memory that the training will take, None on an accelerator that only Lightning knows; the plan
        cannot be carried out after it, as a few of its steps are.

        Raises:
            UserError: see :func:`~diffcli.training.outlook.outlook`.
        """
        if self.options.devices.accelerator not in ACCELERATORS:
            return None
        return outlook(self.preset, self.module, self.data, self.options.devices)

    def forecast(self) -> Outlook | None:
        """The :meth:`outlook` of a copy of the model, so that the plan can be carried out after it."""
        with torch.random.fork_rng(devices=[]):
            return replace(self, module=deepcopy(self.module)).outlook()

    def describe(self) -> str:
        """The resolved preset as YAML, with the sizes that follow from it as comments."""
        sizes = {
            "parameters": self.parameters,
            "batches per epoch": self.data.batches_per_epoch,
            "training images": len(self.data.train),
            "validation images": len(self.data.val),
            "test images": self.test_images,
        }
        lines = [*(f"{key}: {value:,}" for key, value in sizes.items()), *self.first_notes]
        return to_yaml(self.preset) + "".join(f"# {line}\n" for line in lines)


def plan(options: TrainOptions, download: bool = True) -> Plan:
    """Loads the data and builds the model; writes nothing into run folders.

    Raises:
        UserError: the preset or its data are not usable, or the run cannot be gone on with.
    """
    check_processes(options.devices)
    if options.resume is None:
        name_of_initial = options.init if options.teacher is None else options.teacher
        initial = None if name_of_initial is None else initial_model(name_of_initial)
        source = None if options.preset is None else preset_values(options.preset)
        trained_in: Run | None = None
        if source is None and initial is not None:
            source, trained_in = _values_of(initial, options)
        pictures = None if options.images is None else own_pictures(options, source)
        if pictures is not None:
            source = (
                pictures.run_name if options.preset or initial is None else pictures.folder_name,
                pictures.values,
            )
        assert source is not None
        name, values = source
        preset = preset_of(values, _with_teacher(options), f"preset {name}")
        if preset.distillation is not None and options.teacher is None:
            if options.init is not None:
                raise UserError("`init` does not go with distillation: a student begins from its teacher; leave it out")
            initial = initial_model(preset.distillation.teacher)
        teacher = None if preset.distillation is None else initial
        new_plan = _plan(name, preset, options, options.limit_batches, download, trained_in=trained_in, teacher=teacher)
        _check_labels(new_plan)
        if initial is not None:
            beginning = begin_from(initial, new_plan.module.denoiser, new_plan.preset)
            new_plan = replace(new_plan, beginning=beginning)
        return replace(
            new_plan, pictures=pictures, replacements=replaced_keys(values, options.overrides, new_plan.preset)
        )
    return _plan_resumed(options.resume if isinstance(options.resume, Run) else find_run(str(options.resume)), options)


def _with_teacher(options: TrainOptions) -> Mapping[str, Any]:
    """The overrides of a new run, the teacher among them where it is named beside a preset."""
    if options.teacher is None or options.preset is None:
        return options.overrides
    return {**options.overrides, "distillation.teacher": _name_of(options.teacher)}


def _name_of(model: Run | Path | str) -> str:
    """The name that a model is loaded by, as text."""
    return str(model.folder if isinstance(model, Run) else model)


def _values_of(initial: InitialModel, options: TrainOptions) -> tuple[tuple[str, Any], Run | None]:
    """((name, values) of the preset of the model which a run begins from, the run that knows where its images are).

    Other images have classes of their own.
    """
    check_loaded(initial.stored_model.plugins, initial.stored_model.title)
    name, values = initial.stored_model.preset_name, initial.preset.model_dump()
    if options.teacher is not None:
        name, values = name + STUDENT, student_values(initial.preset, _name_of(options.teacher))
    data_keys = {"data", "data.name", "data.path"} & {key.strip() for key in options.overrides}
    if options.images is None and not data_keys:
        return (name, values), initial.run
    if values["labels"] is not None:
        values["labels"] |= {"classes": None}
    return (name, values), None


def _plan(
    name: str,
    preset: Preset,
    options: TrainOptions,
    limit_batches: int | None,
    download: bool = True,
    *,
    trained_in: Run | None = None,
    teacher: InitialModel | None = None,
) -> Plan:
    """The plan of a training.

    Args:
        trained_in: the run that knows where the images are by now.
        teacher: of a preset with distillation.
    """
    resolved_preset = resolve(preset)
    preset = resolved_preset.preset
    preset_here = preset if trained_in is None else with_images(preset, trained_in, argument="data.path")
    source = read_source(preset_here, options.data_dir, download)
    preset = with_classes(preset, source.classes, any_order=True)
    source = number_labels(preset, source)
    training = preset.training
    train, val = splits(preset, source)
    if not len(train) or not len(val):
        raise UserError(
            f"training.val_share {training.val_share} leaves no images on one side of {len(source.development)}"
        )
    if preset.labels is not None and preset.labels.clusters:
        check_clusters(preset.labels.clusters, len(train))
    torch.manual_seed(training.seed)  # the network's initial weights
    module = _module(replace(resolved_preset, preset=preset), name, teacher)
    check_plugins(preset, module.denoiser, train.image_shape)
    data = ImageDataModule((train, val), training.batch_size, training.seed, limit_batches, source.mirrored)
    return Plan(
        name,
        preset,
        module,
        data,
        options,
        skipped=source.skipped,
        inventory=source.inventory,
        data_notes=source.notes,
        images=path if isinstance(path := preset_here.data.parameters.get("path"), str) else None,
        test_images=len(source.test),
    )


def _module(resolved_preset: ResolvedPreset, name: str, teacher: InitialModel | None) -> DiffusionModule:
    """The module that is trained, by a teacher where there is one."""
    plugins = needed_by(components_of(resolved_preset.preset))
    if teacher is None:
        return DiffusionModule(resolved_preset, name, plugins)
    return DistillationModule(resolved_preset, name, plugins, teacher=model_of(teacher.stored_model))


def _check_labels(new_plan: Plan) -> None:
    """Checks that the labels of a new training can be learnt from its images, and asked for.

    Raises:
        UserError: none has a label, no label cannot be asked for, or guidance needs images without.
    """
    labels = new_plan.preset.labels
    if labels is None:
        return
    if len(new_plan.untrained_classes) == len(labels.names):
        raise UserError("labels: none of the training images has a label; leave labels out, or take labels.clusters")
    check_nameable(labels.names)
    if new_plan.preset.sampler.guidance != 1 and not new_plan.works_without_label:
        raise UserError(
            "sampler.guidance needs an estimate without label, which labels.dropped: 0 does not train; hide the "
            "labels of some "
            "images, for example labels.dropped: 0.1"
        )


def _plan_resumed(run: Run, options: TrainOptions) -> Plan:
    """The plan that goes on with a run, the overrides applied to its own preset.

    A run that was killed before its first checkpoint starts from its beginning.

    Raises:
        UserError: it is done, a change is none that a resume can make, or the images are not those of its beginning.
    """
    run_values = run_preset(run)
    check_loaded(run.info().get("plugins", {}), str(run.folder))
    new_preset = validate(with_overrides(run_values.model_dump(), options.overrides), str(run.folder))
    content = read_checkpoint(run.last) if run.last.is_file() else None
    # The checkpoint says what was trained, whatever was written into the preset's file since.
    old_preset = (
        validate_stored(content["hyper_parameters"]["preset"], f"checkpoint {run.last}") if content else run_values
    )
    info = run.info()
    name = content["hyper_parameters"]["preset_name"] if content else info.get("preset", run.folder.name)
    limit_batches = options.limit_batches
    if "limit_batches" in info:
        old_limit = info["limit_batches"]
        if limit_batches not in (None, old_limit):
            raise UserError(
                f"`limit_batches` {limit_batches}: the run began with {old_limit or 'all'}, and its epochs stay as long"
            )
        limit_batches = old_limit
    check_loggers(info.get("loggers", ()) if not options.logger else ())
    # Of a training by a teacher it is that, which is asked to the end.
    needs_initial = content is None or new_preset.distillation is not None
    initial = recorded_model(run) if needs_initial else None
    new_plan = _plan(
        name,
        new_preset,
        options,
        limit_batches,
        trained_in=None if _names_images(new_preset, options, run) else run,
        teacher=None if new_preset.distillation is None else initial,
    )
    check_changes(resolve(old_preset).preset, new_plan.preset)
    _check_images(run, new_plan)
    beginning = Beginning(info["init"], ()) if isinstance(info.get("init"), dict) else None
    if content is not None:
        _check_resumable(run, new_plan, content)
    elif initial is not None:
        beginning = begin_from(initial, new_plan.module.denoiser, new_plan.preset)
    new_plan = replace(new_plan, beginning=beginning)
    return replace(
        new_plan, run=run, replacements=replaced_keys(run_values.model_dump(), options.overrides, new_plan.preset)
    )


def _names_images(preset: Preset, options: TrainOptions, run: Run) -> bool:
    """Whether a resume says where the images are: by an override, or in the preset's file, which somebody has
    changed."""
    place = run.info().get("data_path")
    is_changed = isinstance(place, dict) and place.get("preset") != preset.data.parameters.get("path")
    return is_changed or bool({"data", "data.path"} & {key.strip() for key in options.overrides})


def _check_images(run: Run, new_plan: Plan) -> None:
    old_facts, new_facts = run.info(), images_of(new_plan.data)
    if any(key in old_facts and old_facts[key] != value for key, value in new_facts.items()):
        images = "training_images", "validation_images"
        counts = [sum(int(facts.get(key, 0)) for key in images) for facts in (old_facts, new_facts)]
        raise UserError(
            f"the images of data {new_plan.preset.data.name} are not those that the run began with "
            f"({counts[0]:,} then, {counts[1]:,} now): a new split would validate on what was trained on; "
            "put them back as they were, or train a new run"
        )


def images_of(data: ImageDataModule) -> dict[str, Any]:
    """Counts and checksums that identify a run's training and validation images, with their labels."""
    train, val = data.train, data.val
    return {
        "training_images": len(train),
        "validation_images": len(val),
        "training_sha256": of_images(train.images, train.labels),
        "validation_sha256": of_images(val.images, val.labels),
    }


def _check_resumable(run: Run, new_plan: Plan, content: dict[str, Any]) -> None:
    if not {"optimizer_states", "loops", "pytorch-lightning_version"} <= set(content):
        raise UserError(
            f"checkpoint {run.last} holds weights alone, without what a training goes on from (its optimizer's state "
            "and its position): put back the file that the training wrote, or train a new run"
        )
    check_weights(f"checkpoint {run.last}", content["state_dict"], new_plan.module)
    epochs, batches = new_plan.preset.training.epochs, new_plan.data.batches_per_epoch
    if content["global_step"] >= epochs * batches:
        count = content["global_step"] // batches
        command = f"diffcli train `resume` {quote(str(run.folder))} `training.epochs` {count + 10}"
        raise UserError(f"{run.folder} is done: {count} epochs; train on with: {command}")
    budget = new_plan.preset.training.max_time
    if budget is not None and time_spent(content) >= seconds(budget):
        command = f"diffcli train `resume` {quote(str(run.folder))} `training.max_time` TIME"
        raise UserError(f"{run.folder} is done: its {budget} are spent; train on with a longer time: {command}")
