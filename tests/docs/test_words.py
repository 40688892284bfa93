"""Words: names are nouns of the field, no bare participles; the first line of a docstring is a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "diffcli"
FILES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = frozenset(
    re.findall(
        r"\w+",
        """
    agreed alike allowed alone along anew another anyone apart around asked averaged began begun beside beware
    beyond both built called came checked chosen claimed clipped clustered completed conditioned counted
    counting covered damaged dated deciding decoded described differing disputed doubled drawn elsewhere
    everyone everything everywhere explained folded found given glance going halved handled informed inverted
    joined kept known learnt listed loaded locked logged lost made mine missed mixed mounted moved named
    numbered opened ordered painted parsed pinned placed planned pooled prepared probed published quantized
    raised received reconstructed recorded redrawn refitted refused registered removed renamed rendered
    resampled said sampled saved scaled seen selected several shown spaced spent stored strange stretched
    supplied taken theirs told trained transposed tried trusted turned unasked undated unguided unknown
    unrounded untrained used vanished varied wanted watched what which whitened whom whose worse worst written
    """,
    )
)
"""Words that were names of things once, and said nothing of them: ``told`` were labels, ``wanted`` metrics."""
FORMER = {"kept"}
"""Names that :mod:`diffcli.utils.former_names` still answers to."""
RIDDLES = re.compile(r"(?:What|Of|Those|That|Which|Whose|Where|How many|By what|In words)\b")


def nodes(file: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(file.read_text()))


def names(file: Path) -> Iterator[tuple[str, int]]:
    """Every name that a file gives to something, with its line."""
    for node in nodes(file):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_names_are_nouns(file: Path) -> None:
    for name, line in names(file):
        assert name.strip("_").lower() not in FORBIDDEN - FORMER, f"{file}:{line}: {name} says nothing of the thing"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_first_line_of_a_docstring_is_a_sentence(file: Path) -> None:
    for node in nodes(file):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            text = ast.get_docstring(node) or ""
            assert not RIDDLES.match(text), f"{file}: {getattr(node, 'name', '')}: {text.splitlines()[0]}"


def test_the_words_are_found_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "riddles.py"
    file.write_text('def told(wanted):\n    """What is wanted."""\n    self.given = [drawn for drawn in wanted]\n')
    assert {name for name, _ in names(file)} == {"told", "wanted", "given", "drawn"} <= FORBIDDEN
    assert RIDDLES.match("What is wanted.")
    assert not RIDDLES.match("The labels of a model.")
