"""Presets as YAML files: found by name or path, read, changed key by key, written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from diffcli.config import Preset, Sampler, explain, validate
from diffcli.errors import UserError, unknown
from diffcli.paths import user_path

PACKAGED_PRESETS = Path(__file__).parent / "preset_files"


CHECKOUT_PRESETS = Path(__file__).parents[1] / "presets"


MAX_PRESET_BYTES = 100_000


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 2e-4 as a number, which YAML 1.1 takes for a string, and refuses a key given twice.

    Aliases are refused: a few lines of them can stand for gigabytes.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are not read; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", node.start_mark)
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_value(text: str, where: str) -> Any:
    """The value of YAML text such as ``5``, ``2e-4`` or ``{name: cosine, T: 500}``.

    Args:
        where: what messages call the text.

    Raises:
        UserError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    # A tag that does not fit its value, such as !!timestamp y, makes PyYAML stumble in its own ways.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()
        raise UserError(f"{where} is not valid YAML{place}: {problem[0] if problem else 'unreadable'}") from error


def preset_files() -> dict[str, Path]:
    """Every preset by name: those of the package (or the checkout), then those in ./presets."""
    found: dict[str, Path] = {}
    for folder in (PACKAGED_PRESETS, CHECKOUT_PRESETS, Path("presets")):
        for file in sorted(folder.glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def find_preset(name_or_path: str) -> Path:
    """The file of a preset given by name or by path.

    Raises:
        UserError: there is none; the line names the nearest known preset.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = user_path(name_or_path)
        if not os.path.isfile(path):
            raise UserError(f"preset file {name_or_path} does not exist; 'diffcli presets' lists the built-in ones")
        return path
    files = preset_files()
    if name_or_path not in files:
        raise UserError(unknown("preset", name_or_path, files) + "; 'diffcli presets' says what they are")
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
    changed = _copied(values)
    for key, value in overrides.items():
        *parents, last = key.strip().split(".")
        if not all([*parents, last]):
            raise UserError(f"key '{key}' is not of the form key.key")
        target = changed
        for parent in parents:
            if (
                target.get(parent) is None
            ):  # a section that is off or has its defaults; the schema knows which there are
                target[parent] = {}
            target = target[parent]
            if not isinstance(target, dict):
                raise UserError(f"{key}: '{parent}' holds one value, so nothing can be set below it")
        target[last] = _copied(value)
    return changed


def _copied(values: Any) -> Any:
    return {key: _copied(value) for key, value in values.items()} if isinstance(values, dict) else values


def sampler_named(chosen: str | Mapping[str, Any]) -> Sampler:
    """A sampler by name, or by name with parameters as in a preset, ``{name: ddim, eta: 0.5}``, as YAML or as a mapping.

    Raises:
        UserError: it is neither.
    """
    value = parse_value(chosen, "`sampler`") if isinstance(chosen, str) else dict(chosen)
    try:
        return Sampler.model_validate(value if isinstance(value, dict) else {"name": chosen})
    except ValidationError as error:
        raise UserError(f"`sampler`: {explain(error)}") from error


def load_preset(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> tuple[str, Preset]:
    """A preset's name (the file's stem) and its checked values, ``overrides`` applied.

    Raises:
        UserError: it is not found, not readable, or not valid.
    """
    path = find_preset(name_or_path)
    name = path.stem.lstrip(".") or "preset"  # it becomes a folder's name, and must not lead out of the runs
    values = with_overrides(read_values(path), overrides or {})
    return name, validate(values, f"preset {name}")


def to_yaml(preset: Preset) -> str:
    """The preset as YAML that :func:`load_preset` reads back to an equal one."""
    return yaml.safe_dump(preset.model_dump(), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
