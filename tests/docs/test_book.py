"""The book: built without a warning, all of it from here, every option, public name, preset and notebook in it."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import ROOT, Cli
from pages import snippets

import diffcli
from diffcli.cli import app
from diffcli.config.presets import preset_files

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SHORT = {
    "diffusion-in-one-hour": {"EPOCHS": 1, "IMAGES": 20},
    "guessed-wrong": {"EPOCHS": 1, "IMAGES": 20},
    "your-own-degradation": {"EPOCHS": 1},
}
QUICK = {
    "train": "--epochs 1 --limit-batches 2 --accelerator cpu",
    "sample": "--n 10 --accelerator cpu",
    "eval": "--n-test 5 --n-fid 5 --steps 2 --accelerator cpu",
    "compare": "--n-test 5 --n-fid 5 --steps 2 --accelerator cpu",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built book; without a network, and strictly: a warning fails."""
    place = tmp_path_factory.mktemp("book") / "site"
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")} | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | nowhere)
    assert process.returncode == 0, process.stderr
    assert "WARNING" not in process.stderr
    return place


class Requests(HTMLParser):
    """The addresses that a browser fetches by itself for a page: not those of links."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag != "a" and (tag != "link" or values.get("rel") != "canonical"):
            self.addresses += [value for name in ("src", "href", "data") if (value := values.get(name))]


def requests(page: Path) -> list[str]:
    parser = Requests()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.addresses


def test_no_page_asks_another_server_for_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        for target in requests(page):
            assert not re.match(r"(https?:)?//", target), (page, target)
            if not target.startswith(("data:", "#")):
                path = target.split("?")[0].split("#")[0]  # of the page for what is not found, from the top
                assert (site / path[1:] if path[0] == "/" else page.parent / path).exists(), (page, target)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_formulas_are_drawn_in_the_page_itself(site: Path) -> None:
    page = (site / "ideas" / "one-line.html").read_text(encoding="utf-8")
    assert page.count('<svg class="formula"') > 10
    assert '<p class="formula"><svg class="formula"' in page
    assert 'aria-label="x_t"' in page
    for file in site.rglob("*.html"):
        assert 'class="arithmatex"' not in file.read_text(encoding="utf-8"), file


def test_every_option_is_two_clicks_away(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="commands/index.html"' in start
    overview = (site / "commands" / "index.html").read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        assert f'href="{name}.html"' in overview, name
        page = (site / "commands" / f"{name}.html").read_text(encoding="utf-8")
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.opts[0] != "--help":
                assert f'id="{parameter.opts[0].lstrip("-")}"' in page, (name, parameter.opts)
                assert f"{name}.html#{parameter.opts[0].lstrip('-')}" in overview, (name, parameter.opts)
        for example in re.findall(r"^- `(diffcli .*)`$", command.epilog or "", flags=re.MULTILINE):
            assert example in html.unescape(page)


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    for name in set(diffcli.__all__) - {"__version__"}:
        value = getattr(diffcli, name)
        assert f'id="{value.__module__}.{value.__qualname__}"' in pages, name
    entry_of_train = pages[pages.index('id="diffcli.training.run.train"') :][:20000]
    for argument in ("preset", "overrides", "resume", "limit_batches", "logger"):  # of TrainOptions
        assert f">{argument}<" in entry_of_train or f"{argument}:" in entry_of_train, argument
    for method in ("sample", "trajectory", "restore", "reconstruct", "inpaint"):
        entry = pages[pages.index(f'id="diffcli.inference.model.Model.{method}"') :]
        entry = entry[: entry.index('id="diffcli.inference.model.Model.', 10)]
        for argument in ("guidance", "batch_size", "quiet"):  # of SamplerOptions
            assert f">{argument}<" in entry, (method, argument)
        assert "**options" not in re.sub("<[^>]*>", "", entry), method
    assert ":class:" not in pages
    assert ":func:" not in pages


def test_every_preset_is_in_the_book(site: Path) -> None:
    page = (site / "commands" / "all-presets.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in preset_files())


def test_every_page_of_docs_is_in_the_book(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file() or page.name == "README.md", page
    for notebook in NOTEBOOKS:
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert page.count("<img") >= 3, notebook


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_run_from_the_top_to_the_bottom(
    file: Path, workplace: Path, registries: None, small_presets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from book.notebooks import cells, run

    outputs = run(file, **SHORT[file.stem])
    published_outputs = [cell.get("outputs", []) for cell in cells(file)]
    kinds = [[sorted(output.get("data", {"text": 0})) for output in results] for results in outputs]
    assert kinds == [[sorted(output.get("data", {"text": 0})) for output in results] for results in published_outputs]
    assert not [path for path in ROOT.glob("*.yaml") if path.name == "melt.yaml"]


def test_a_parameter_that_a_notebook_lacks_is_an_error(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from book.notebooks import run

    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["N = 1\n", "print(N)\n", "N + 1"]}
    Path("n.ipynb").write_text(json.dumps({"cells": [cell | {"outputs": []}]}))
    (results,) = run(Path("n.ipynb"))
    assert ["".join(results[0]["text"]), results[1]["data"]["text/plain"]] == ["1\n", "2"]
    with pytest.raises(ValueError, match="no parameter M"):
        run(Path("n.ipynb"), M=3)


@pytest.mark.parametrize("name", ["first-hour", "ideas/priors", "ideas/samplers", "ideas/guidance"])
def test_the_commands_of_the_first_pages_run(cli: Cli, workplace: Path, small_presets: None, name: str) -> None:
    if name != "first-hour":
        for preset in ("quickstart", "quickstart-blur"):
            assert cli("train", "--preset", preset, *shlex.split(QUICK["train"])).code == 0
    ran = 0
    for language, _, text in blocks(ROOT / "docs" / f"{name}.md"):
        for line in text.splitlines() if not language else ():
            if line.startswith("diffcli "):
                _, command, *words = shlex.split(line)
                steps = [] if "--steps" in words or command != "sample" else ["--steps", "2"]
                result = cli(command, *words, *shlex.split(QUICK.get(command, "")), *steps)
                assert result.code == 0, (line, result.err)
                ran += 1
    assert ran >= 2


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return re.findall(r"^```(\w*)( .*)?\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_the_naive_sampler_of_the_page_is_the_naive_sampler(hot_run: Path) -> None:
    import torch

    from diffcli.diffusion.degradations import GaussianBlur
    from diffcli.diffusion.samplers import cold_naive, last
    from diffcli.diffusion.schedules import constant

    names: dict[str, Any] = {}
    for language, _, text in snippets(ROOT / "docs" / "ideas" / "one-line.md"):
        if language == "python":
            exec(text, names)
    blur = GaussianBlur(constant(10, 0.3), (1, 8, 8), kernel_size=7)
    xT = torch.rand(2, 1, 8, 8) - 0.5

    def half(xt: torch.Tensor, t: Any) -> torch.Tensor:
        return xt * 0.5

    ours = last(cold_naive(half, blur, xT, [10, 5, 0], lambda: torch.zeros_like(xT)))
    assert torch.allclose(names["naive"](half, blur, xT, [10, 5, 0]), ours, atol=1e-6)


def test_the_version_has_one_place() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert not re.search(r"^version =", project, flags=re.MULTILINE)
    place = re.search(r'\[tool.hatch.version\]\npath = "(.*)"', project)
    assert place is not None
    assert f'__version__ = "{diffcli.__version__}"' in (ROOT / place[1]).read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == diffcli.__version__
