"""Pipelines in folders of the library diffusers, read as data: nothing is executed, and the library is not needed.

A pipeline of pixels is a network and a scheduler: ``model_index.json``, ``unet/config.json`` with
``unet/diffusion_pytorch_model.safetensors``, and ``scheduler/scheduler_config.json``; old ones have all of it in the
folder itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.utils.errors import UserError
from diffcli.utils.hashing import of_file, of_json

if TYPE_CHECKING:
    from torch import Tensor

    from diffcli.checkpoints.diffusers_schedulers import Scheduler

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
NETWORK = "UNet2DModel"
PIPELINES: dict[str, int | None] = {"DDPMPipeline": None, "DDIMPipeline": 50}
"""Pipelines of a network and a scheduler alone, and their number of steps; None is all."""
OWN_PIPELINE = ["pipeline", "LabelledPipeline"]
"""The class of what ``export`` writes of a model with labels; its code is not read."""
DECODERS = ("vae", "vqvae", "movq")
MAX_JSON_BYTES = 10_000_000
UNKNOWN_IMAGES = "(unknown)"
"""The path of the images that a pipeline was trained on, which it does not tell."""
COLOURS = (1, 3)
"""Numbers of channels that a picture has; images of others are arrays."""
OWN_RANGE = {"low": -1.0, "high": 1.0}
"""The values that a pipeline's network knows as black and white."""
OWN_ARRAYS = {"layout": "CHW", **OWN_RANGE}
BLOCKS = {
    "down_block_types": (
        "DownBlock2D",
        "AttnDownBlock2D",
        "ResnetDownsampleBlock2D",
        "SkipDownBlock2D",
        "AttnSkipDownBlock2D",
    ),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D"),
}
"""The blocks of a network that is given an image, a time and a label alone."""
DEFAULTS: dict[str, Any] = {
    "block_out_channels": [224, 448, 672, 896],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
}
"""The parameters of the network ``diffusers-unet``, with what a file that lacks one means: the library's defaults."""
SIZES = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
"""The other parameters of their network, which follow from the images here."""
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""The names of attention's layers up to version 0.14 of the library, and since."""
OLD_NAME = re.compile(rf"(\.attentions\.\d+\.)({'|'.join(OLD_NAMES)})(\.(?:weight|bias))$")
TABLE = "class_embedding.weight"
VERSION = re.compile(r"[\w.+-]{1,20}")


@dataclass(frozen=True)
class Pipeline:
    """A pipeline in our terms.

    Args:
        preset: as plain values; the images are unknown.
        weights: of the denoiser; row 0 of its table of classes is that of no label.
        classes: number of labels.
        notes: what their sampling does otherwise than ours, in lines.
    """

    name: str
    preset: dict[str, Any]
    weights: dict[str, Tensor]
    classes: int
    notes: tuple[str, ...]


def is_pipeline(path: Path) -> bool:
    """Whether a path is a folder that holds a pipeline, or parts of one."""
    return path.is_dir() and any((path / name).exists() for name in (INDEX, "unet", "scheduler"))


def read_pipeline(folder: Path, unlabelled: int | None = None) -> Pipeline:
    """The pipeline that a folder holds.

    Args:
        unlabelled: the row of its table of classes that stands for no label; None is the one that an export of ours
            names, else none.

    Raises:
        UserError: the folder is none of a pipeline of pixels; the line names the first file that is not as it must be.
    """
    from diffcli.checkpoints.diffusers_schedulers import read_scheduler

    index = _read_index(folder)
    config, place = _config(folder, "unet", CONFIG)
    settings, image_shape = _network(config, place)
    steps = PIPELINES.get(str(index["_class_name"]))
    scheduler_config, scheduler_file = _config(folder, "scheduler", SCHEDULER)
    scheduler = read_scheduler(scheduler_config, str(scheduler_file), steps)
    unlabelled_row = index.get("unlabelled_row")
    unlabelled = unlabelled_row if unlabelled is None and isinstance(unlabelled_row, int) else unlabelled
    weights = _weights(place.parent, config, settings, image_shape[0])
    count = config.get("num_class_embeds") or 0
    classes, weights = _unlabelled_row_first(weights, count, unlabelled, str(place))
    names = index.get("class_names")
    if not (isinstance(names, list) and len(set(map(str, names))) == classes):
        names = range(classes)
    name = folder.resolve().name.lstrip(".") or "imported"
    preset = _preset(
        image_shape, settings, scheduler, [str(name) for name in names], works_without=unlabelled is not None
    ) | {"description": _description(name, index, scheduler_config)}
    weights = {f"network.unet.{key}": value for key, value in weights.items()}
    return Pipeline(name, preset, weights, classes, scheduler.notes)


