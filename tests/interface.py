"""What of diffcli others build on, name by name: the public Python, commands and their options, keys of presets and
studies.

``python tests/interface.py`` records them for this version in ``tests/old/interface.json``; see docs/stability.md.
"""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

import diffcli
from diffcli.cli import app
from diffcli.config.presets import preset_files
from diffcli.config.registry import KINDS
from diffcli.config.schema import Preset
from diffcli.studies.study_files import study_files
from diffcli.studies.study_schema import Study
from diffcli.utils.former_names import FormerAttribute

RECORD = Path(__file__).parent / "old" / "interface.json"
REMOVED = """\
{names} of diffcli {version} is gone: {what}.
docs/stability.md: a name goes with a warning for one minor version. Keep it as a FormerAttribute or a FormerOption
(diffcli/utils/former_names.py), and a key of presets or studies as one that is read."""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _parameters(where: str, function: Any) -> Iterator[str]:
    for name in inspect.signature(function).parameters:
        if name != "self":
            yield f"{where}({name})"


def _members(name: str, kind: type) -> Iterator[str]:
    """The public attributes of a class that diffcli itself gives it, with the arguments of methods."""
    for base in kind.__mro__:
        if base.__module__.startswith("diffcli."):
            source = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base))))
            own = [node for node in source if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
            stored = [node.attr for node in own if isinstance(node.value, ast.Name) and node.value.id == "self"]
            for member in {*vars(base), *stored, *vars(base).get("__annotations__", {})}:
                if not member.startswith("_"):
                    yield f"{name}.{member}"
                    if inspect.isfunction(value := vars(base).get(member)):
                        yield from _parameters(f"{name}.{member}", value)
    if "__init__" in vars(kind):
        yield from _parameters(name, kind)


def _python() -> Iterator[str]:
    for name in diffcli.__all__:
        value = getattr(diffcli, name)
        yield name
        if inspect.isclass(value):
            yield from _members(name, value)
        elif callable(value):
            yield from _parameters(name, value)


def _commands() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    for name, command in [("", root), *root.commands.items()]:
        yield f"diffcli {name}".strip()
        for parameter in command.params:
            for flag in parameter.opts if parameter.param_type_name == "option" else ():
                yield f"diffcli {name} {flag}".replace("  ", " ")


def _keys(where: str, model: type[BaseModel], seen: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    """The keys of a mapping, and of the mappings in it."""
    for name, field in model.model_fields.items():
        key = f"{where}{field.alias or name}"
        yield key
        for inner in _models(field.annotation):
            if inner not in seen:
                yield from _keys(f"{key}.", inner, (*seen, inner))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _components() -> Iterator[str]:
    for kind, about in KINDS.items():
        for name, component in about.registry.items():
            yield f"{kind} {name}"
            for parameter in inspect.signature(component).parameters:
                if parameter not in ("self", *about.context):
                    yield f"{kind} {name}: {parameter}"


def interface() -> dict[str, set[str]]:
    """By kind, the names of today, former ones among them."""
    return {
        "python": set(_python()),
        "commands": set(_commands()),
        "preset keys": set(_keys("", Preset)),
        "components": set(_components()),
        "study keys": set(_keys("", Study)),
        "presets and studies": {f"preset {name}" for name in preset_files()}
        | {f"study {name}" for name in study_files()},
    }


def former_names() -> dict[str, str]:
    """By former name, the version that has it no more."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(diffcli.__path__, "diffcli."):
        if module.name != "diffcli.__main__":
            for kind in filter(inspect.isclass, vars(import_module(module.name)).values()):
                if kind.__module__.startswith("diffcli."):
                    for name, value in vars(kind).items():
                        if isinstance(value, FormerAttribute):
                            found[f"{kind.__name__}.{name}"] = value.until
                    for one in fields(kind) if is_dataclass(kind) else ():
                        if "flag" in one.metadata and (former := one.metadata["flag"].former):
                            found[f"({former.name})"] = found[f"--{former.name.replace('_', '-')}"] = former.until
    return found


def gone(record: dict[str, Any]) -> dict[str, list[str]]:
    """By kind, the recorded names that are there no more, whose time was not over."""
    today, former = interface(), former_names()
    missing = {}
    for kind, names in record["names"].items():
        left = [name for name in names if name not in today[kind]]
        over = {name for name, until in record["former"].items() if numbers(until) <= numbers(diffcli.__version__)}
        left = [name for name in left if not any(name.endswith(end) for end in {*over, *former})]
        if left:
            missing[kind] = left
    return missing


def check(record: dict[str, Any]) -> None:
    for kind, names in gone(record).items():
        raise AssertionError(REMOVED.format(names=kind, version=record["version"], what=", ".join(names)))


def read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return content


def write() -> None:
    if RECORD.exists():
        check(read())
    former = former_names()
    names = {
        kind: sorted(name for name in found if not any(name.endswith(end) for end in former))
        for kind, found in interface().items()
    }
    content = {"version": diffcli.__version__, "former": former, "names": names}
    RECORD.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
    print(RECORD)
