"""Trained models as files hold them: a run's checkpoints, model files, which hold what inference needs and no more, and
other programs' folders.

A model file is a safetensors file (https://huggingface.co/docs/safetensors): tensors, and text in its metadata. Nothing
in it can be executed. Its tensors are ``weights/...`` (the denoiser's average), ``guide/...`` (the early one, where
there is one) and ``prior/NAME/...`` (what each fitted prior learnt), ``labels/clusters`` (where its labels are
clusters); ``diffcli`` in its metadata is JSON that says everything else.

Who writes and who reads each entry of a checkpoint is a table in the book, "What a checkpoint holds" in Contributing.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.checkpoints.diffusers_folder import fingerprint_of, pickle_hint, read_pipeline
from diffcli.utils.errors import UserError
from diffcli.utils.files import ENTRY, json_text, write_safetensors, written_whole
from diffcli.utils.hashing import of_file, of_tensors, of_text

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIX = ".safetensors"
FORMAT = 1
"""The format of model files; a reader refuses those of a later one."""
CHECKSUM = "sha256"
"""The key of the checksum of the metadata's other values, among them that of the tensors: safetensors has none, and a
flipped bit is a sound number. Up to version 0.3 it was an entry of its own beside the JSON."""
LARGEST_HALF = 65504.0
READY_MODELS = Path(__file__).parents[1] / "inference" / "weights"
"""The folder of the model files that come with diffcli; ``make models`` writes them."""

State = dict[str, "Tensor"]


@dataclass(frozen=True)
class StoredModel:
    """A trained model as a file holds it; nothing of it is checked against a network yet.

    Args:
        file: where it was read.
        preset: the resolved preset as plain values.
        plugins: what it needs of plug-ins, see :func:`~diffcli.config.registry.needed_by`.
        weights: of the denoiser.
        guide: an early average of the weights, for autoguidance.
        prior_states: what each fitted prior learnt, by name.
        class_shares: how frequent each label was in the training split, among the images that had one.
        unlabelled_share: the share of the training images that had no label.
        clusters: the centres of the clusters that are its labels, if they are, (K, C * H * W).
        epoch: epochs done, counted from 1.
        training: facts of the training, for the user's information.
        evaluation: what ``eval.json`` holds of these weights; empty where they were not evaluated.
        notes: of another program's model, what its sampling does otherwise, in lines.
    """

    file: Path
    preset_name: str
    preset: Any
    weights: State
    plugins: dict[str, str] = field(default_factory=dict)
    guide: State | None = None
    prior_states: dict[str, State] = field(default_factory=dict)
    class_shares: tuple[float, ...] = ()
    unlabelled_share: float = 0.0
    clusters: Tensor | None = None
    epoch: int = 1
    training: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name that messages call it by."""
        kind = "model file" if is_model_file(self.file) else "pipeline" if self.file.is_dir() else "checkpoint"
        return f"{kind} {self.file}"


def is_model_file(path: Path) -> bool:
    """Whether a path is that of a model file, by its suffix."""
    return path.suffix.lower() == SUFFIX


def ready_models() -> dict[str, Path]:
    """The file of each model that comes with diffcli, by name."""
    return {file.stem: file for file in sorted(READY_MODELS.glob(f"*{SUFFIX}"))}


FIELDS_OF_KEY: dict[str, Callable[[Any], dict[str, Any]]] = {
    "hyper_parameters": lambda about: {
        "preset_name": str(about["preset_name"]),
        "preset": about["preset"],
        "plugins": dict(about.get("plugins") or {}),
    },
    # Of a distillation, the auxiliary denoiser is the training's alone.
    "state_dict": lambda state: {
        "weights": {
            key.removeprefix("denoiser."): value for key, value in state.items() if not key.startswith("auxiliary.")
        }
    },
    "guide": lambda guide: {"guide": guide or None},
    "priors": lambda priors: {"prior_states": {str(name): dict(state) for name, state in priors.items()}},
    "class_shares": lambda shares: {"class_shares": tuple(float(share) for share in shares)},
    "unlabelled_share": lambda share: {"unlabelled_share": float(share)},  # before version 0.4 nobody counted
    "clusters": lambda centres: {"clusters": centres},
    "epoch": lambda epoch: {"epoch": int(epoch) + 1},
}
"""The keys of a checkpoint that a model is read from, each with the fields of :class:`StoredModel` that its value
becomes."""


