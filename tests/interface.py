"""The names and calls of diffcli that others build on: the public Python, commands and their options, keys of presets
and studies, and the values that are names.

``python tests/interface.py`` records them for this version in ``tests/old/interface.json``; see docs/stability.md.
"""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import diffcli
from diffcli.cli import app
from diffcli.config.plugins import GROUP
from diffcli.config.presets import preset_files
from diffcli.config.registry import KINDS
from diffcli.config.schema import Preset
from diffcli.diffusion.denoiser import INPUTS, PREDICTIONS
from diffcli.diffusion.times import TIME_DISTRIBUTIONS
from diffcli.evaluation.extractors import EXTRACTORS
from diffcli.evaluation.metrics import METRICS
from diffcli.inference.measurement_options import METHODS
from diffcli.studies.study_files import study_files
from diffcli.studies.study_schema import Study
from diffcli.training.loggers import LOGGERS
from diffcli.utils.compile import PRECISIONS
from diffcli.utils.devices import ACCELERATORS, ENGINES, STRATEGIES
from diffcli.utils.former_names import FormerAttribute

RECORD = Path(__file__).parent / "old" / "interface.json"
REMOVAL = """\
{names} of diffcli {version} is gone: {what}.
docs/stability.md: a name goes with a warning for one minor version. Keep it as a FormerAttribute or a FormerOption
(diffcli/utils/former_names.py), and a key of presets or studies as one that is read."""
CHANGE = """\
What worked with diffcli {version} fails now, or means something else: {what}.
docs/stability.md: give a new argument or key a default, and put it behind the others; a default stays as it is."""
VALUES: dict[str, Iterable[str]] = {
    "prediction": PREDICTIONS,
    "training.loss": PREDICTIONS,
    "input": INPUTS,
    "training.t_distribution": TIME_DISTRIBUTIONS,
    "metrics": METRICS,
    "accelerator": ACCELERATORS,
    "engine": ENGINES,
    "strategy": STRATEGIES,
    "precision": ("auto", *PRECISIONS),
    "extractor": EXTRACTORS,
    "method": METHODS,
    "logger": LOGGERS,
    "format": ("diffusers",),
}
"""By key or option, the names that it takes, where its type does not say them."""
PRESET = {
    "description": "8x8 digits by label, from noise",
    "data": {"name": "digits"},
    "schedule": {"name": "cosine", "T": 20},
    "degradation": {"name": "gaussian-noise"},
    "network": {"name": "cnn", "channels": [4, 4], "kernel_size": 3},
    "prediction": "x0",
    "prior": {"name": "standard-normal"},
    "sampler": {"name": "ddim"},
    "labels": {"dropped": 0.1},
    "training": {"epochs": 1, "batch_size": 64},
}
"""Stays as it is, for the keys of a run's files are recorded: built-in presets change."""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _parameters(where: str, function: Any) -> Iterator[str]:
    for name in inspect.signature(function).parameters:
        if name != "self":
            yield f"{where}({name})"


