"""Words: names are nouns of the field, no bare participles, in the package as in what tests, measures and documents it;
the first line of a docstring is a sentence."""

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
PARTICIPLES = frozenset(
    re.findall(
        r"\w+",
        """
    added agreed asked averaged began begun borrowed brought built called came captured caught changed checked chosen
    compared copied counted damaged decoded described disturbed done doubled drawn drowned encoded ended escaped
    evaluated exported fetched finished flipped found generated given gone grown halved handled heard held ignored
    imported installed inverted joined judged kept killed known launched learnt left linked listed loaded logged lost
    made meant measured mixed mounted moved named opened packed painted pickled placed planned pooled predicted
    prepared printed probed raised recorded reconstructed redrawn refused removed replayed resumed rounded said
    sampled saved scaled scored seen selected sent served shown shuffled smeared spent spoilt started stored struck
    studied supplied taken told trained transposed truncated turned typed used wanted watched weighted written
    """,
    )
)
"""What was done to a thing, which does not say what the thing is: ``found`` were matches, files, scores."""
EXCEPTIONS = {
    "left": {
        "diffcli/data/image_files.py",
        "diffcli/diffusion/degradations/separable.py",
        "diffcli/diffusion/tiles.py",
        "tests/unit/data/test_classes.py",
        "tests/unit/diffusion/test_kinds.py",
        "tests/unit/networks/test_dit.py",
        # The parameter of the degradations fade and mask: the share of an image that is there at T.
        "diffcli/diffusion/degradations/fade.py",
        "diffcli/diffusion/degradations/mask.py",
    },
}
"""Names that are no participles where they stand, by word: ``left`` is a side, of an image or of a product."""
FOLDERS = ("diffcli", "tests", "benchmarks", "book")
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


def local_names(file: Path) -> Iterator[tuple[str, int]]:
    """The variables, functions, arguments and exceptions of a file with their lines: all names but those of a class,
    which are used elsewhere, and may be a library's."""
    tree = list(nodes(file))
    fields: set[ast.AST] = {part for node in tree if isinstance(node, ast.ClassDef) for part in node.body}
    fields |= {part.target for part in fields if isinstance(part, ast.AnnAssign)}
    fields |= {target for part in fields if isinstance(part, ast.Assign) for target in part.targets}
    for node in tree:
        if node in fields:
            continue
        if isinstance(node, ast.FunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno


def participles(folder: Path) -> list[tuple[str, str, int]]:
    """The bare participles among the names of a folder's files: (file, name, line)."""
    return [
        (file.relative_to(folder.parent).as_posix(), name, line)
        for file in sorted(folder.rglob("*.py"))
        for name, line in local_names(file)
        if name.strip("_").lower() in PARTICIPLES
    ]


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


def test_no_name_is_a_bare_participle() -> None:
    places = [place for folder in FOLDERS for place in participles(ROOT / folder)]
    allowed_places = {(file, name) for name, files in EXCEPTIONS.items() for file in files}
    assert [place for place in places if place[:2] not in allowed_places] == []
    assert allowed_places == {place[:2] for place in places}, "an exception that nothing needs any more"


def test_participles_are_found_where_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "names.py").write_text(
        "def told(asked, *made, **given):\n"
        "    for seen, (drawn, *kept) in asked:\n"
        "        with seen as caught, drawn as (shown, _):\n"
        "            if (done := [said for said in kept]) or (lambda left: left):\n"
        "                pass\n"
        "    try:\n"
        "        known: int = 1\n"
        "    except OSError as raised:\n"
        "        pass\n"
        "class Record:\n"
        "    measured: str\n"
        "    wanted = 1\n"
        "    def found(self, taken):\n"
        "        self.moved = taken.named\n"
    )
    words = "told asked made given seen drawn kept caught shown done said left known raised taken"
    assert {name for _, name, _ in participles(folder)} == set(words.split())


def test_the_words_are_found_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "riddles.py"
    file.write_text('def told(wanted):\n    """What is wanted."""\n    self.given = [drawn for drawn in wanted]\n')
    assert {name for name, _ in names(file)} == {"told", "wanted", "given", "drawn"} <= FORBIDDEN
    assert RIDDLES.match("What is wanted.")
    assert not RIDDLES.match("The labels of a model.")
