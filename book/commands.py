"""The command reference: a page for each command, made of what its help is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from diffcli.cli import app

ROOT: Any = typer.main.get_command(app)
KINDS = {str: "TEXT", int: "INTEGER", float: "FLOAT", Path: "PATH"}
FLAG = re.compile(r"(?<![\w`/-])(--[a-z][\w-]*)")


def by_group() -> dict[str, dict[str, Any]]:
    """The commands by the group that the help shows them in."""
    groups: dict[str, dict[str, Any]] = {}
    for name, command in ROOT.commands.items():
        groups.setdefault(command.rich_help_panel, {})[name] = command
    return groups


def navigation() -> list[Any]:
    """The pages, grouped as in the help."""
    groups = [{group: [{name: _page(name)} for name in commands]} for group, commands in by_group().items()]
    return ["commands/index.md", *groups, {"Presets": "commands/all-presets.md"}]


def pages() -> dict[str, str]:
    """By file, the overview and a page for each command."""
    files = {_page(name): _reference(name, command) for name, command in ROOT.commands.items()}
    return {"commands/index.md": _overview(), **files}


def _page(name: str) -> str:
    return f"commands/{name}.md"


def _overview() -> str:
    lines = ["# Commands", "", _text(ROOT.help), "", "```", "diffcli [OPTIONS] COMMAND [OPTIONS]", "```", ""]
    for group, commands in by_group().items():
        lines += [f"## {group}", "", "| command | what it does |", "| --- | --- |"]
        lines += [f"| [`{name}`]({name}.md) | {_cell(command.help)} |" for name, command in commands.items()]
        lines += [""]
    lines += ["## Options of diffcli itself", "", *_table(ROOT.params)]
    lines += ["", "## Which command has which option", "", "| option | commands |", "| --- | --- |"]
    where: dict[str, list[str]] = {}
    for name, command in ROOT.commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and "--help" not in parameter.opts and not parameter.hidden:
                where.setdefault(parameter.opts[0], []).append(name)
    for flag, names in sorted(where.items()):
        links = ", ".join(f"[{name}]({name}.md#{_anchor(flag)})" for name in names)
        lines.append(f"| `{flag}` | {links} |")
    return "\n".join(lines) + "\n"


def _reference(name: str, command: Any) -> str:
    """A command's page: what it does, examples, its options by group."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    usage = " ".join(["diffcli", name, "[OPTIONS]", *(_metavar(argument) for argument in arguments)])
    lines = [f"# diffcli {name}", "", _text(command.help), "", "```", usage, "```", ""]
    examples = re.findall(r"^- `(.*)`$", command.epilog or "", flags=re.MULTILINE)
    lines += ["```", *examples, "```", ""]
    for title, parameters in _panels(command):
        lines += [f"## {title}", "", *_table(parameters), ""]
    return "\n".join(lines)


def _panels(command: Any) -> Iterator[tuple[str, list[Any]]]:
    """(title, parameters), what most people look for first."""
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if parameter.hidden:  # a former name
            continue
        plain = "Arguments" if parameter.param_type_name == "argument" else "Options"
        panels.setdefault(parameter.rich_help_panel or plain, []).append(parameter)
    for title in sorted(panels, key=lambda title: title != "Arguments"):
        yield title, panels[title]


def _table(parameters: list[Any]) -> list[str]:
    rows = ["| option | what it says | default |", "| --- | --- | --- |"]
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            first = f"`{_metavar(parameter)}`"
        else:
            kind = "" if _is_flag(parameter) else f" {_metavar(parameter)}"
            names = ", ".join(f"`{flag}{kind}`" for flag in parameter.opts)
            first = f'<span id="{_anchor(parameter.opts[0])}">{names}</span>'
        rows.append(f"| {first} | {_cell(parameter.help)} | {_default(parameter)} |")
    return rows


def _is_flag(parameter: Any) -> bool:
    return bool(getattr(parameter, "is_flag", False))


def _metavar(parameter: Any) -> str:
    """What stands for a value; releases of Typer differ in where they keep its type."""
    if parameter.metavar:
        return str(parameter.metavar)
    if hasattr(parameter, "type"):
        return str(parameter.type.name).upper()
    annotation = parameter.type_descriptor.annotation
    (inner, *_) = get_args(annotation) or (annotation,)
    return KINDS.get(inner, "VALUE")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return _text(parameter.show_default)
    value = parameter.default
    if callable(value) or value in (None, False, ()) or _is_flag(parameter):
        return ""
    return f"`{value}`"


def _anchor(flag: str) -> str:
    return flag.lstrip("-")


def _text(text: str | None) -> str:
    """Help as Markdown: flags as code, nothing taken for markup."""
    html = (text or "").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
    return FLAG.sub(lambda match: f"`{match[1]}`", re.sub(r"'(diffcli [^']*|\{[^']*\})'", r"`\1`", html))


def _cell(text: str | None) -> str:
    return " ".join(_text(text).split()).replace("|", "\\|")
