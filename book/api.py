"""The reference of the Python API: every public name on a page of its subject."""

from __future__ import annotations

from typing import Any

import diffcli

PAGES: dict[str, tuple[str, str, list[str]]] = {
    "models": (
        "Trained models",
        "A model is loaded by name, and does what the commands do: it samples, degrades, restores.",
        ["load", "Model", "Posterior", "Step", "grid", "to_uint8"],
    ),
    "functions": (
        "Commands as functions",
        "The commands as functions: what is an option there is an argument here, with `_` for `-`.",
        [
            "train",
            "evaluate",
            "compare",
            "study",
            "export",
            "import_pipeline",
            "Run",
            "Evaluation",
            "Comparison",
            "Devices",
        ],
    ),
    "components": (
        "Components of your own",
        "What a plug-in registers, and the classes that it begins from.",
        [
            "register",
            "plugin",
            "Degradation",
            "GaussianNoise",
            "GaussianBlur",
            "Prior",
            "Source",
            "ImageSet",
            "of_shape",
            "shaped_by",
            "check_degradation",
            "check_network",
            "check_data",
        ],
    ),
    "errors": (
        "Errors",
        "All that fails for a reason outside diffcli raises one of these, with one line that says what would be right.",
        ["DiffcliError", "UserError", "RunError"],
    ),
}
"""By page, its title, what it is about, and the names on it."""


def navigation() -> list[Any]:
    """The pages."""
    return ["api/index.md", *({title: f"api/{page}.md"} for page, (title, _, _) in PAGES.items())]


def pages() -> dict[str, str]:
    """By file, the overview and a page for each subject.

    Raises:
        ValueError: a public name is on no page, or a page has one that is not public.
    """
    page_names = [name for _, _, names in PAGES.values() for name in names]
    public = set(diffcli.__all__) - {"__version__"}
    if set(page_names) != public or len(page_names) != len(set(page_names)):
        raise ValueError(f"book/api.py and diffcli.__all__ differ in {sorted(public ^ set(page_names))}")
    overview = [
        "# Python API",
        "",
        "Everything here is imported from `diffcli` itself. [A first look](../python.md).",
        "",
    ]
    files = {}
    for page, (title, about, names) in PAGES.items():
        overview += [f"## [{title}]({page}.md)", "", about, ""]
        overview += [f"- [`diffcli.{name}`]({page}.md#{_path(name)})" for name in names] + [""]
        files[f"api/{page}.md"] = "\n".join([f"# {title}", "", about, "", *(f"::: {_path(name)}\n" for name in names)])
    return {"api/index.md": "\n".join(overview), **files}


def _path(name: str) -> str:
    """Where a public name is defined."""
    value = getattr(diffcli, name)
    return f"{value.__module__}.{value.__qualname__}"