def _members(name: str, kind: type) -> Iterator[str]:
    """The public attributes that diffcli itself gives a class."""
    for base in kind.__mro__:
        if base.__module__.startswith("diffcli."):
            source = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base))))
            own = [node for node in source if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
            attributes = [node.attr for node in own if isinstance(node.value, ast.Name) and node.value.id == "self"]
            for member in {*vars(base), *attributes, *vars(base).get("__annotations__", {})}:
                if not member.startswith("_"):
                    yield f"{name}.{member}"


def _functions() -> Iterator[tuple[str, Any]]:
    """Functions, methods, and classes that are called to make an object."""
    for name in diffcli.__all__:
        value = getattr(diffcli, name)
        if not inspect.isclass(value):
            if callable(value):
                yield name, value
            continue
        for base in value.__mro__:
            if base.__module__.startswith("diffcli."):
                for member, function in vars(base).items():
                    if not member.startswith("_") and inspect.isfunction(function):
                        yield f"{name}.{member}", function
        if "__init__" in vars(value):
            yield name, value


def _python() -> Iterator[str]:
    for name in diffcli.__all__:
        yield name
        if inspect.isclass(value := getattr(diffcli, name)):
            yield from _members(name, value)
    for name, function in _functions():
        yield from _parameters(name, function)


def _parsers() -> Iterator[tuple[str, Any]]:
    """The commands, as the parser has them."""
    root: Any = typer.main.get_command(app)
    for name, command in [("", root), *root.commands.items()]:
        yield f"diffcli {name}".strip(), command


def _words(command: Any) -> Iterator[tuple[list[str], Any]]:
    """The parameters of a command, each with its flags; of one without, with its place: ``<1>``, and ``<1...>`` where
    it may have several words."""
    place = 0
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield [*parameter.opts, *parameter.secondary_opts], parameter
        else:
            place += 1
            yield [f"<{place}>", *([f"<{place}...>"] if parameter.nargs == -1 else [])], parameter


def _commands() -> Iterator[str]:
    for name, command in _parsers():
        yield name
        for words, _ in _words(command):
            yield from (f"{name} {word}" for word in words)


def _fields(
    where: str, model: type[BaseModel], parents: tuple[type[BaseModel], ...] = ()
) -> Iterator[tuple[str, FieldInfo]]:
    """The keys of a mapping, and of the mappings in it."""
    for name, field in model.model_fields.items():
        key = f"{where}{field.alias or name}"
        yield key, field
        for inner in _models(field.annotation):
            if inner not in parents:
                yield from _fields(f"{key}.", inner, (*parents, inner))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _settable() -> Iterator[tuple[str, Any, list[inspect.Parameter]]]:
    """The components, with the parameters that a preset may set."""
    for kind, about in KINDS.items():
        for name, component in about.registry.items():
            parameters = inspect.signature(component).parameters.values()
            ours = [one for one in parameters if one.name not in ("self", *about.context)]
            yield f"{kind} {name}", component, ours


def _components() -> Iterator[str]:
    for name, _, parameters in _settable():
        yield name
        yield from (f"{name}: {parameter.name}" for parameter in parameters)


def _plugins() -> Iterator[str]:
    """The kinds of components that can be registered, and what each is handed where it asks for it."""
    for kind, about in KINDS.items():
        yield kind
        yield from (f"{kind}: {parameter}" for parameter in about.context)


def _environment() -> Iterator[str]:
    """The variables that are read, and the group of the entry points of plug-ins."""
    yield GROUP
    for file in Path(diffcli.__file__).parent.rglob("*.py"):
        yield from re.findall(r"DIFFCLI_[A-Z]+", file.read_text(encoding="utf-8"))


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)


def _values() -> Iterator[str]:
    """The names that keys, parameters of components and options take."""
    for model in (Preset, Study):
        for key, field in _fields("", model):
            yield from (f"{key}: {value}" for value in _literals(field.annotation))
    for name, component, parameters in _settable():
        hints = get_type_hints(component.__init__ if inspect.isclass(component) else component)
        for parameter in parameters:
            yield from (f"{name}: {parameter.name}: {value}" for value in _literals(hints.get(parameter.name)))
    for key, values in VALUES.items():
        yield from (f"{key}: {value}" for value in values)


def interface() -> dict[str, set[str]]:
    """By kind, the names of today, former ones among them."""
    return {
        "python": set(_python()),
        "commands": set(_commands()),
        "preset keys": {key for key, _ in _fields("", Preset)},
        "components": set(_components()),
        "study keys": {key for key, _ in _fields("", Study)},
        "values": set(_values()),
        "plug-ins": set(_plugins()),
        "environment": set(_environment()),
        "presets and studies": {f"preset {name}" for name in preset_files()}
        | {f"study {name}" for name in study_files()},
    }


def calls() -> dict[str, dict[str, Any]]:
    """The arguments and keys that functions, commands, components and mappings need (``needs``), what the others are
    where they are not given (``defaults``), and the arguments of functions that may be given without their name
    (``order``)."""
    records: dict[str, dict[str, Any]] = {}
    for name, function in _functions():
        parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
        records[f"{name}()"] = {
            "needs": _without_default(parameters),
            "defaults": _defaults((one.name, one.default) for one in parameters if one.default is not one.empty),
            "order": [one.name for one in parameters if one.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD],
        }
    for name, command in _parsers():
        records[name] = {
            "needs": [words[0] for words, parameter in _words(command) if parameter.required],
            "defaults": _defaults(
                (words[0], parameter.default) for words, parameter in _words(command) if not parameter.required
            ),
        }
    for name, _, parameters in _settable():
        records[name] = {
            "needs": _without_default(parameters),
            "defaults": _defaults((one.name, one.default) for one in parameters if one.default is not one.empty),
        }
    for title, model in (("preset", Preset), ("study", Study)):
        for key, field in _fields("", model):
            mapping = f"{title} {key.rpartition('.')[0]}".strip()
            call = records.setdefault(mapping, {"needs": [], "defaults": {}})
            if field.is_required():
                call["needs"].append(key)
            else:
                call["defaults"] |= _defaults([(key, field.get_default(call_default_factory=True))])
    return records


