"""Notebooks: run from the top to the bottom, and as pages, code with what it printed and drew.

``python -m book.notebooks`` runs those of the book in a new folder each, and keeps their outputs in their files.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
PARAMETERS = "parameters"
"""The tag of the cell whose numbers may be replaced, as papermill has it."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def cells(file: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, their sources as text."""
    content = json.loads(file.read_text(encoding="utf-8"))
    entries: list[dict[str, Any]] = content["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in entries]


def run(file: Path, **parameters: Any) -> list[list[dict[str, Any]]]:
    """Runs the code of a notebook in the current folder; returns the outputs of each of its cells, none for text.

    Args:
        parameters: numbers in place of those in the cell of parameters.

    Raises:
        ValueError: the notebook has no such parameter.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for cell in cells(file):
        results = _run_cell(cell["source"], names) if cell["cell_type"] == "code" else []
        if PARAMETERS in cell["metadata"].get("tags", ()):
            if unknown := set(parameters) - set(names):
                raise ValueError(f"{file} has no parameter {', '.join(sorted(unknown))}")
            names |= parameters
        outputs.append(results)
    return outputs


def _run_cell(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cell prints, and what its last expression is."""
    *body, last = ast.parse(source).body
    expression = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
    before = ast.Module(body if expression else [*body, last], type_ignores=[])
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile(before, "<cell>", "exec"), names)
        value = eval(compile(expression, "<cell>", "eval"), names) if expression else None
    outputs: list[dict[str, Any]] = []
    if stream.getvalue():
        lines = stream.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines})
    if value is not None:
        result = {"data": _data(value), "metadata": {}, "execution_count": None}
        outputs.append({"output_type": "execute_result", **result})
    return outputs


def _data(value: Any) -> dict[str, str]:
    if not hasattr(value, "save"):
        return {"text/plain": repr(value)}
    stream = io.BytesIO()
    value.save(stream, "PNG", optimize=True)
    return {"image/png": base64.b64encode(stream.getvalue()).decode(), "text/plain": "a picture"}


def store(file: Path, outputs: list[list[dict[str, Any]]]) -> None:
    """Writes the outputs of a notebook's cells into its file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for cell, results in zip(content["cells"], outputs, strict=True):
        if cell["cell_type"] == "code":
            cell["outputs"] = results
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def pages(file: Path, target: str) -> dict[str, str | bytes]:
    """By file, a notebook's page and its pictures.

    Args:
        target: the page without its suffix.
    """
    lines: list[str] = []
    pictures: dict[str, str | bytes] = {}
    folder, _, stem = target.rpartition("/")
    for cell in cells(file):
        if cell["cell_type"] == "markdown":
            lines += [cell["source"], ""]
            continue
        lines += ["```python", cell["source"], "```", ""]
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{len(pictures)}.png"
                pictures[f"{folder}/{name}"] = base64.b64decode(data["image/png"])
                lines += [f"![What the code above shows]({name})", ""]
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                lines += ['``` title="printed"', COLOURS.sub("", text).rstrip(), "```", ""]
    title, _, rest = lines[0].partition("\n")
    note = f"*The notebook itself: [{stem}.ipynb]({stem}.ipynb). Open it with Jupyter, where diffcli is installed.*"
    return {f"{target}.md": "\n".join([title, "", note, rest, *lines[1:]]), **pictures}


if __name__ == "__main__":
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as place:
            os.chdir(place)
            store(notebook, run(notebook))
            os.chdir(FOLDER)
        print(notebook)
