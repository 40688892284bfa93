"""Presets as YAML files: found by name or path, read, changed key by key, written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffcli.config.notation import as_yaml, parse_argument, parse_value
from diffcli.config.schema import Preset, Sampler, explain, validate
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import user_path

PACKAGED_PRESETS = Path(__file__).parent / "preset_files"


CHECKOUT_PRESETS = Path(__file__).parents[2] / "presets"


MAX_PRESET_BYTES = 100_000


def preset_files() -> dict[str, Path]:
    """Every preset by name: those of the package (or the checkout), then those in ./presets."""
    files: dict[str, Path] = {}
    for folder in (PACKAGED_PRESETS, CHECKOUT_PRESETS, Path("presets")):
        for file in sorted(folder.glob("*.yaml")):
            files.setdefault(file.stem, file)
    return files


def find_preset(name_or_path: str) -> Path:
    """The file of a preset given by name or by path.

    Raises:
        UserError: there is none; the line names the nearest known preset.
    """
    return find_file(
        name_or_path,
        "preset",
        preset_files(),
        no_file="; 'diffcli presets' lists the built-in ones",
        no_name="; 'diffcli presets' says what they are",
    )


def find_file(name_or_path: str, kind: str, files: Mapping[str, Path], *, no_file: str = "", no_name: str = "") -> Path:
    """The YAML file of a kind given by name or by path.

    Args:
        kind: what messages call it.
        files: those that have a name.
        no_file: the end of the line that says that there is no such file.
        no_name: the end of the line that says that none has that name.

    Raises:
        UserError: there is none; the line names the nearest name.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = user_path(name_or_path)
        if not os.path.isfile(path):
            raise UserError(f"{kind} file {name_or_path} does not exist{no_file}")
        return path
    if name_or_path not in files:
        raise UserError(unknown_name(kind, name_or_path, files) + no_name)
    return files[name_or_path]


def read_values(path: Path, kind: str = "preset") -> Any:
    """The raw values of a YAML file of a kind, which messages name.

    Raises:
        UserError: the file cannot be read, is too large, or is not YAML.
    """
    try:
        if path.stat().st_size > MAX_PRESET_BYTES:
            raise UserError(f"{path} is larger than {MAX_PRESET_BYTES} bytes: this is not a {kind}")
        return parse_value(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a {kind}: {error}") from error


def with_overrides(values: Any, overrides: Mapping[str, Any]) -> Any:
    """``values`` with each ``{"a.b": value}`` applied, in their order; a value may be a whole component.

    Raises:
        UserError: a key is empty or leads through something that is not a mapping.
    """
    if not overrides or not isinstance(values, dict):
        return values
    result = _copy(values)
    for key, value in overrides.items():
        *parents, last = key.strip().split(".")
        if not all([*parents, last]):
            raise UserError(f"key '{key}' is not of the form key.key")
        target = result
        for parent in parents:
            if (
                target.get(parent) is None
            ):  # a section that is off or has its defaults; the schema knows which there are
                target[parent] = {}
            target = target[parent]
            if not isinstance(target, dict):
                raise UserError(f"{key}: '{parent}' holds one value, so nothing can be set below it")
        target[last] = _copy(value)
    return result


def _copy(values: Any) -> Any:
    return {key: _copy(value) for key, value in values.items()} if isinstance(values, dict) else values


def sampler_named(sampler: str | Mapping[str, Any]) -> Sampler:
    """A sampler by name, or by name with parameters as in a preset, ``{name: ddim, eta: 0.5}``, as YAML or as a
    mapping.

    Raises:
        UserError: it is neither.
    """
    value = parse_argument(sampler, "`sampler`") if isinstance(sampler, str) else dict(sampler)
    try:
        return Sampler.model_validate(value if isinstance(value, dict) else {"name": sampler})
    except ValidationError as error:
        raise UserError(f"`sampler`: {explain(error)}") from error


def preset_values(preset: Mapping[str, Any] | Path | str) -> tuple[str, Any]:
    """A preset's name, the stem of its file, and its values as they stand there, not checked; those of a mapping are
    itself, named ``preset``.

    Raises:
        UserError: it is not found or not readable.
    """
    if isinstance(preset, Mapping):
        return "preset", {"description": "made in Python", **_copy(dict(preset))}
    path = find_preset(str(preset))
    # The stem becomes a folder's name, and must not lead out of the runs.
    return path.stem.lstrip(".") or "preset", read_values(path)


def preset_of(values: Any, overrides: Mapping[str, Any], place: str) -> Preset:
    """Checked values, ``overrides`` applied.

    Raises:
        UserError: they are not valid.
    """
    return validate(with_overrides(values, overrides), place)


def load_preset(
    preset: Mapping[str, Any] | Path | str, overrides: Mapping[str, Any] | None = None
) -> tuple[str, Preset]:
    """A preset's name and its checked values, ``overrides`` applied; see :func:`preset_values`.

    Raises:
        UserError: it is not found, not readable, or not valid.
    """
    name, values = preset_values(preset)
    return name, preset_of(values, overrides or {}, f"preset {name}")


def to_yaml(preset: Preset) -> str:
    """The preset as YAML that :func:`load_preset` reads back to an equal one."""
    return as_yaml(preset.model_dump())
