"""CITATION.cff, which GitHub, Zenodo and Zotero read: by the rules of the format's version 1.2.0, and of this
version."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import yaml
from conftest import ROOT
from pages import PAGES

import diffcli

FILE: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
REQUIRED = {"cff-version", "message", "title", "authors"}
ALLOWED = REQUIRED | {
    "abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license", "license-url",
    "preferred-citation", "references", "repository", "repository-artifact", "repository-code", "type", "url",
    "version",
}  # fmt: skip
OF_REFERENCES = {"type", "title", "authors", "year", "url", "identifiers", "notes", "date-released"}
"""Those of the format's keys that are used here."""
TYPES = {"article", "book", "conference-paper", "generic", "report", "software", "thesis", "unpublished", "website"}
"""Some of the format's."""


def test_the_file_has_what_the_format_asks_for_and_nothing_else() -> None:
    assert set(FILE) <= ALLOWED
    assert set(FILE) >= REQUIRED
    assert (FILE["cff-version"], FILE["type"], FILE["license"]) == ("1.2.0", "software", "MIT")
    assert all(isinstance(FILE[key], str) and FILE[key] for key in ("message", "title", "version"))


@pytest.mark.parametrize("reference", FILE["references"], ids=lambda reference: reference["title"])
def test_references_are_whole(reference: dict[str, Any]) -> None:
    assert set(reference) >= {"type", "title", "authors", "year"}
    assert set(reference) <= OF_REFERENCES
    assert reference["type"] in TYPES
    assert isinstance(reference["year"], int)
    assert reference["authors"]
    for author in reference["authors"]:
        # An entity of the format's, where a title page has more names than a reader reads.
        assert set(author) in ({"family-names", "given-names"}, {"name"})
        assert all(isinstance(name, str) and name for name in author.values())
    for identifier in reference.get("identifiers", []):
        assert identifier["type"] in {"doi", "url", "swh", "other"}
        number = identifier["value"].removeprefix("arXiv:")
        assert re.fullmatch(r"\d{4}\.\d{4,5}", number)
        assert reference["url"] == f"https://arxiv.org/abs/{number}"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of Python 3.11")
def test_it_says_what_the_package_says() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert FILE["version"] == diffcli.__version__
    assert FILE["authors"] == project["authors"]
    assert FILE["keywords"] == project["keywords"]


def test_every_paper_is_one_that_the_pages_or_the_code_cite() -> None:
    sources = [*PAGES, *(ROOT / "diffcli").rglob("*.py")]
    text = " ".join(" ".join(file.read_text(encoding="utf-8").split()) for file in sources)
    for reference in FILE["references"][1:]:
        first, *others = [author.get("family-names") for author in reference["authors"]]
        name = f"{first} et al." if len(others) > 1 or None in others else f"{first} (&|and) {others[0]}"
        assert re.search(rf"{name},? \(?{reference['year']}", text), f"{name} {reference['year']} is cited nowhere"
    assert "Vishal Jain" in text


def test_every_paper_that_the_code_cites_is_there() -> None:
    works = {(reference["authors"][0]["family-names"], reference["year"]) for reference in FILE["references"]}
    citation = re.compile(r"([\w-]+) (?:et al\.|(?:&|and) [A-Z][\w-]+),? \(?((?:19|20)\d\d)\b")
    for file in (ROOT / "diffcli").rglob("*.py"):
        for first, year in citation.findall(" ".join(file.read_text(encoding="utf-8").split())):
            assert (first, int(year)) in works, f"{file}: {first} {year}"
