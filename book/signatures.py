"""Of functions that take the fields of an options class: their arguments in the reference, and no marks of other tools."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|data|meth|mod|attr):`(~?)\.?([\w.]+)`")
SEE = re.compile(r"\s*See `\w+` for the arguments\.")


class Signatures(griffe.Extension):
    """Sphinx's roles as code; ``takes(Options)`` as the arguments that it makes."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Changes what was read of diffcli, once all of it is."""
        if pkg.name == "diffcli":
            _visit(pkg)


def _visit(found: griffe.Object) -> None:
    if found.docstring:
        found.docstring.value = ROLE.sub(_as_code, found.docstring.value).replace("``", "`")
    if isinstance(found, griffe.Function) and any(
        str(decorator.value).startswith(("takes(", "takes_as_method(")) for decorator in found.decorators
    ):
        _spell_out(found)
    for member in found.members.values():
        if not member.is_alias:
            _visit(member)  # type: ignore[arg-type]


def _as_code(match: re.Match[str]) -> str:
    short, path = match.groups()
    return f"`{path.rpartition('.')[2] if short or path.startswith('diffcli.') else path}`"


def _spell_out(function: griffe.Function) -> None:
    """The signature, and the description of each argument, of the options class that a function takes."""
    names = function.path.removeprefix(f"{function.module.path}.")
    value: Any = import_module(function.module.path)
    for name in names.split("."):
        value = getattr(value, name)
    decorator = str(function.decorators[0].value)
    options: Any = getattr(import_module(function.module.path), decorator.partition("(")[2].rstrip(")"))
    function.parameters = griffe.Parameters(
        *(
            griffe.Parameter(
                parameter.name,
                annotation=None if parameter.annotation is inspect.Parameter.empty else str(parameter.annotation),
                kind=griffe.ParameterKind[parameter.kind.name.lower()],
                default=None if parameter.default is inspect.Parameter.empty else _shown(parameter, options),
            )
            for parameter in inspect.signature(value).parameters.values()
        )
    )
    if function.docstring:
        text = SEE.sub("", function.docstring.value)
        head, mark, tail = text.partition("\nRaises:")
        function.docstring.value = f"{head.rstrip()}\n\nArgs:\n{_described(options)}\n{mark}{tail}"


def _shown(parameter: inspect.Parameter, options: Any) -> str:
    """The default of an argument; where it is made anew for each call, by what."""
    factories = {field.name: field.default_factory for field in fields(options) if field.default_factory is not MISSING}
    return f"{factories[parameter.name].__name__}()" if parameter.name in factories else repr(parameter.default)


def _described(options: type) -> str:
    """The lines below ``Args:`` of an options class and of those that it begins from, indented."""
    lines = []
    for base in reversed(options.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, flags=re.MULTILINE)
        if section and base is not object:
            lines.append(ROLE.sub(_as_code, section[1]).replace("``", "`").rstrip())
    return "\n".join(lines)