def _description(name: str, index: dict[str, Any], scheduler: dict[str, Any]) -> str:
    """A description of a pipeline in words: its kind, and the version of the library that wrote it."""
    kind, version = index["_class_name"], str(index.get("_diffusers_version", ""))
    library = f"diffusers {version}" if VERSION.fullmatch(version) else "diffusers"
    kind = kind[-1] if isinstance(kind, list) else kind
    return f"{name}, a {kind} of {library}: {NETWORK} and {scheduler['_class_name']}"


def fingerprint_of(folder: Path) -> str:
    """A checksum of all that is read of a pipeline.

    Raises:
        UserError: a part is missing.
    """
    _read_index(folder)
    files = [_place(folder, *part) for part in (("unet", CONFIG), ("scheduler", SCHEDULER), ("unet", WEIGHTS))]
    for file in files[:2]:
        _read_json(file)
    _check_weights_file(files[2])
    return of_json([of_file(file) for file in files])


def _place(folder: Path, part: str, name: str) -> Path:
    """The file of a part: in its own folder where there is one, else in the pipeline's."""
    return (folder / part if (folder / part).is_dir() else folder) / name


def _read_json(file: Path) -> dict[str, Any]:
    """The mapping that a file holds.

    Raises:
        UserError: it is missing, too large, or holds something else.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing; a pipeline of diffusers has it, see pipeline.save_pretrained(folder)")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise UserError(f"{file} is larger than {MAX_JSON_BYTES:,} bytes, and no configuration")
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON: {' '.join(str(error).split()):.100}") from error
    if not isinstance(value, dict):
        raise UserError(f"{file} must hold a mapping, and holds a {type(value).__name__}")
    return value


def _read_index(folder: Path) -> dict[str, Any]:
    """The content of ``model_index.json``.

    Raises:
        UserError: there is none, or the pipeline is of another kind.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder, as a pipeline of diffusers is, see docs/how-to/diffusers.md"
            + pickle_hint(folder)
        )
    if not (folder / INDEX).is_file() and (folder / WEIGHTS).is_file() and not (folder / SCHEDULER).is_file():
        raise UserError(
            f"{folder} holds a network alone; its noise and prediction are in the folder of its pipeline, with {INDEX}"
        )
    file = folder / INDEX
    index = _read_json(file)
    kind = index.get("_class_name")
    if isinstance(kind, list) and kind != OWN_PIPELINE:
        raise UserError(f"{file}: the pipeline has code of its own ({kind!r:.60}), which is not executed")
    if kind != OWN_PIPELINE and (not isinstance(kind, str) or kind not in PIPELINES):
        raise UserError(f"{file}: pipeline {kind!s:.60} is not read; known: {', '.join(PIPELINES)}")
    parts = {key: value for key, value in index.items() if not key.startswith("_") and isinstance(value, list)}
    parts = {key: value for key, value in parts.items() if key != "class_names" and value != [None, None]}
    for key in parts.keys() - {"unet", "scheduler"}:
        reason = (
            "it draws what is decoded to pixels, and here pixels are drawn" if key in DECODERS else "it is not read"
        )
        raise UserError(f"{file}: beside network and scheduler the pipeline has {key}: {reason}")
    for key in ("unet", "scheduler"):
        if key not in parts:
            raise UserError(f"{file}: {key} is missing")
        if len(parts[key]) != 2 or parts[key][0] != "diffusers":
            raise UserError(f"{file}: {key} {parts[key]!r:.60} is code of its own, which is not executed")
    if parts["unet"][1] != NETWORK:
        raise UserError(f"{file}: network {parts['unet'][1]!s:.60} is not read; known: {NETWORK}")
    return index


