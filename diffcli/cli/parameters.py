"""The parameters of a command, made of options: of a dataclass's fields, and of arguments whose default is an
``option``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from diffcli.cli.completion import COMPLETIONS
from diffcli.cli.flags import flag_of, overrides, with_flags
from diffcli.utils.console import note
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path
from diffcli.utils.options import PANELS, Flag

KINDS = {"bool": bool, "int": int, "float": float, "Path": Path}


class Parameters:
    """The parameters of a command's function as Typer takes them, and the way back.

    A parameter that is annotated with an options class stands for the class's fields.

    Args:
        function: its annotations are texts, those of options classes are names of its module.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.command = function.__name__.replace("_", "-")
        self.classes: dict[str, tuple[Any, list[Field[Any]]]] = {}
        self.options: dict[str, Field[Any]] = {}
        self.signature: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(function).parameters.items():
            kind = function.__globals__.get(str(parameter.annotation))
            if isinstance(parameter.default, Field):
                self.options[name] = parameter.default
                self.signature += _parameters(name, parameter.annotation, parameter.default)
            elif is_dataclass(kind):
                self.classes[name] = kind, _fields(kind)
                self.signature += [
                    flag for field in _fields(kind) for flag in _parameters(field.name, field.type, field)
                ]
        self.signature.sort(key=_place)

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the function; what was not said, None or an empty list, is left to the options' defaults.

        Raises:
            UserError: a value is not usable, or two do not go together.
        """
        result = {}
        for name, (kind, class_fields) in self.classes.items():
            field_values = {field.name: self._value(field.name, field, values) for field in class_fields}
            result[name] = kind(**{key: value for key, value in field_values.items() if value is not None})
        for name, option in self.options.items():
            value = self._value(name, option, values)
            result[name] = option.default if value is None else value
        return result

    def _value(self, name: str, option: Any, values: Mapping[str, Any]) -> Any:
        """The value of an option; None where nothing was said."""
        flag: Flag = option.metadata["flag"]
        if flag.former is not None and values[flag.former.name] not in (None, []):
            former, today = flag_of(flag.former.name), flag_of(flag.name or name)
            if values[name] not in (None, [], _default(option)):
                raise UserError(f"{former} is called {today} now; give {today} alone")
            note(f"note: {former} is called {today} now; the former name goes in version {flag.former.until}")
            values = {**values, name: values[flag.former.name]}
        if flag.entry_help is not None:
            return [entry for entry in flag.entry_help if values[entry]] or None
        if flag.parts is not None:
            return replace(option.default, **{part: values[part] for part in flag.parts if values[part] is not None})
        if flag.keys is not None:
            shortcuts = {key: values[key.rpartition(".")[2]] for key in flag.keys}
            # Within Annotated, what Typer calls the default of an option is its first name.
            words = [parameter.annotation.__metadata__[0].default for parameter in self.signature]
            flags = [word for word in words if isinstance(word, str)]
            return overrides(values[name], shortcuts, command=self.command, flags=flags)
        if flag.further_flags is not None and flag.parse is not None:
            return flag.parse(values[name], **{flag_name: values[flag_name] for flag_name in flag.further_flags})
        if values[name] is None or values[name] == []:
            return None
        return values[name] if flag.parse is None else flag.parse(values[name])


def _place(parameter: inspect.Parameter) -> tuple[int, bool]:
    """The place of a parameter in the help: by its group, and at the end of that what every command has."""
    (info,) = parameter.annotation.__metadata__
    return PANELS.index(info.rich_help_panel), parameter.name in ("quiet", "progress")


def _fields(kind: Any) -> list[Field[Any]]:
    """The fields that the command line shows, in the order of the class's arguments."""
    by_name = {field.name: field for field in fields(kind)}
    return [by_name[name] for name in inspect.signature(kind).parameters if "flag" in by_name[name].metadata]


def _parameters(name: str, annotation: Any, option: Any) -> Iterator[inspect.Parameter]:
    """The flags of an option."""
    flag: Flag = option.metadata["flag"]
    if flag.entry_help is not None:
        for entry, help in flag.entry_help.items():
            yield _parameter(entry, bool, Flag(help=help, panel=flag.panel), False)
    elif flag.parts is not None:
        for part in (part for part in fields(option.default) if part.name in flag.parts):
            part_flag, default = part.metadata["flag"], getattr(option.default, part.name)
            part_flag = replace(
                part_flag,
                help=flag.parts[part.name] or part_flag.help,
                default_text=part_flag.default_text if default is None else None,
            )
            yield _parameter(part.name, _kind(part.type), part_flag, default)
    else:
        yield _parameter(name, flag.kind or _kind(annotation), flag, _default(option))
        if flag.former is not None:
            former = replace(flag, name=None, also=None, default_text=None)
            yield _parameter(flag.former.name, flag.kind or _kind(annotation), former, None, hidden=True)
        for flag_name, other in {**(flag.further_flags or {}), **(flag.keys or {})}.items():
            part_flag = other.metadata["flag"]
            yield _parameter(flag_name.rpartition(".")[2], part_flag.kind, part_flag, other.default)


def _kind(annotation: Any) -> Any:
    """The type on the command line of an annotation, as text: what its first type says, text where a shell writes no
    other."""
    if "Sequence[" in annotation or annotation.startswith("Mapping["):
        return list[str]
    return KINDS.get(annotation.partition(" | ")[0], str)


def _default(option: Field[Any]) -> Any:
    """The default on the command line; None where words stand for it, or for an empty list."""
    if option.default is MISSING:
        return inspect.Parameter.empty if option.default_factory is MISSING else None
    return None if option.default == () or option.metadata["flag"].default_text is not None else option.default


def _parameter(name: str, kind: Any, flag: Flag, default: Any, *, hidden: bool = False) -> inspect.Parameter:
    settings: dict[str, Any] = {"help": with_flags(flag.help), "rich_help_panel": flag.panel, "hidden": hidden}
    settings["autocompletion"] = COMPLETIONS[flag.complete] if flag.complete else None
    settings["metavar"] = flag.metavar or ("<path>" if kind is Path else None)
    settings["parser"] = user_path if kind is Path else None
    if flag.default_text is not None:
        settings["show_default"] = with_flags(flag.default_text) or False
    also = flag.also and (flag_of(flag.also) if len(flag.also) > 1 else f"-{flag.also}")
    words = [flag_of(flag.name or name), *([also] if also else [])]
    info = typer.Argument(**settings) if flag.argument else typer.Option(*words, **settings)
    if kind is str and isinstance(default, int):
        default = str(default)
    kind = kind | None if default is None else kind
    annotation = Annotated[kind, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
