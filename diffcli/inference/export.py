"""A trained model in files of its own: for diffcli elsewhere, or for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from diffcli.checkpoints.evaluations import Evaluation, has_todays_meaning
from diffcli.checkpoints.model_file import SUFFIX, Stored, fingerprint, halved, read_stored, write_model_file
from diffcli.checkpoints.runs import Run
from diffcli.inference.graphs import PARTS, WRITERS, about, check_packages, graphs_of
from diffcli.inference.loading import find_checkpoint, model_of
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.utils.console import note, progress
from diffcli.utils.errors import UserError
from diffcli.utils.files import check_beside, check_output, is_same_file, written_whole
from diffcli.utils.options import takes
from diffcli.utils.paths import expand_fields

SUFFIXES = (SUFFIX, *WRITERS)
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
"""What a model file tells of ``run.json``: nothing of the machine's folders."""


OF_SAMPLING = ("sampler", "steps", "guidance", "autoguidance", "prior", "data")
"""Arguments that decide what a graph does; a model file keeps what its preset says."""


@dataclass(frozen=True)
class ExportOptions:
    """Which model is written, and as what.

    Args:
        run: see :func:`diffcli.load`.
        out: .safetensors, a model file, which diffcli reads wherever it is; or graphs for other programs, .onnx or .pt2 (of
            ``torch.export``): the network's estimate in ``out`` itself, and beside it the sampler's step and the start,
            ``NAME-step`` and ``NAME-start``.
        half: of a model file, weights in float16, which takes half the space.
        sampler: of graphs, with ``steps``, ``guidance`` and ``autoguidance``: see
            :class:`~diffcli.inference.options.SamplerOptions`.
        prior: of graphs, where sampling starts; None is the preset's.
        data: of graphs with a prior that has yet to be fitted, a folder of images in place of the one of the training.
        quiet: no progress bar.

    Raises:
        UserError: ``out`` is of an unknown kind, cannot be written or needs what is not installed; or an option does not go
            with it.
    """

    run: Run | Path | str = "last"
    out: Path | str = "model.safetensors"
    half: bool = field(default=False, kw_only=True)
    sampler: str | Mapping[str, Any] | None = field(default=None, kw_only=True)
    steps: int | None = field(default=None, kw_only=True)
    guidance: float | None = field(default=None, kw_only=True)
    autoguidance: float | None = field(default=None, kw_only=True)
    prior: str | None = field(default=None, kw_only=True)
    data: Path | str | None = field(default=None, kw_only=True)
    quiet: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        expand_fields(self, "out", "data")
        for file in self.files:
            check_output(file, SUFFIXES, "out")
        check_beside(self.files[0], self.files[1:], "out")
        given = [name for name in OF_SAMPLING if getattr(self, name) is not None]
        if not self.graphs and given:
            raise UserError(f"`{given[0]}` is for graphs, .onnx or .pt2; a model file keeps what its preset says")
        if self.graphs and self.half:
            raise UserError("`half` is for a model file, .safetensors; graphs compute in float32")
        check_packages(self.suffix)
        self.sampling  # noqa: B018 (its checks)

    @property
    def suffix(self) -> str:
        """Of ``out``."""
        return Path(self.out).suffix.lower()

    @property
    def graphs(self) -> bool:
        """Whether graphs are written."""
        return self.suffix in WRITERS

    @property
    def files(self) -> list[Path]:
        """What is written."""
        out = Path(self.out)
        return [out.with_stem(out.stem + part) for part in PARTS] if self.graphs else [out]

    @property
    def sampling(self) -> SamplerOptions:
        """How the graphs sample."""
        return SamplerOptions(
            sampler=self.sampler, steps=self.steps, guidance=self.guidance, autoguidance=self.autoguidance
        )


@takes(ExportOptions)
def export(options: ExportOptions) -> list[Path]:
    """Writes a trained model into files that need no run folder; returns the files written.

    See :class:`ExportOptions` for the arguments. A model file holds the averaged weights, the early average that guides, fitted
    priors, the preset, facts of the training, and the scores that were measured of these very weights. Graphs hold the same
    computation for programs without diffcli; each is compared with PyTorch before it is kept.

    Raises:
        UserError: there is no such model, or an option does not fit it; nothing is written then.
        RunError: a graph's numbers are not PyTorch's; nothing is written.
    """
    run, checkpoint = find_checkpoint(options.run)
    for file in options.files:
        if is_same_file(file, checkpoint):
            raise UserError(f"`out` {file} is the model's own file; name another")
    stored = described(read_stored(checkpoint), run)
    model = model_of(stored)  # what cannot be read back is not written
    if options.graphs:
        model = replace(model, run=run, data=options.data)
        model.check_data(needed=model.needs_images(model.prior_component(options.prior)))
        _write_graphs(model, options)
        return options.files
    for component, origin in stored.plugins.items():
        note(f"note: the file can be used where plug-in {origin}, which has the {component}, is loaded")
    write_model_file(options.files[0], rounded(stored) if options.half else stored)
    return options.files


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
    facts = about(sampling, model.image_shape, facts)
    graphs = graphs_of(sampling, model.image_shape)
    with ExitStack() as stack:
        advance = stack.enter_context(progress("tracing and comparing", len(graphs), "graphs", options.quiet))
        distances = []
        for graph, file in zip(graphs, options.files, strict=True):
            part = stack.enter_context(written_whole(file))
            distances.append(WRITERS[options.suffix](graph, facts, part))
            advance(1)
    if not options.quiet:
        note(f"note: the graphs' numbers are PyTorch's to within {max(distances):.1g}")


def described(stored: Stored, run: Run | None) -> Stored:
    """A stored model with what its run knows of the training and of its scores; as it is where there is no run."""
    if run is None:
        return stored
    epochs, known = run.history(), run.info()
    facts: dict[str, Any] = {name: known[name] for name in FACTS if name in known}
    facts |= {"steps": _number(epochs, "step"), "seconds": sum(_numbers(epochs, "seconds"))}
    facts["best_val_loss"] = min(_numbers(epochs, "val_loss"), default=None)
    return replace(stored, training=facts, evaluation=_scores(stored, run))


def _numbers(rows: list[dict[str, str]], key: str) -> list[float]:
    return [float(row[key]) for row in rows if row.get(key)]


def _number(rows: list[dict[str, str]], key: str) -> int | None:
    numbers = _numbers(rows, key)
    return int(numbers[-1]) if numbers else None


def _scores(stored: Stored, run: Run) -> dict[str, Any]:
    """The run's newest evaluation of these very weights; {} where there is none."""
    own = fingerprint(stored.file)
    found = [one for one in run.evaluations() if has_todays_meaning(one.get("settings", {}))]
    for candidate in found:
        try:
            evaluation = TypeAdapter(Evaluation).validate_python(candidate)
        except ValidationError:  # a damaged file, or somebody else's
            continue
        if evaluation.settings.get("checkpoint_sha256") == own:
            return evaluation.as_dict()
    if found:
        note(f"note: left out the scores in {run.folder}: they are of other weights; 'diffcli eval' measures these")
    return {}


def rounded(stored: Stored) -> Stored:
    """A stored model with its weights in float16; its scores stay where that changes no weight.

    Raises:
        UserError: a weight is too large for float16.
    """
    changed, weights = halved(stored.weights)
    guide_changed, guide = halved(stored.guide or {})
    evaluation = stored.evaluation
    if evaluation and (changed or guide_changed):
        note("note: left out the scores: they are of the weights in float32; 'diffcli eval' measures the file's")
        evaluation = {}
    return replace(stored, weights=weights, guide=guide or None, evaluation=evaluation)
