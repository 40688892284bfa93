"""A trained model in a file of its own: for diffcli elsewhere, or for other programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from diffcli.experiments.evaluate import Evaluation
from diffcli.experiments.listing import history
from diffcli.files import check_output
from diffcli.loading import find_checkpoint, model_of
from diffcli.options import takes
from diffcli.progress import note
from diffcli.runs import Run
from diffcli.stored import SUFFIX, Stored, fingerprint, halved, read_stored, write_model_file

SUFFIXES = (SUFFIX,)
FACTS = ("started", "seed", "training_images", "validation_images", "parameters", "precision", "python", "packages")
"""What a model file tells of ``run.json``: nothing of the machine's folders."""


@dataclass(frozen=True)
class ExportOptions:
    """Which model is written, and as what.

    Args:
        run: see :func:`diffcli.load`.
        out: .safetensors, a model file, which diffcli reads wherever it is.
        half: weights in float16, which takes half the space.

    Raises:
        UserError: ``out`` is of an unknown kind, or cannot be written.
    """

    run: Run | Path | str = "last"
    out: Path = Path("model.safetensors")
    half: bool = False

    def __post_init__(self) -> None:
        check_output(Path(self.out), SUFFIXES, "out")


@takes(ExportOptions)
def export(options: ExportOptions) -> list[Path]:
    """Writes a trained model into a file that needs no run folder; returns the files written.

    See :class:`ExportOptions` for the arguments. A model file holds the averaged weights, the early average that guides, fitted
    priors, the preset, facts of the training, and the scores that were measured of these very weights.

    Raises:
        UserError: there is no such model, or an option does not fit it; nothing is written then.
    """
    run, checkpoint = find_checkpoint(options.run)
    stored = described(read_stored(checkpoint), run)
    model_of(stored)  # what cannot be read back is not written
    for component, origin in stored.plugins.items():
        note(f"note: the file can be used where plug-in {origin}, which has the {component}, is loaded")
    stored = rounded(stored) if options.half else stored
    write_model_file(Path(options.out), stored)
    return [Path(options.out)]


def described(stored: Stored, run: Run | None) -> Stored:
    """A stored model with what its run knows of the training and of its scores; as it is where there is no run."""
    if run is None:
        return stored
    epochs, known = history(run), run.info()
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
    own, found = fingerprint(stored.file), run.evaluations()
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