def pickle_hint(file: Path) -> str:
    """A warning of a file that may be a pickle, and how to convert it; empty for others."""
    if not file.is_file() or file.suffix.lower() not in (".pkl", ".pickle", ".pt", ".pth", ".bin"):
        return ""
    return (
        f". A {file.suffix} may be a pickle, as those of EDM and k-diffusion are, which runs code where it is read: "
        "convert it where you trust it, with UNet2DModel.load_state_dict and pipeline.save_pretrained(folder)"
    )


def _config(folder: Path, part: str, name: str) -> tuple[dict[str, Any], Path]:
    file = _place(folder, part, name)
    return _read_json(file), file


def _network(config: dict[str, Any], file: Path) -> tuple[dict[str, Any], tuple[int, int, int]]:
    """(the parameters of the network ``diffusers-unet``, (C, H, W)) of a network's configuration.

    Raises:
        UserError: it is of another class, or is told or answers what has no place here.
    """
    kind = config.get("_class_name", NETWORK)
    if kind != NETWORK:
        raise UserError(f"{file}: network {kind!s:.60} is not read; known: {NETWORK}")
    parameters = DEFAULTS | SIZES
    for key in config:
        if key not in parameters and not key.startswith("_"):
            raise UserError(f"{file}: {key} is no parameter of {NETWORK} that is known here")
    config = parameters | config
    for key, blocks in BLOCKS.items():
        names = config[key]
        if not isinstance(names, list) or not names:
            raise UserError(f"{file}: {key} must be a list of blocks, got {names!r:.60}")
        for name in names:
            if name not in blocks:
                raise UserError(f"{file}: block {name!s:.60} is not read; known: {', '.join(blocks)}")
    widths = config["block_out_channels"]
    if not isinstance(widths, list) or not all(isinstance(width, int) and width > 0 for width in widths):
        raise UserError(f"{file}: block_out_channels must be a list of whole numbers, got {widths!r:.60}")
    if len({len(config[key]) for key in ("block_out_channels", *BLOCKS)}) != 1:
        raise UserError(f"{file}: block_out_channels, down_block_types and up_block_types must be equally many")
    if config["time_embedding_type"] not in ("positional", "learned"):
        raise UserError(
            f"{file}: time_embedding_type {config['time_embedding_type']!s:.60} is of variance-exploding noise, which "
            "is not read; known: positional, learned"
        )
    if config["class_embed_type"] is not None:
        raise UserError(f"{file}: class_embed_type {config['class_embed_type']!s:.60} is not read; labels have a table")
    count = config["num_class_embeds"]
    if count is not None and not (isinstance(count, int) and 1 <= count <= 100_000):
        raise UserError(f"{file}: num_class_embeds must be a whole number, got {count!r:.60}")
    settings = {key: config[key] for key in DEFAULTS}
    settings["mid_block_scale_factor"] = _number(settings["mid_block_scale_factor"], "mid_block_scale_factor", file)
    return settings, _image_shape(config, file)


def _number(value: Any, key: str, file: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{file}: {key} must be a number, got {value!r:.60}")
    return float(value)


def _image_shape(config: dict[str, Any], file: Path) -> tuple[int, int, int]:
    from diffcli.data.array_format import MOST_CHANNELS

    channels, out, size = config["in_channels"], config["out_channels"], config["sample_size"]
    if out != channels:
        has_variances = isinstance(channels, int) and out == 2 * channels
        reason = "it predicts variances, too, which is not read" if has_variances else "it is given more than an image"
        raise UserError(f"{file}: in_channels {channels!s:.60} and out_channels {out!s:.60} differ: {reason}")
    if type(channels) is not int or not 1 <= channels <= MOST_CHANNELS:
        raise UserError(f"{file}: images have 1 to {MOST_CHANNELS} channels, got in_channels {channels!s:.60}")
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and 4 <= side <= 1024 for side in sides):
        raise UserError(f"{file}: sample_size must be one side or [height, width], each in 4..1024, got {size!r:.60}")
    return int(channels), int(sides[0]), int(sides[1])


