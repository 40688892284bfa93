"""Quick comparisons of runs, and what their pages show."""

from __future__ import annotations

from html.parser import HTMLParser

OPTIONS = ["--n-test", 10, "--n-fid", 20, "--steps", 4, "--extractor", "classifier", "--accelerator", "cpu", "--quiet"]


class Reader(HTMLParser):
    """Collects what a page shows and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "img":
            self.sources.append(str(attributes["src"]))
        self.links += [str(attributes[key]) for key in ("href", "srcset", "data") if key in attributes]
        assert tag not in ("script", "link", "iframe", "object")
        if tag == "td" and "data-key" in attributes:
            self.cells.append("")
            self.in_cell = True
        elif tag in ("td", "small"):
            self.in_cell = False

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self.in_cell = False

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.cells[-1] += data