def read_stored(path: Path) -> StoredModel:
    """The model that a checkpoint, a model file or a folder of diffusers holds, without executing anything.

    Raises:
        UserError: the file is missing, damaged, or was not written by diffcli.
    """
    if is_model_file(path):
        return _of_model_file(path)
    if path.is_dir():
        return stored_pipeline(path)
    content = read_checkpoint(path)
    values: dict[str, Any] = {}
    try:
        for key, fields_of in FIELDS_OF_KEY.items():
            if key in content:
                values |= fields_of(content[key])
        return StoredModel(file=path, **values)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"checkpoint {path} is damaged: it holds something else than weights") from error


def stored_pipeline(folder: Path, unlabelled: int | None = None) -> StoredModel:
    """The model that a folder of diffusers holds, see :mod:`diffcli.checkpoints.diffusers_folder`.

    Args:
        unlabelled: the row of its table of classes that stands for no label, if any.

    Raises:
        UserError: it is not as it must be.
    """
    pipeline = read_pipeline(folder, unlabelled)
    shares = tuple(1 / pipeline.classes for _ in range(pipeline.classes))
    return StoredModel(
        folder, pipeline.name, pipeline.preset, pipeline.weights, class_shares=shares, notes=pipeline.notes
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, without executing anything that it holds.

    Raises:
        UserError: it is missing, damaged, holds code, or was not written by diffcli.
    """
    import pickle

    import torch

    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; 'diffcli runs' lists the runs")
    try:
        # PyTorch does not compare the checksums that it wrote.
        with zipfile.ZipFile(path) as archive:
            damaged_member = archive.testzip()
        if damaged_member is not None:
            raise UserError(f"checkpoint {path} is damaged; use another one")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} is refused: it is damaged, or holds code instead of plain weights{pickle_hint(path)}"
        ) from error
    except UserError:
        raise
    except Exception as error:  # bytes that are damaged can raise anything
        raise UserError(
            f"checkpoint {path} is damaged or not a checkpoint; use another one{pickle_hint(path)}"
        ) from error
    hyper_parameters = content.get("hyper_parameters") if isinstance(content, dict) else None
    has_preset = isinstance(hyper_parameters, dict) and {"preset", "preset_name"} <= set(hyper_parameters)
    if not has_preset or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"checkpoint {path} was not written by diffcli: it holds no preset{pickle_hint(path)}")
    return content


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a model file, its tensors unread.

    Raises:
        UserError: the file is missing, damaged, of a later format, or was not written by diffcli.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise UserError(f"model file {path} does not exist; 'diffcli models' lists the ready ones")
    try:
        with safe_open(path, framework="np") as content:
            entries = content.metadata() or {}
    except Exception as error:  # bytes that are damaged can raise anything
        raise UserError(f"model file {path} is damaged or not a model file; use another one") from error
    if ENTRY not in entries:
        raise UserError(f"model file {path} was not written by diffcli: it holds no preset")
    text, message = (
        entries[ENTRY],
        f"model file {path} is damaged: what it says of itself has changed; use another one",
    )
    older = CHECKSUM in entries
    if older and entries[CHECKSUM] != of_text(text):
        raise UserError(message)
    try:
        metadata = json.loads(text)
        if not older and (metadata.pop(CHECKSUM, None) is None or text != _with_checksum(metadata)):
            raise UserError(message)
        written_as = int(metadata["format"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"model file {path} was not written by diffcli: its metadata cannot be read"
        raise UserError(reason if older else message) from error
    if written_as != FORMAT:
        raise UserError(
            f"model file {path} is of format {written_as}, and this diffcli reads format {FORMAT}: a newer one may "
            "read it"
        )
    return dict(metadata)


def _with_checksum(metadata: dict[str, Any]) -> str:
    """``metadata`` as JSON, with the checksum of itself as its last value."""
    digest = of_text(json_text(metadata, indent=None))
    return json_text(metadata | {CHECKSUM: digest}, indent=None)


def _of_model_file(path: Path) -> StoredModel:
    metadata = read_metadata(path)
    tensors = _tensors(path)
    if metadata.get("weights_sha256") != of_tensors(tensors):
        raise UserError(f"model file {path} is damaged: its weights have changed; use another one")
    parts: dict[str, State] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    prior_states: dict[str, State] = {}
    for name, tensor in parts.get("prior", {}).items():
        prior, _, buffer = name.partition("/")
        prior_states.setdefault(prior, {})[buffer] = tensor
    try:
        return StoredModel(
            file=path,
            preset_name=str(metadata["preset_name"]),
            preset=metadata["preset"],
            weights=parts.get("weights", {}),
            plugins={str(part): str(origin) for part, origin in metadata["plugins"].items()},
            guide=parts.get("guide"),
            prior_states=prior_states,
            class_shares=tuple(float(share) for share in metadata["class_shares"]),
            unlabelled_share=float(metadata.get("unlabelled_share", 0)),
            clusters=parts.get("labels", {}).get("clusters"),
            epoch=int(metadata["epoch"]),
            training=dict(metadata["training"]),
            evaluation=dict(metadata["evaluation"]),
        )
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"model file {path} was not written by diffcli: its metadata cannot be read") from error


def _tensors(path: Path) -> State:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as content:
            return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (not a mapping)
    except Exception as error:  # as above
        raise UserError(f"model file {path} is damaged; use another one") from error


def check_weights(place: str, weights: dict[str, Any], denoiser: nn.Module) -> None:
    """Checks that weights fit a network, by name and shape.

    Args:
        place: what messages call the file that they come from.

    Raises:
        UserError: they belong to another network; the line names the first weight that does not fit.
    """
    shapes = {key: tuple(value.shape) for key, value in denoiser.state_dict().items()}
    for key in sorted(shapes.keys() | weights.keys()):
        shape = tuple(weights[key].shape) if key in weights else "none"
        if shape != shapes.get(key, "none"):
            raise UserError(f"{place} is of another network: {key} is {shape} there and {shapes.get(key, 'none')} here")


def fingerprint(path: Path) -> str:
    """A checksum that tells the weights of a file from others: a model file's checksum of its tensors, a checkpoint's
    of its bytes, a folder's of what is read of it; '' where there is no file."""
    if path.is_dir():
        return fingerprint_of(path)
    if not path.is_file():
        return ""
    return str(read_metadata(path).get("weights_sha256")) if is_model_file(path) else of_file(path)


def write_model_file(path: Path, stored_model: StoredModel) -> None:
    """Writes a model as a model file, whole or not at all.

    Raises:
        UserError: the place cannot be written.
    """
    tensors = {f"weights/{name}": tensor for name, tensor in stored_model.weights.items()}
    tensors |= {f"guide/{name}": tensor for name, tensor in (stored_model.guide or {}).items()}
    for prior, state in stored_model.prior_states.items():
        tensors |= {f"prior/{prior}/{name}": tensor for name, tensor in state.items()}
    if stored_model.clusters is not None:
        tensors["labels/clusters"] = stored_model.clusters
    # Copies: safetensors refuses tensors that share their memory.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    checksum = of_tensors(tensors)
    evaluation = stored_model.evaluation
    if evaluation:
        settings = evaluation["settings"] | {"checkpoint": path.name, "checkpoint_sha256": checksum}
        evaluation = evaluation | {"settings": settings}
    metadata = {
        "format": FORMAT,
        "preset_name": stored_model.preset_name,
        "preset": stored_model.preset,
        "plugins": stored_model.plugins,
        "class_shares": stored_model.class_shares,
        "unlabelled_share": stored_model.unlabelled_share,
        "epoch": stored_model.epoch,
        "weights_sha256": checksum,
        "training": stored_model.training,
        "evaluation": evaluation,
    }
    with written_whole(path) as part:
        write_safetensors(part, tensors, _with_checksum(metadata))


def halve_weights(state: State) -> tuple[bool, State]:
    """Converts weights to float16; returns (whether any value changed, the weights). Other types stay as they are.

    Raises:
        UserError: one is too large for float16.
    """
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for name, tensor in halves.items():
        if bool(tensor.isinf().any()):
            raise UserError(
                f"`half`: {name} has values above {LARGEST_HALF:g}, the most that float16 holds; leave it out"
            )
    return any(not bool((halves[name] == tensor).all()) for name, tensor in state.items()), halves