def _defaults(pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Defaults as text; of one that is computed, its name."""
    return {
        name: str(value) if isinstance(value, Path) else getattr(value, "__qualname__", repr(value))
        for name, value in pairs
    }


def _without_default(parameters: Iterable[inspect.Parameter]) -> list[str]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in variadic]


def small_run(folder: Path) -> diffcli.Run:
    """A run that was trained for moments, and measured."""
    devices = diffcli.Devices("cpu", "1")
    run = diffcli.train(PRESET, out=folder, limit_batches=2, devices=devices, quiet=True)
    metrics = ["fid", "rmse", "ssim", "loss", "class_kept"]
    diffcli.evaluate(run, metrics, 10, 20, steps=3, extractor="classifier", devices=devices, quiet=True)
    return run


def run_folder_keys(run: diffcli.Run) -> set[str]:
    """The keys and columns in the files of a run folder, behind the name of the file; those of presets are in
    ``interface``."""
    keys = {f"{run.metrics_file.relative_to(run.folder).as_posix()}: {column}" for column in run.history()[0]}
    for file in (run.info_file, run.eval_file):
        keys |= {f"{file.name}: {key}" for key in nested_keys(json.loads(file.read_text(encoding="utf-8")))}
    return keys


def nested_keys(content: Any, where: str = "") -> Iterator[str]:
    """The keys of JSON, of mappings in it and in its lists: ``sessions.began``."""
    for entry in content if isinstance(content, list) else [content]:
        if isinstance(entry, dict):
            for key, value in entry.items():
                yield f"{where}{key}"
                yield from nested_keys(value, f"{where}{key}.")


def former_names() -> dict[str, str]:
    """By former name, the version that has it no more."""
    ends: dict[str, str] = {}
    for module in pkgutil.walk_packages(diffcli.__path__, "diffcli."):
        if module.name != "diffcli.__main__":
            for kind in filter(inspect.isclass, vars(import_module(module.name)).values()):
                if kind.__module__.startswith("diffcli."):
                    for name, value in vars(kind).items():
                        if isinstance(value, FormerAttribute):
                            ends[f"{kind.__name__}.{name}"] = value.until
                    for one in fields(kind) if is_dataclass(kind) else ():
                        if "flag" in one.metadata and (former := one.metadata["flag"].former):
                            ends[f"({former.name})"] = ends[f"--{former.name.replace('_', '-')}"] = former.until
    return ends


def removals(record: dict[str, Any]) -> dict[str, list[str]]:
    """By kind, the recorded names that are there no more, whose time was not over."""
    today, former = interface(), former_names()
    missing = {}
    for kind, names in record["names"].items():
        gaps = [name for name in names if name not in today[kind]]
        over = {name for name, until in record["former"].items() if numbers(until) <= numbers(diffcli.__version__)}
        gaps = [name for name in gaps if not any(name.endswith(end) for end in {*over, *former})]
        if gaps:
            missing[kind] = gaps
    return missing


def changes(record: dict[str, Any]) -> Iterator[str]:
    """Recorded calls that fail today, or mean something else: an argument is needed that was not, has another place, or
    is another one where it is not given."""
    today, former = calls(), former_names()
    for name, then in record.get("calls", {}).items():
        now = today.get(name, then)  # a call that is gone has a name that is gone
        for argument in now["needs"]:
            if argument not in then["needs"] and not any(f"({one})" in former for one in then["needs"]):
                yield f"{name} needs {argument}"
        for argument, default in then.get("defaults", {}).items():
            if now["defaults"].get(argument, default) != default:
                yield f"{name} has {argument} {now['defaults'][argument]} by default, which was {default}"
        order = now.get("order", [])
        for place, argument in enumerate(then.get("order", [])):
            if order[place : place + 1] != [argument] and f"({argument})" not in former:
                yield f"{name} has {argument} in another place, or takes it by name alone"


def check(record: dict[str, Any]) -> None:
    if failures := list(changes(record)):
        raise AssertionError(CHANGE.format(version=record["version"], what=", ".join(failures)))
    for kind, names in removals(record).items():
        raise AssertionError(REMOVAL.format(names=kind, version=record["version"], what=", ".join(names)))


def read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return content


def write() -> None:
    before = read() if RECORD.exists() else {"names": {}}
    check(before)
    former = former_names()
    names = {
        kind: sorted(name for name in entries if not any(name.endswith(end) for end in former))
        for kind, entries in interface().items()
    }
    with tempfile.TemporaryDirectory() as place:
        keys = run_folder_keys(small_run(Path(place) / "run"))
    if missing := set(before.get("run folder", [])) - keys:
        raise AssertionError(f"a run folder has no {', '.join(sorted(missing))} any more; docs/stability.md: none goes")
    content = {
        "version": diffcli.__version__,
        "former": former,
        "names": names,
        "calls": dict(sorted(calls().items())),
        "run folder": sorted(keys),
    }
    RECORD.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
    print(RECORD)
