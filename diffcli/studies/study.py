"""A study: several models, trained, measured and compared by a file, in one command that can be interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from diffcli.checkpoints.images import with_images
from diffcli.checkpoints.runs import run_preset
from diffcli.config.build import load_source
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation
from diffcli.evaluation.conditions import unevenness
from diffcli.evaluation.intervals import Interval, of_repeats
from diffcli.evaluation.metrics import measured_on
from diffcli.evaluation.options import EvaluateOptions
from diffcli.evaluation.protocol import instruments
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.loading import read_model
from diffcli.studies import claims
from diffcli.studies.best_values import start_of_reconstructions
from diffcli.studies.compare_runs import plan_evaluation, with_evaluation, with_old_evaluation
from diffcli.studies.comparison import ComparedRun
from diffcli.studies.members import Member, Place, check, finish, members, reconstructions_of
from diffcli.studies.options import StudyOptions
from diffcli.studies.report import models_of
from diffcli.studies.results import RunResults
from diffcli.studies.study_files import evaluation_of, find_study
from diffcli.studies.study_page import write_pages
from diffcli.studies.study_result import MemberResult, StudyResult
from diffcli.studies.study_schema import Budget, Study, StudyEvaluation
from diffcli.utils.compile import precision_of
from diffcli.utils.console import note
from diffcli.utils.devices import Processes, fabric_of, launch
from diffcli.utils.distributed import is_first
from diffcli.utils.options import called_with, options_of

LAST_EPOCHS = 5
"""The number of last epochs whose mean losses tell of overfitting."""
FACT_IMAGES = 1000


@called_with(StudyOptions)
def study(*args: Any, **arguments: Any) -> StudyResult:
    """Trains, measures and compares the models of a study; goes on where an earlier call with the same ``out`` was.

    What was trained and measured is kept at once, each model and each evaluation for itself.

    Raises:
        UserError: the data are missing, a model cannot be trained or measured as the study says, or ``out`` holds runs
            of another study or budget.
    """
    return study_with(options_of(StudyOptions, *args, **arguments))


def study_with(options: StudyOptions) -> StudyResult:
    """Makes a study, see :func:`study`, by options at hand."""
    precision_of(options.devices)
    fabric_of(options.devices)  # a bad option is told before hours of training
    content = options.content
    name, budget = options.chosen_budget
    place = Place(options.folder, options.data_dir, options.devices, options.quiet)
    runs = members(content, budget, options.runs, place)
    runs = [member for member in runs if not options.only or member.label in options.only]
    check(runs, content, budget, place)
    for number, member in enumerate(runs, 1):
        if is_first() and not options.quiet:
            note(f"{number}/{len(runs)} {member.name}")
        finish(member)
    processes = launch(options.devices)
    # Twice: measuring one run may fetch the Inception weights, and so change what `auto` stands for in the others.
    for _ in range(2):
        results = [_measure(member, content, budget, options, processes) for member in runs]
    by_label: dict[str, list[RunResults]] = {}
    for result in results:
        by_label.setdefault(result.member.label, []).append(result.results)
    study_claims = [claim for claim in content.claims if not options.only or models_of(claim) <= set(by_label)]
    result_of_all = StudyResult(
        content, find_study(str(options.study)), name, results, claims.check(study_claims, by_label)
    )
    if not processes.first or options.only:
        return result_of_all
    return replace(result_of_all, files=write_pages(result_of_all, options.files[0], processes))


def _measure(
    member: Member, content: Study, budget: Budget, options: StudyOptions, processes: Processes
) -> MemberResult:
    evaluation = evaluation_of(content, budget, member.label)
    seed = member.seed or 0
    evaluate_options = replace(
        options.evaluation_of(member.run, evaluation.precision),
        **{key: getattr(evaluation, key) for key in ("n_test", "n_fid", "n_cas", "steps", "metrics")},
        prior=content.models[member.label].priors,
        label=content.models[member.label].label,
        seed=seed,
    )
    best = replace(with_evaluation(plan_evaluation(member.run, evaluate_options), processes), name=member.name)
    degradation = read_model(best.run.best if best.run.best.is_file() else best.run.last).denoiser.degradation
    return MemberResult(
        member,
        best,
        _by_epoch(member, evaluation, evaluate_options, processes),
        _facts(member, best, degradation),
        _by_start(member, evaluation, evaluate_options, processes, best.evaluation["settings"]),
    )


def _by_start(
    member: Member,
    evaluation: StudyEvaluation,
    evaluate_options: EvaluateOptions,
    processes: Processes,
    settings: Mapping[str, Any],
) -> list[ComparedRun]:
    """Evaluations of the groups of reconstructions that a study measures beside."""
    result = []
    for group in reconstructions_of(evaluation, member.label):
        changes = {key: value for key in ("n_test", "steps") if (value := getattr(group, key)) is not None}
        devices = replace(evaluate_options.devices, precision=group.precision)
        all_options = replace(evaluate_options, metrics=measured_on("reconstructions"), n_cas=None)
        metrics = (
            group.metrics
            or instruments(all_options, run_preset(member.run), settings.get("judged_images"), settings)["metrics"]
        )
        for t, bits, noise in product(group.t, group.bits, group.noise):
            options = replace(
                all_options, **changes, t=t, zt_bits=bits, zt_noise=noise, metrics=metrics, prior=(), devices=devices
            )
            run = with_evaluation(plan_evaluation(member.run, options, every_prior=False), processes)
            start = start_of_reconstructions(run.evaluation["settings"])
            result.append(replace(run, name=f"{member.name}, reconstructions from {start}"))
    return result


def _by_epoch(
    member: Member, evaluation: StudyEvaluation, evaluate_options: EvaluateOptions, processes: Processes
) -> dict[int, ComparedRun]:
    """Evaluations of the weights that a run kept along its training, also where they were removed afterwards."""
    by_epoch = evaluation.by_epoch
    if by_epoch is None or (by_epoch.models and member.label not in by_epoch.models):
        return {}
    changes = by_epoch.model_dump(exclude={"models"}, exclude_defaults=True)
    at_epoch = replace(evaluate_options, **changes, prior=evaluate_options.priors[:1], n_cas=None)
    files, result = member.run.milestones(), {}
    for epoch, file in files.items():
        result[epoch] = with_evaluation(
            plan_evaluation(member.run, replace(at_epoch, run=file), every_prior=False), processes
        )
    epochs_removed = set(run_preset(member.run).training.sample_epochs) - set(files)
    if epochs_removed:
        whole = plan_evaluation(member.run, at_epoch, every_prior=False)
        before = {epoch: with_old_evaluation(whole, member.run.milestone_file(epoch)) for epoch in epochs_removed}
        result |= {epoch: run for epoch, run in before.items() if run is not None}
    return {epoch: replace(run, name=f"{member.name}, epoch {epoch}") for epoch, run in sorted(result.items())}


def _facts(member: Member, best: ComparedRun, degradation: Degradation) -> dict[str, Interval]:
    """The numbers of a run that need no measurement of its network."""
    facts = {} if best.alpha_T is None else {"alpha_T": Interval.exact(best.alpha_T)}
    rows = [row for row in member.run.history() if row.get("val_loss")]
    ratios = [float(row["val_loss"]) / float(row["train_loss"]) for row in rows[-LAST_EPOCHS:]]
    if ratios:
        facts["overfitting"] = of_repeats(ratios) if len(ratios) > 1 else Interval.exact(ratios[0])
    images = load_source(with_images(best.preset, best.run), best.options.data_dir).test.images
    images = images[random_subset(len(images), FACT_IMAGES, 0)]
    return facts | {"unevenness": Interval.exact(unevenness(degradation, to_model(images)))}
