"""The runs of a study: planned and checked before anything is written, then trained from where each is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from diffcli.checkpoints.model_file import read_checkpoint
from diffcli.checkpoints.runs import Run, best_checkpoint, find_run, is_free, run_preset
from diffcli.config.build import load_source, path_of, resolve, resolve_prior
from diffcli.config.presets import load_preset
from diffcli.config.schema import Component, Preset, seconds, validate_stored
from diffcli.data.label_names import label_notes, label_numbers
from diffcli.evaluation.cas import cas_size
from diffcli.studies.study_files import effort_of, evaluation_of, folder_of
from diffcli.studies.study_schema import Budget, Reconstructions, Study, StudyEvaluation, StudyModel
from diffcli.training.options import TrainOptions
from diffcli.training.pace import time_spent
from diffcli.training.plan import Plan, plan
from diffcli.training.resume import MAY_CHANGE, changes
from diffcli.training.run import run_plan
from diffcli.utils.console import note
from diffcli.utils.devices import Devices
from diffcli.utils.distributed import is_first
from diffcli.utils.errors import UserError, unknown_name

OF_A_GIVEN_RUN = MAY_CHANGE | {"training.seed", "training.epochs", "sampler", "prior"}
"""In what a run that is handed to a study may differ from the study's model: the study measures what is there."""


@dataclass(frozen=True)
class Member:
    """A run of a study.

    Args:
        label: of its model.
        seed: of its training, None the preset's own.
        training: how it is trained; None where the run was given.
    """

    label: str
    seed: int | None
    run: Run
    training: TrainOptions | None = None

    @property
    def name(self) -> str:
        """The label, with the seed where the model has several."""
        return self.label if self.seed is None else f"{self.label}, seed {self.seed}"


@dataclass(frozen=True)
class Place:
    """The place of a study's trainings, and the devices that they run on."""

    out: Path
    data_dir: Path | str | None = None
    devices: Devices = field(default_factory=Devices)
    quiet: bool = False


def members(study: Study, budget: Budget, run_names: Mapping[str, Sequence[str]], place: Place) -> list[Member]:
    """The runs of a study, in the order of its models.

    Args:
        run_names: by label, the runs to take as they are.

    Raises:
        UserError: a given run is not there or is of another model.
    """
    labels = [label for label in study.models if label not in budget.without]
    for label in run_names:
        if label not in labels:
            raise UserError(f"`run`: {unknown_name('model', label, labels)}")
    result = []
    for label in labels:
        if label in run_names:
            runs = [find_run(name) for name in run_names[label]]
            seeds = [run_preset(run).training.seed if len(runs) > 1 else None for run in runs]
            result += [Member(label, seed, run) for seed, run in zip(seeds, runs, strict=True)]
        else:
            for seed in study.seeds_of(label):
                training = _training(study, budget, label, seed, place)
                result.append(Member(label, seed, Run(Path(str(training.out))), training))
    return result


def _training(study: Study, budget: Budget, label: str, seed: int | None, place: Place) -> TrainOptions:
    model, effort = study.models[label], effort_of(budget, label)
    values: dict[str, Any] = {"training.epochs": effort.epochs, "training.max_time": effort.max_time}
    values |= {"training.seed": seed, "sampler.steps": evaluation_of(study, budget, label).steps}
    overrides = model.set | {key: value for key, value in values.items() if value is not None}
    if effort.epochs is not None and "training.sample_epochs" not in model.set:
        overrides["training.sample_epochs"] = _sample_epochs(model, effort.epochs)
    return TrainOptions(
        model.preset,
        overrides,
        out=place.out / folder_of(label, seed),
        data_dir=place.data_dir,
        limit_batches=effort.limit_batches,
        devices=place.devices,
        quiet=place.quiet,
    )


def _sample_epochs(model: StudyModel, epochs: int) -> list[int]:
    """The preset's epochs of samples that a training of so many epochs reaches, and its last; of a short one its first
    and last."""
    _, preset = load_preset(model.preset, model.set)
    earlier = [epoch for epoch in preset.training.sample_epochs if epoch < epochs]
    return [*(earlier or [1]), epochs] if epochs > 1 else [1]


def check(members: Sequence[Member], study: Study, budget: Budget, place: Place) -> None:
    """Plans every training, and compares what is there with it; writes nothing.

    Raises:
        UserError: a model cannot be trained or measured as the study says, or a folder holds something else.
    """
    for member in members:
        model, is_given = study.models[member.label], member.training is None
        options = member.training or TrainOptions(model.preset, model.set, data_dir=place.data_dir)
        new_plan = plan(options)
        preset = new_plan.preset
        _check_label(new_plan, model)
        _check_measurable(new_plan, model, evaluation_of(study, budget, member.label), place, label=member.label)
        if is_given:
            best_checkpoint(member.run)
            _check_given(member, preset)
        elif member.run.preset_file.is_file():
            _check_begun(member, preset, options)
        elif member.run.folder.exists() and not is_free(member.run):
            raise UserError(f"`out`: {member.run.folder} holds something else than a run; name a new folder")


