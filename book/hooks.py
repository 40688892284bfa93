"""MkDocs' hooks: pages from the code and from notebooks, links that leave ``docs``, formulas."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from book import api, commands, formulas, notebooks, presets  # noqa: E402

OUTSIDE = re.compile(r"\]\((\.\./[^)#]+)\)")
"""A link of a page in ``docs`` to a file of the repository that is not in it."""
NAMED_FENCE = re.compile(r"^```(\w+) file=(\S+)$", flags=re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Completes the navigation: generated pages where a folder is named, and new pages of ``docs`` at the end of How
    to."""
    pages = {"commands/": commands.navigation(), "api/": api.navigation()}
    navigation = repr(config.nav)
    for entry in config.nav or []:
        if isinstance(entry, dict):
            (title, content) = next(iter(entry.items()))
            if isinstance(content, str) and content in pages:
                entry[title] = pages[content]
            elif title == "How to":
                names = sorted(file.name for file in (ROOT / "docs").glob("*.md"))
                content += [name for name in names if f"'{name}'" not in navigation]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages; a web page that lies beside a Markdown page of its name gets another one."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            target = file.src_uri.removesuffix(".ipynb")
            for name, content in notebooks.pages(Path(file.abs_src_path or ""), target).items():
                files.append(File.generated(config, name, content=content))
    for source in sorted((ROOT / "docs").rglob("*.html")):
        name = source.relative_to(ROOT / "docs").as_posix()
        page = File.generated(config, name, abs_src_path=str(source), inclusion=InclusionLevel.INCLUDED)
        page.dest_uri = page.url = name.removesuffix(".html") + "-page.html"
        files.append(page)
    pages = commands.pages() | api.pages() | presets.pages()
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Names of code blocks become their titles; linked files of the repository travel with the book."""
    markdown = NAMED_FENCE.sub(r'```\1 title="\2"', markdown)

    def taken_along(match: re.Match[str]) -> str:
        target = (ROOT / "docs" / page.file.src_uri).parent / match[1]
        inside = target.resolve()
        if inside.is_relative_to(ROOT / "docs") or not inside.is_file():
            return match[0]
        name = f"repository/{inside.relative_to(ROOT)}"
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, content=inside.read_bytes()))
        depth = page.file.src_uri.count("/")
        return f"]({'../' * depth}{name})"

    return OUTSIDE.sub(taken_along, markdown)


def on_page_content(html: str, **kwargs: Any) -> str:
    """Formulas as drawings, which need nothing."""
    return formulas.render(html)