def _check_weights_file(file: Path) -> None:
    """Checks that a network's weights are a safetensors file.

    Raises:
        UserError: they are not; the line says what is there, and how to convert it.
    """
    if file.is_file():
        return
    place = file.parent
    others = sorted(path.name for path in place.iterdir() if path.is_file()) if place.is_dir() else []
    pickles = [name for name in others if Path(name).suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")]
    if pickles:
        raise UserError(
            f"{place / pickles[0]} is a pickle, which can run code where it is read, and is refused; where you trust "
            f"it, convert it: {NETWORK}.from_pretrained({str(place)!r}).save_pretrained({str(place)!r})"
        )
    near = [name for name in others if "safetensors" in name]
    if near:
        raise UserError(
            f"{file} is missing, and {near[0]} is there: write the weights as one file, "
            "unet.save_pretrained(folder, max_shard_size='10GB')"
        )
    raise UserError(f"{file} is missing; a pipeline of diffusers has it, see pipeline.save_pretrained(folder)")


def _weights(place: Path, config: dict[str, Any], settings: dict[str, Any], channels: int) -> dict[str, Tensor]:
    """Weights by their names in the library of today.

    Raises:
        UserError: the file is missing, damaged, or of another network than its configuration.
    """
    from safetensors import safe_open

    file = place / WEIGHTS
    _check_weights_file(file)
    try:
        with safe_open(file, framework="pt") as content:
            weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (not a mapping)
    except Exception as error:  # bytes that are damaged can raise anything
        raise UserError(f"{file} is damaged or no safetensors file; fetch or save it again") from error
    weights = {
        OLD_NAME.sub(lambda match: match[1] + OLD_NAMES[match[2]] + match[3], name): value
        for name, value in weights.items()
    }
    first = settings["block_out_channels"][0]
    expected: dict[str, tuple[int, ...]] = {
        "conv_in.weight": (first, channels, 3, 3),
        "conv_out.weight": (channels, first, 3, 3),
    }
    if config.get("num_class_embeds"):
        expected[TABLE] = (config["num_class_embeds"], settings["time_embedding_dim"] or 4 * first)
    elif TABLE in weights:
        raise UserError(f"{file} has a table of classes, {TABLE}, and {CONFIG} names none (num_class_embeds)")
    for name, shape in expected.items():
        shape_found = tuple(weights[name].shape) if name in weights else "none"
        if shape_found != shape:
            raise UserError(
                f"{file} is of another network than its {CONFIG}: {name} is {shape_found} and must be {shape}"
            )
    for name, value in weights.items():
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise UserError(f"{file}: {name} holds something else than finite numbers")
    return weights


def _unlabelled_row_first(
    weights: dict[str, Tensor], count: int, unlabelled: int | None, place: str
) -> tuple[int, dict[str, Tensor]]:
    """(number of labels, the weights with the row of no label first); without such a row that is zeros.

    Raises:
        UserError: there is no such row.
    """
    import torch

    if unlabelled is not None and not 0 <= unlabelled < count:
        have = f"rows 0 to {count - 1}" if count else "no table of classes"
        raise UserError(f"`unlabelled` {unlabelled}: {place} has {have}")
    if not count:
        return 0, weights
    table = weights[TABLE]
    if unlabelled is None:
        rows = torch.cat([torch.zeros_like(table[:1]), table])
    else:
        others = [row for row in range(count) if row != unlabelled]
        if not others:
            raise UserError(f"`unlabelled` {unlabelled} is the only row of the table of classes; leave it out")
        rows = table[[unlabelled, *others]]
    return len(rows) - 1, weights | {TABLE: rows}


def _preset(
    image_shape: tuple[int, int, int],
    network: dict[str, Any],
    scheduler: Scheduler,
    classes: list[str],
    *,
    works_without: bool,
) -> dict[str, Any]:
    channels, height, width = image_shape
    images = {"path": UNKNOWN_IMAGES, "size": [height, width], "channels": channels}
    return {
        "data": {"name": "folder", **images} if channels in COLOURS else {"name": "npy", **images, **OWN_ARRAYS},
        "schedule": scheduler.schedule,
        "degradation": {"name": "gaussian-noise"},
        "network": {"name": "diffusers-unet", **network},
        "input": "full-range",
        "prediction": scheduler.prediction,
        "prior": {"name": "standard-normal"},
        "sampler": scheduler.sampler,
        "training": {},
        "labels": {"classes": classes, "dropped": 0.1 if works_without else 0.0} if classes else None,
    }
