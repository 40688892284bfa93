"""Signposts lead somewhere: the files that pages name, the arguments and the references of docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from pages import FENCE, PAGES
from test_structure import MODULES, ORDER

from diffcli.diffusion.samplers import SAMPLERS
from diffcli.training.resume import MAY_CHANGE

PACKAGE = ROOT / "diffcli"
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs"}
FORMER_FILES = {"benchmarks/convolutions.cpp"}
"""What a page says an earlier version had."""
ROLE = re.compile(r":(?:class|func|data|meth|mod|attr):`~?([\w.]+)`")


def named_files(page: Path) -> list[str]:
    """The files and folders of this tree that a page names in backticks; capitals stand for any name."""
    paths = re.findall(r"`([\w.-]+(?:/[\w.-]*)+|[\w-]+\.py)`", FENCE.sub("", page.read_text()))
    return [
        path
        for path in set(paths) - FORMER_FILES
        if path.split("/")[0] in FOLDERS
        or (path.split("/")[0] in ORDER and path.endswith((".py", "/")))
        or ("/" not in path and page.name == "contributing.md")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for path in named_files(page):
        pattern = re.sub(r"\b[A-Z]{3,}\b(?!\.md)", "*", path).rstrip("/")
        assert any(list(place.glob(pattern)) for place in (ROOT, PACKAGE, *PACKAGE.iterdir(), ROOT / "tests")), path


def test_the_page_for_contributors_names_many_files() -> None:
    assert len(named_files(ROOT / "docs" / "contributing.md")) > 60


def test_what_the_page_says_is_in_a_file_is_in_it() -> None:
    page = (ROOT / "docs" / "contributing.md").read_text()
    pairs = re.findall(r"`(\w+)` in `([\w/]+\.py)`", page)
    pairs += [(name, file) for file, name in re.findall(r"`([\w/]+\.py)` \(`(\w+)`\)", page)]
    assert len(pairs) >= 5
    for name, file in pairs:
        assert re.search(rf"\b{name}\b", (PACKAGE / file).read_text()), (name, file)


def descriptions() -> Iterator[tuple[str, Any, Any]]:
    """(name, module or class that it is defined in, the object) of each module, class, function and method with a
    docstring."""
    for name in set(MODULES) - {"diffcli.__main__"}:
        module = importlib.import_module(name)
        yield from with_docstring(name, module, module)
        for key, value in list(vars(module).items()):
            if getattr(value, "__module__", None) != name or not (inspect.isclass(value) or inspect.isroutine(value)):
                continue
            yield from with_docstring(f"{name}.{key}", module, value)
            for member, method in list(vars(value).items()) if inspect.isclass(value) else ():
                function = getattr(method, "__func__", getattr(method, "fget", None) or getattr(method, "func", method))
                if inspect.isfunction(function) and function.__module__ == name:
                    yield from with_docstring(f"{name}.{key}.{member}", value, function)


def with_docstring(name: str, owner: Any, value: Any) -> list[tuple[str, Any, Any]]:
    return [(name, owner, value)] if value.__doc__ else []


def arguments(text: str) -> list[str]:
    """The names that a docstring describes below ``Args:``."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.cleandoc(text), flags=re.MULTILINE)
    return re.findall(r"^    \*{0,2}(\w+): ", section[1], flags=re.MULTILINE) if section else []


def arguments_of(value: Any) -> set[str]:
    """The names of what a function or a class takes."""
    names = set(inspect.signature(value).parameters)
    if inspect.isclass(value):
        names |= {name for base in value.__mro__ for name in vars(base).get("__annotations__", {})}
        names |= {one.name for one in fields(value)} if is_dataclass(value) else set()
    return names | {"options"} if hasattr(value, "__wrapped__") else names  # which its signature shows one by one


def test_what_stands_under_args_is_an_argument_or_a_field() -> None:
    count = 0
    for name, _, value in descriptions():
        for argument in [] if inspect.ismodule(value) else arguments(value.__doc__):
            count += 1
            assert argument in arguments_of(value), (
                f"{name} describes {argument}, and takes {', '.join(sorted(arguments_of(value)))}"
            )
    assert count > 400


def leads_somewhere(path: str, module: Any, owner: Any) -> bool:
    """Whether a dotted name is one of an object: below a class, below a module, or from the top of the package."""
    for start in (owner, module, importlib.import_module("diffcli")):
        value, parts = start, path.removeprefix("diffcli.").split(".")
        if start.__name__ == "diffcli" and parts[0] in ORDER:
            for count in range(len(parts), 0, -1):
                file = PACKAGE.joinpath(*parts[:count])
                if file.is_dir() or file.with_suffix(".py").is_file():
                    value = importlib.import_module(".".join(["diffcli", *parts[:count]]))
                    parts = parts[count:]
                    break
        for part in parts:
            fallback = getattr(value, "__annotations__", {}).get(part) if value is not None else None
            value = getattr(value, part, fallback)
        if value is not None:
            return True
    return False


def test_references_of_docstrings_lead_somewhere() -> None:
    count = 0
    for name, owner, value in descriptions():
        module = importlib.import_module(value.__name__ if inspect.ismodule(value) else value.__module__)
        for path in ROLE.findall(value.__doc__):
            count += 1
            assert leads_somewhere(path, module, value if inspect.isclass(value) else owner), f"{name}: {path}"
    assert count > 80


@pytest.mark.parametrize("page", ["samplers.md", "ideas/samplers.md", "how-to/sample.md"])
def test_every_sampler_is_on_its_pages(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for name in SAMPLERS:
        assert f"`{name}`" in text, name


def test_the_page_on_training_names_all_that_a_resume_may_change() -> None:
    text = (ROOT / "docs" / "how-to" / "train.md").read_text()
    sentence = re.search(r"A resume may change (.*?);", text, flags=re.DOTALL)
    assert sentence is not None
    assert set(re.findall(r"`([\w.]+)`", sentence[1])) == {key.removeprefix("training.") for key in MAY_CHANGE}
