"""YAML as presets, studies and the command line write it: numbers, true, false and null are what they are in JSON, all
else is text.

YAML 1.1, which PyYAML reads, takes 0123 for 83, 1:30 for 90, 2024_01 for 202401, ``no`` for false, and 2e-4 for text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from diffcli.utils.errors import UserError

FLOAT = r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
SCALARS = {
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": ("[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (FLOAT, list("-+.0123456789")),
}
"""The notation of each type that is no text, and the characters that it may begin with."""
PRIVATE = range(0xE000, 0xF900)
"""Unicode's characters that mean nothing."""


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of ``SCALARS`` that refuses a key given twice.

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


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1


class _ArgumentLoader(_Loader):
    """A :class:`_Loader` for an argument of a command, which holds no comments: ``#`` is a character as any other."""

    def __init__(self, text: str) -> None:
        # The scanner knows comments: it is shown another character in place of each #.
        self.hash = next(chr(code) for code in PRIVATE if chr(code) not in text)
        super().__init__(text.replace("#", self.hash))

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        return str(super().construct_scalar(node)).replace(self.hash, "#")


class _Dumper(yaml.SafeDumper):
    """Safe YAML whose text reads as text, here and by the rules of YAML 1.1."""


for _name, (_pattern, _first) in SCALARS.items():
    for _kind in (_Loader, _ArgumentLoader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)


def parse_value(text: str, place: str) -> Any:
    """The value of YAML text, such as that of a preset's file.

    Args:
        place: what messages call the text.

    Raises:
        UserError: it is not YAML.
    """
    return _parse(_Loader, text, place)


def parse_argument(text: str, place: str) -> Any:
    """The value of an argument such as ``5``, ``2e-4``, ``pics #2`` or ``{name: cosine, T: 500}``.

    What begins with a bracket, a brace or a quote is YAML without comments. Anything else is a number, ``true``,
    ``false`` or ``null``; or else the text as it stands.

    Raises:
        UserError: it begins as YAML and is none.
    """
    text = text.strip()
    if text[:1] in ("{", "[", '"', "'"):
        return _parse(_ArgumentLoader, text, place)
    return _parse(_Loader, text, place, scalar=True)


def _parse(kind: type[_Loader], text: str, place: str, scalar: bool = False) -> Any:
    try:
        loader = kind(text)
        if not scalar:
            return loader.get_single_data()
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_document(yaml.ScalarNode(tag, text))
    # A tag that does not fit its value, such as !!timestamp y, makes PyYAML stumble in its own ways.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        position = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()
        raise UserError(f"{place} is not valid YAML{position}: {problem[0] if problem else 'unreadable'}") from error


def as_argument(value: Any) -> str:
    """A value in one line, as :func:`parse_argument` reads it."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=math.inf).removesuffix("\n...\n").strip()


def as_yaml(values: Mapping[str, Any]) -> str:
    """A mapping as YAML that :func:`parse_value` reads back to an equal one."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
