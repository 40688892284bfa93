"""A trained model in files of its own: for diffcli elsewhere, or for other programs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from diffcli.checkpoints.evaluations import Evaluation, has_todays_meaning
from diffcli.checkpoints.model_file import StoredModel, fingerprint, halve_weights, read_stored, write_model_file
from diffcli.checkpoints.runs import Run
from diffcli.data.array_format import BYTES
from diffcli.inference.diffusers_export import GRAPHS, is_native, write_graph_pipeline, write_pipeline
from diffcli.inference.graphs import WRITERS, graph_metadata, graphs_of
from diffcli.inference.loading import find_checkpoint, model_of
from diffcli.inference.model import Model
from diffcli.inference.options import ExportOptions
from diffcli.utils.console import note, progress
from diffcli.utils.errors import UserError
from diffcli.utils.files import is_same_file, written_whole
from diffcli.utils.options import called_with, options_of

FACTS = (
    "started",
    "seed",
    "training_images",
    "validation_images",
    "test_images",
    "parameters",
    "precision",
    "python",
    "packages",
)
"""The entries of ``run.json`` that a model file holds: nothing of the machine's folders."""


@called_with(ExportOptions)
def export(*args: Any, **arguments: Any) -> list[Path]:
    """Writes a trained model into files that need no run folder; returns the files written.

    A model file holds the averaged weights, the early average that guides, fitted
    priors, the preset, facts of the training, and the scores that were measured of these very weights. Graphs hold the
    same computation for programs without diffcli; each is compared with PyTorch before it is kept.

    Raises:
        UserError: there is no such model, or an option does not fit it; nothing is written then.
        RunError: a graph's numbers are not PyTorch's; nothing is written.
    """
    return export_with(options_of(ExportOptions, *args, **arguments))


def export_with(options: ExportOptions) -> list[Path]:
    """Writes a model, see :func:`export`, by options at hand."""
    run, checkpoint = find_checkpoint(options.run)
    for file in options.files:
        if is_same_file(file, checkpoint):
            raise UserError(f"`out` {file} is the model's own file; name another")
    stored_model = with_run_facts(read_stored(checkpoint), run)
    model = model_of(stored_model)  # what cannot be read back is not written
    if options.format:
        model = replace(model, run=run, data=options.data)
        _write_pipeline(model, options)
        return options.files
    if options.graphs:
        model = replace(model, run=run, data=options.data)
        model.check_data(needed=model.needs_images(model.prior_component(options.prior)))
        _write_graphs(model, options)
        return options.files
    for component, origin in stored_model.plugins.items():
        note(f"note: the file can be used where plug-in {origin}, which has the {component}, is loaded")
    write_model_file(options.files[0], in_float16(stored_model) if options.half else stored_model)
    return options.files


def _write_pipeline(model: Model, options: ExportOptions) -> None:
    out = options.files[0]
    native = is_native(model)
    if native and options.prior not in (None, model.preset.prior.name):
        raise UserError("`prior`: a pipeline of diffusers starts from standard normal noise; leave it out")
    if not native:
        model.check_data(needed=model.needs_images(model.prior_component(options.prior)))
    elif options.data is not None:
        raise UserError("`data` names images, and none are read for this; leave it out")
    with written_whole(out) as part:
        part.mkdir()
        if native:
            notes = write_pipeline(model, options.sampling, part, out)
        else:
            _write_graphs(model, replace(options, out=part / GRAPHS, format=None))
            notes = write_graph_pipeline(model, part, out)
    for line in () if options.quiet else notes:
        note(line)


def _write_graphs(model: Model, options: ExportOptions) -> None:
    sampling = model.sampling(options.sampling, model.prior(options.prior))
    preset = model.preset
    facts = {
        "model": model.preset_name,
        "description": preset.description,
        "data": preset.data.name,
        "degradation": preset.degradation.name,
        "prior": options.prior or preset.prior.name,
        "class_names": model.classes,
        "untrained_classes": model.untrained_classes,
        "works_without_label": model.works_without_label,
    }
    if model.array_format != BYTES:
        facts["arrays"] = asdict(model.array_format)
    facts = graph_metadata(sampling, model.image_shape, facts)
    graphs = graphs_of(sampling, model.image_shape, priors=model.stored_priors)
    with ExitStack() as stack:
        advance = stack.enter_context(progress("tracing and comparing", len(graphs), "graphs", options.quiet))
        distances = []
        for graph, file in zip(graphs, options.files, strict=True):
            part = stack.enter_context(written_whole(file))
            distances.append(WRITERS[options.suffix](graph, facts, part))
            advance(1)
    if not options.quiet:
        note(f"note: the graphs' numbers are PyTorch's to within {max(distances):.1g}")


def with_run_facts(stored_model: StoredModel, run: Run | None) -> StoredModel:
    """A stored model with what its run knows of the training and of its scores; as it is where there is no run."""
    if run is None:
        return stored_model
    epochs, info = run.history(), run.info()
    facts: dict[str, Any] = {name: info[name] for name in FACTS if name in info}
    facts |= {"steps": _number(epochs, "step"), "seconds": sum(_numbers(epochs, "seconds"))}
    facts["best_val_loss"] = min(_numbers(epochs, "val_loss"), default=None)
    return replace(stored_model, training=facts, evaluation=_scores(stored_model, run))


def _numbers(rows: list[dict[str, str]], key: str) -> list[float]:
    return [float(row[key]) for row in rows if row.get(key)]


def _number(rows: list[dict[str, str]], key: str) -> int | None:
    numbers = _numbers(rows, key)
    return int(numbers[-1]) if numbers else None


def _scores(stored_model: StoredModel, run: Run) -> dict[str, Any]:
    """The run's newest evaluation of these very weights; {} where there is none."""
    checksum = fingerprint(stored_model.file)
    entries = [one for one in run.evaluations() if has_todays_meaning(one.get("settings", {}))]
    for candidate in entries:
        try:
            evaluation = TypeAdapter(Evaluation).validate_python(candidate)
        except ValidationError:  # a damaged file, or somebody else's
            continue
        if evaluation.settings.get("checkpoint_sha256") == checksum:
            return evaluation.as_dict()
    if entries:
        note(f"note: left out the scores in {run.folder}: they are of other weights; 'diffcli eval' measures these")
    return {}


def in_float16(stored_model: StoredModel) -> StoredModel:
    """A stored model with its weights in float16; its scores stay where that changes no weight.

    Raises:
        UserError: a weight is too large for float16.
    """
    is_changed, weights = halve_weights(stored_model.weights)
    is_guide_changed, guide = halve_weights(stored_model.guide or {})
    evaluation = stored_model.evaluation
    if evaluation and (is_changed or is_guide_changed):
        note("note: left out the scores: they are of the weights in float32; 'diffcli eval' measures the file's")
        evaluation = {}
    return replace(stored_model, weights=weights, guide=guide or None, evaluation=evaluation)
