"""Trained models side by side, with the report's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import TypeAdapter, ValidationError

from diffcli.checkpoints.diffusers_folder import pickle_hint
from diffcli.checkpoints.evaluations import Evaluation
from diffcli.checkpoints.model_file import fingerprint, is_model_file, read_metadata, ready_models
from diffcli.checkpoints.runs import Run, runs_root
from diffcli.config.build import candidate_priors
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.evaluation.evaluate import measure
from diffcli.evaluation.intervals import Interval
from diffcli.evaluation.metrics import measured_on
from diffcli.evaluation.options import EvaluateOptions
from diffcli.evaluation.protocol import Subject, digest, fits, instruments, pick_subject, protocol
from diffcli.inference.loading import find_checkpoint, model_on_devices
from diffcli.studies.claim_text import Claim
from diffcli.studies.comparison import ComparedRun, Comparison
from diffcli.studies.comparison_page import render
from diffcli.studies.options import CompareOptions
from diffcli.studies.report import check_report
from diffcli.studies.results import RunResults
from diffcli.utils.devices import Processes, launch
from diffcli.utils.errors import UserError
from diffcli.utils.files import writable_folder, write_json, written_whole
from diffcli.utils.options import called_with, options_of
from diffcli.utils.unique_labels import unique_labels

DIGITS = 12
"""The number of digits of a checksum in the name of a folder."""


@called_with(CompareOptions)
def compare(*args: Any, **arguments: Any) -> Comparison:
    """Evaluates what has not been evaluated with these options yet, and lays the runs side by side.

    Of several processes, the first one alone looks for evaluations, writes
    and draws.

    Raises:
        UserError: a run is not there or given twice, an option does not fit it, or ``out`` cannot be written.
    """
    return compare_with(options_of(CompareOptions, *args, **arguments))


def compare_with(options: CompareOptions) -> Comparison:
    """Compares runs, see :func:`compare`, by options at hand."""
    pairs = [_run_and_model(run) for run in options.runs]
    places = [(model.folder if isinstance(model, Run) else model).resolve() for _, model in pairs]
    if len({run.folder.resolve() for run, _ in pairs}) < len(pairs):
        raise UserError("a run is named twice; name each once")
    # Everything is checked before anything is measured, which may take hours.
    runs = [plan_evaluation(run, options.evaluation_of(model)) for run, model in pairs]
    labels = unique_labels([run.preset_name for run in runs], places)
    runs = [replace(run, name=label) for run, label in zip(runs, labels, strict=True)]
    for run in runs:
        if _evaluation_at_hand(run) is None:
            check_kept(run.run)
    processes = launch(options.devices)
    # Twice: evaluating one run may fetch the Inception weights, and so change what `auto` stands for in the others.
    for _ in range(2):
        runs = [with_evaluation(run, processes) for run in runs]
    comparison = Comparison(runs, _claims(runs), options.out)
    if (out := options.out) is not None and processes.first:
        with written_whole(out) as part:
            part.write_text(render(comparison, out.suffix.lower(), processes), encoding="utf-8")
    return comparison


def _run_and_model(name: Run | Path | str) -> tuple[Run, Run | Path]:
    """The folder in which comparisons of a name are kept, and the model that is loaded: a run is both, and a model file
    has a folder below the runs for what is measured of it.

    Raises:
        UserError: there is none, or it is a checkpoint.
    """
    if isinstance(name, Run):
        return name, name
    run, file = find_checkpoint(name)
    if is_model_file(file) or file.is_dir():
        place = Run(runs_root() / ".models" / f"{file.resolve().stem}-{fingerprint(file)[:DIGITS]}")
        return place, file
    if run is None or Path(name).suffix == ".ckpt":
        raise UserError(
            f"{name} is a checkpoint; name its run, or make a model file of it with 'diffcli export'{pickle_hint(file)}"
        )
    return run, run


def plan_evaluation(run: Run, options: EvaluateOptions, every_prior: bool = True) -> ComparedRun:
    """A run to be evaluated with these options, checked.

    Args:
        every_prior: where the options name none and the preset's own is fitted, from all that are.

    Raises:
        UserError: an option does not fit the run.
    """
    subject = pick_subject(options)
    preset = subject.model.preset
    candidates = candidate_priors(preset)
    if every_prior and not options.priors and candidates[preset.prior.name].needs_fit:
        options = replace(options, prior=[preset.prior.name, *candidates])
    degradation = subject.model.denoiser.degradation
    alpha_T = float(degradation.alphas_cumprod[-1]) if isinstance(degradation, GaussianNoise) else None
    name = subject.model.preset_name
    parameters = sum(weight.numel() for weight in subject.model.denoiser.network.parameters())
    file = subject.model.checkpoint
    info = read_metadata(file) if is_model_file(file) else {"training": run.info(), "evaluation": {}}
    return ComparedRun(
        name,
        run,
        name,
        preset,
        degradation.T,
        alpha_T,
        options,
        _settings_of(subject, options),
        parameters,
        origin=origin_of(run, file, info["training"]),
        training=info["training"],
        classes=subject.model.trained_classes,
        stored_evaluations=[info["evaluation"]] if info["evaluation"] else [],
    )


def origin_of(run: Run, file: Path, training: Mapping[str, Any]) -> str:
    """The origin of a model in words."""
    if file.is_dir():
        return f"pipeline of diffusers, {file}"
    if not is_model_file(file):
        return f"run {run.folder}"
    if file in ready_models().values():
        return "ready model, comes with diffcli"
    library = training.get("imported_from")
    return f"{file}, imported from a pipeline of {library}" if library else f"model file {file}"


def _settings_of(subject: Subject, options: EvaluateOptions) -> dict[str, Any]:
    try:
        source = subject.model.source(download=False)
    except UserError:
        if options.data is not None:
            raise
        source = None  # what was measured on the images can be shown without them
    return protocol(subject, options, source)


def with_evaluation(run: ComparedRun, processes: Processes) -> ComparedRun:
    """The run with an evaluation that was made with the settings wanted; it is made where there is none."""
    # The first process looks for it, so that all decide alike whatever others write meanwhile.
    (evaluation,) = processes.map_in_order([run], _evaluation_at_hand)
    if evaluation is None:
        check_kept(run.run)
        subject = pick_subject(run.options)
        evaluation = measure(
            replace(subject, model=model_on_devices(subject.model, run.options.devices, processes)), run.options
        ).as_dict()
        if processes.first:
            write_json(run.run.compared / digest(evaluation["settings"]) / run.run.eval_file.name, evaluation)
    return replace(run, evaluation=evaluation)


def check_kept(run: Run) -> None:
    """Checks that what is measured of a run can be kept in its folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        writable_folder(next(folder for folder in (run.folder, *run.folder.absolute().parents) if folder.exists()))
    except UserError as error:
        reason = str(error).partition(";")[0]
        raise UserError(
            f"{reason}, where what is measured of a run is kept; copy it to where you can write, or make a model file "
            "of it: "
            f"diffcli export {quote(str(run.folder))} `out` model.safetensors"
        ) from error