def reconstructions_of(evaluation: StudyEvaluation, label: str) -> list[Reconstructions]:
    """The groups of reconstructions that are measured of a model."""
    return [group for group in evaluation.reconstructions if not group.models or label in group.models]


def _check_measurable(
    new_plan: Plan, model: StudyModel, evaluation: StudyEvaluation, place: Place, *, label: str
) -> None:
    """Checks that a model can be measured, before hours of training.

    Raises:
        UserError: it has fewer steps than are asked for, or not that t, that prior, that label or as many images.
    """
    preset, degradation = new_plan.preset, new_plan.module.denoiser.degradation
    for steps in (evaluation.steps, evaluation.by_epoch.steps if evaluation.by_epoch else None):
        path_of(preset.sampler, degradation, steps)
    starts: set[tuple[int | None, int | None, float, int]] = set()
    for group in reconstructions_of(evaluation, label):
        steps = len(path_of(preset.sampler, degradation, group.steps or evaluation.steps)) - 1
        # z_T has two names.
        ts = [None if t == degradation.T else t for t in group.t]
        group_starts = set(product(ts, group.bits, group.noise, [steps]))
        if common := group_starts & starts:
            t, bits, noise, steps = common.pop()
            raise UserError(
                f"evaluation.reconstructions of '{label}': two groups start from t {t or 'T'}, bits {bits or 'all'}, "
                f"noise {noise:g}, in {steps} steps from T; name it in one"
            )
        starts |= group_starts
        for t in group.t:
            if t is not None and t > degradation.T:
                raise UserError(
                    f"evaluation.reconstructions.t of '{label}' must be in 1..{degradation.T}, its steps; got {t}"
                )
    for prior in model.priors:
        if prior != preset.prior.name:
            resolve_prior(Component(name=prior), degradation)
    if "cas" in evaluation.metrics:
        cas_size(evaluation.n_cas, load_source(preset, place.data_dir))


def _check_label(new_plan: Plan, model: StudyModel) -> None:
    """Checks that a model can be told the label that it is measured with, and says how it is taken where there are two
    ways.

    Raises:
        UserError: it cannot.
    """
    names = new_plan.preset.labels.names if new_plan.preset.labels else []
    label_numbers(
        model.label, names, untrained_classes=new_plan.untrained_classes, works_without=new_plan.works_without_label
    )
    if not new_plan.options.quiet and is_first():
        for line in label_notes(model.label, names):
            note(line)


def _check_given(member: Member, preset: Preset) -> None:
    """Checks that a run which is handed over is one of the study's model."""
    for key, way_out in _changed_keys(member.run, preset).items():
        if key not in OF_A_GIVEN_RUN and key.partition(".")[0] not in OF_A_GIVEN_RUN:
            raise UserError(f"`run` {member.run.folder} is no run of '{member.label}': {key} is another; {way_out}")


def _check_begun(member: Member, preset: Preset, options: TrainOptions) -> None:
    """Checks that a run which is there is the study's own."""
    advice = "name a new folder"
    # What the study itself decides, such as the sampler's steps, its models' keys do not change.
    ways_out = {
        key: advice if key in options.overrides else f"{advice}, or {way}"
        for key, way in _changed_keys(member.run, preset).items()
        if key not in MAY_CHANGE
    }
    ways_out |= {"limit_batches": advice} if member.run.info().get("limit_batches") != options.limit_batches else {}
    for key, way_out in ways_out.items():
        raise UserError(
            f"`out`: {member.run.folder} holds a run of another study or budget: {key} is another; {way_out}"
        )


def _changed_keys(run: Run, preset: Preset) -> dict[str, str]:
    """The keys in which a run's preset differs, of a checkpoint, which says best what was trained; by key, how the
    study's model would be that of the run."""
    run_values = run_preset(run)
    if run.last.is_file():
        run_values = validate_stored(read_checkpoint(run.last)["hyper_parameters"]["preset"], f"checkpoint {run.last}")
    before, after = resolve(run_values).preset.model_dump(), preset.model_dump()
    return {
        key: f"to take the run, give its model set: {{{key}: {_value(before, key)}}} in the study's file, where it "
        f"has {_value(after, key)}"
        for key in changes(before, after)
    }


def _value(values: Any, key: str) -> str:
    """A value below a dotted key as YAML in a line; null where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return yaml.safe_dump(values, default_flow_style=True, width=math.inf).removesuffix("\n...\n").strip()


def finish(member: Member) -> None:
    """Trains a run to its end, from where it is."""
    options = member.training
    if options is None:
        return
    new_plan = plan(options)
    if not member.run.preset_file.is_file():
        run_plan(new_plan)
        return
    content = read_checkpoint(member.run.last) if member.run.last.is_file() else None
    training = new_plan.preset.training
    steps = content["global_step"] if content else 0
    is_over = (
        training.max_time is not None and content is not None and time_spent(content) >= seconds(training.max_time)
    )
    if steps < training.epochs * new_plan.data.batches_per_epoch and not is_over:
        run_plan(replace(new_plan, run=member.run))
