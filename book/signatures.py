"""Of functions that take the fields of an options class: their arguments in the reference, and no marks of other
tools."""

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
    """Sphinx's roles as code; ``called_with(Options)``, ``takes(Options)`` and ``takes_sampler_options`` as their
    arguments."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Changes what was read of diffcli, once all of it is."""
        if pkg.name == "diffcli":
            _visit(pkg)


def _visit(node: griffe.Object) -> None:
    if node.docstring:
        node.docstring.value = ROLE.sub(_as_code, node.docstring.value).replace("``", "`")
    if isinstance(node, griffe.Function) and any(
        str(decorator.value).startswith(("called_with(", "takes")) for decorator in node.decorators
    ):
        _spell_out(node)
    for member in node.members.values():
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
    kind = str(function.decorators[0].value).partition("(")[2].rstrip(")") or "SamplerOptions"
    options: Any = getattr(import_module(function.module.path), kind)
    function.parameters = griffe.Parameters(
        *(
            griffe.Parameter(
                parameter.name,
                annotation=None if parameter.annotation is inspect.Parameter.empty else str(parameter.annotation),
                kind=griffe.ParameterKind[parameter.kind.name.lower()],
                default=None if parameter.default is inspect.Parameter.empty else _default_text(parameter, options),
            )
            for parameter in inspect.signature(value).parameters.values()
        )
    )
    if function.docstring:
        text = SEE.sub("", function.docstring.value)
        head, mark, tail = text.partition("\nRaises:")
        head, _, arguments = head.partition("\n\nArgs:\n")
        lines = [line for line in arguments.splitlines() if line.strip() and not line.startswith("    options: see")]
        section = "\n".join([*lines, _option_lines(options)])
        function.docstring.value = f"{head.rstrip()}\n\nArgs:\n{section}\n{mark}{tail}"


def _default_text(parameter: inspect.Parameter, options: Any) -> str:
    """The default of an argument; where it is made anew for each call, by what."""
    factories = {field.name: field.default_factory for field in fields(options) if field.default_factory is not MISSING}
    return f"{factories[parameter.name].__name__}()" if parameter.name in factories else repr(parameter.default)


def _option_lines(options: Any) -> str:
    """The lines below ``Args:``, indented: what an options class and its bases say of each field, else the help of its
    flag."""
    texts: dict[str, str] = {}
    for base in reversed(options.__mro__):
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.cleandoc(base.__doc__ or ""), flags=re.MULTILINE)
        for name, text in re.findall(
            r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", flags=re.MULTILINE
        ):
            texts[name] = ROLE.sub(_as_code, text).replace("``", "`")
    helps = {field.name: field.metadata["flag"].help for field in fields(options) if "flag" in field.metadata}
    names = [name for name in inspect.signature(options).parameters if texts.get(name) or helps.get(name)]
    return "\n".join(f"    {name}: {texts.get(name) or helps[name]}" for name in names)