def with_old_evaluation(run: ComparedRun, file: Path) -> ComparedRun | None:
    """The run with an evaluation of weights whose file is gone by now; None where they were not measured with the
    settings wanted.

    Args:
        file: that of the weights.
    """
    settings = {key: value for key, value in run.settings.items() if key != "checkpoint_sha256"}
    evaluations = [
        one for one in run.run.evaluations() if Path(one.get("settings", {}).get("checkpoint", "")).name == file.name
    ]
    evaluation = _first_match(replace(run, settings=settings), evaluations)
    return None if evaluation is None else replace(run, evaluation=evaluation)


def _evaluation_at_hand(run: ComparedRun) -> dict[str, Any] | None:
    """The evaluation, by ``eval`` or by a comparison, that holds what is wanted; None where there is none."""
    if run.evaluation and fits(run.evaluation["settings"], _instruments(run, run.evaluation["settings"])):
        return run.evaluation
    return _first_match(run, [*run.stored_evaluations, *run.run.evaluations()])


def _first_match(run: ComparedRun, evaluations: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first of some evaluations that holds what is wanted of a run."""
    for values in evaluations:
        try:
            evaluation = TypeAdapter(Evaluation).validate_python(values)
        except ValidationError:  # a damaged file, or somebody else's
            continue
        settings = run.settings | _instruments(run, evaluation.settings)
        # Where nothing is sampled, it starts nowhere.
        starts = set(run.options.priors) if set(settings["metrics"]) & set(measured_on("samples")) else set()
        if fits(evaluation.settings, settings) and starts <= set(evaluation.by_prior):
            return evaluation.as_dict()
    return None


def _instruments(run: ComparedRun, evaluation_settings: Mapping[str, Any]) -> dict[str, Any]:
    return instruments(run.options, run.preset, run.settings.get("judged_images"), evaluation_settings)


def _claims(runs: Sequence[ComparedRun]) -> list[Claim]:
    """The report's claims checked on the first run of each preset; where one has several, the evidence names the one
    taken."""
    first: dict[str, ComparedRun] = {}
    for run in runs:
        first.setdefault(run.preset_name, run)
    names = [run.preset_name for run in runs]
    run_names = {name: run.name for name, run in first.items() if names.count(name) > 1}
    return check_report({name: results_of(run) for name, run in first.items()}, run_names)


def results_of(run: ComparedRun) -> RunResults:
    """The results of a compared run, as claims read them."""
    facts = {} if run.alpha_T is None else {"alpha_T": Interval.exact(run.alpha_T)}
    return RunResults(run.evaluation, facts=facts, T=run.T)
