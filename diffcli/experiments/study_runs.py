"""The runs of a study: planned and checked before anything is written, then trained from where each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffcli.checkpoints import read_checkpoint
from diffcli.config import Preset, seconds, validate
from diffcli.devices import Devices
from diffcli.errors import UserError, unknown
from diffcli.experiments.planning import TrainOptions, plan
from diffcli.experiments.train import carry_out
from diffcli.runs import Run, best_checkpoint, find_run, run_preset
from diffcli.studies.files import effort_of, evaluation_of, folder_of
from diffcli.studies.schema import Budget, Study
from diffcli.training.pace import time_spent
from diffcli.training.resuming import MAY_CHANGE, changes

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
    """Where a study's trainings are, and on what they run."""

    out: Path
    data_dir: Path | str | None = None
    devices: Devices = field(default_factory=Devices)
    quiet: bool = False


def members(study: Study, budget: Budget, given: Mapping[str, Sequence[str]], place: Place) -> list[Member]:
    """The runs of a study, in the order of its models.

    Args:
        given: by label, the runs to take as they are.

    Raises:
        UserError: a given run is not there or is of another model.
    """
    labels = [label for label in study.models if label not in budget.without]
    for label in given:
        if label not in labels:
            raise UserError(f"`run`: {unknown('model', label, labels)}")
    found = []
    for label in labels:
        if label in given:
            runs = [find_run(name) for name in given[label]]
            seeds = [run_preset(run).training.seed if len(runs) > 1 else None for run in runs]
            found += [Member(label, seed, run) for seed, run in zip(seeds, runs, strict=True)]
        else:
            for seed in study.seeds_of(label):
                training = _training(study, budget, label, seed, place)
                found.append(Member(label, seed, Run(Path(str(training.out))), training))
    return found


def _training(study: Study, budget: Budget, label: str, seed: int | None, place: Place) -> TrainOptions:
    model, effort = study.models[label], effort_of(budget, label)
    wanted: dict[str, Any] = {"training.epochs": effort.epochs, "training.max_time": effort.max_time}
    wanted |= {"training.seed": seed, "sampler.steps": evaluation_of(study, budget).steps}
    overrides = model.set | {key: value for key, value in wanted.items() if value is not None}
    if effort.epochs is not None and "training.sample_epochs" not in model.set:
        overrides["training.sample_epochs"] = [1, effort.epochs] if effort.epochs > 1 else [1]
    return TrainOptions(
        model.preset,
        overrides,
        out=place.out / folder_of(label, seed),
        data_dir=place.data_dir,
        limit_batches=effort.limit_batches,
        devices=place.devices,
        quiet=place.quiet,
    )


def check(found: Sequence[Member], study: Study, place: Place) -> None:
    """Plans every training, and compares what is there with it; writes nothing.

    Raises:
        UserError: a model cannot be trained, or a folder holds a run of other settings.
    """
    for member in found:
        if member.training is not None:
            wanted = plan(member.training).preset
            if member.run.preset_file.is_file():
                _check_begun(member, wanted)
            continue
        model = study.models[member.label]
        wanted = plan(TrainOptions(model.preset, model.set, data_dir=place.data_dir)).preset
        best_checkpoint(member.run)
        for key in changes(run_preset(member.run).model_dump(), wanted.model_dump()):
            if key not in OF_A_GIVEN_RUN and key.partition(".")[0] not in OF_A_GIVEN_RUN:
                raise UserError(f"`run` {member.run.folder} is no run of '{member.label}': {key} is another")


def _check_begun(member: Member, wanted: Preset) -> None:
    """Checks that a run which is there is the study's own."""
    assert member.training is not None
    limits = member.run.info().get("limit_batches"), member.training.limit_batches
    differing = [key for key in _changed(member.run, wanted) if key not in MAY_CHANGE]
    differing += ["limit_batches"] if limits[0] != limits[1] else []
    if differing:
        raise UserError(
            f"`out`: {member.run.folder} holds a run of another study or budget: {differing[0]} is another; name a new folder"
        )


def _changed(run: Run, wanted: Preset) -> list[str]:
    return list(changes(_trained(run).model_dump(), wanted.model_dump()))


def _trained(run: Run) -> Preset:
    """What a run was trained with, which its checkpoint says best."""
    if not run.last.is_file():
        return run_preset(run)
    return validate(read_checkpoint(run.last)["hyper_parameters"]["preset"], f"checkpoint {run.last}")


def finish(member: Member) -> None:
    """Trains a run to its end, from where it is."""
    options = member.training
    if options is None:
        return
    planned = plan(options)
    if not member.run.preset_file.is_file():
        carry_out(planned)
        return
    content = read_checkpoint(member.run.last) if member.run.last.is_file() else None
    training = planned.preset.training
    steps = content["global_step"] if content else 0
    spent = training.max_time is not None and content is not None and time_spent(content) >= seconds(training.max_time)
    if steps < training.epochs * planned.data.batches_per_epoch and not spent:
        carry_out(replace(planned, run=member.run))
