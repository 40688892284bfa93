"""What a study's page says of its bounds, of how long its models were trained, and in sections of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small_studies import HOW, MINE, story

from diffcli.checkpoints.runs import Run
from diffcli.studies.claim_text import Claim
from diffcli.studies.study_view import StudyPage, Table, bounds, html_study, markdown_study

PLAIN = Claim("Plain.", "confirmed", "x 1")


def page(claims: list[Claim]) -> StudyPage:
    return StudyPage("t", "", [], claims, Table([], []), [], epochs=["a 30 of 50 epochs", "b 2 of 2 epochs"])


def test_every_bound_that_was_changed_stands_on_the_page_with_its_verdict_of_now() -> None:
    claims = [story("2026-01-05"), story("2026-01-05", history=[], known_numbers="")]
    (first, second), table = bounds(claims)
    assert first.startswith(
        "A bound that is fixed after its numbers are known can be fitted to them. Of 2 claims with a date, 1 had "
    )
    assert second == "The bounds that stood first, by the numbers and the rules of now: 2 confirmed."
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[:1] + row[2:] for row in rows] == [
        ["1", "2026-01-01 to 2026-01-03", "none", "confirmed", "It said less than its source."],
        ["1", "2026-01-03 to 2026-01-04", "0.84", "not confirmed", "Too much."],
        # What was known of the bound before was known of this one.
        ["1", "2026-01-04 to now", "those above", "confirmed", ""],
    ]
    for text in (html_study(page(claims)), markdown_study(page(claims))):
        assert "When the bounds were fixed" in text
        assert "2026-01-03 to 2026-01-04" in text
        assert "Trained: a 30 of 50 epochs; b 2 of 2 epochs." in text
        assert text.index("Trained: ") < text.index("Claims: 2 confirmed.")
    assert "| **confirmed** | class_kept: a 0.84 [0.838, 0.842] | 2026-01-04 |" in markdown_study(page(claims))


def test_a_bound_that_is_younger_than_its_numbers_is_listed_though_nobody_says_so() -> None:
    (line,), table = bounds([story("2026-01-03", history=[])])
    assert "1 had a bound set or changed" in line
    assert [cell.text for cell in table.rows[0]][3] == "measured on 2026-01-03, before"
    (line,), table = bounds([story("2026-01-05", history=[])])
    assert "Of 1 claims with a date, none had a bound set or changed after numbers of it were known." in line
    assert not table.rows


def test_claims_without_dates_are_shown_without_them() -> None:
    assert bounds([PLAIN]) == ([], bounds([PLAIN])[1])
    for text in (html_study(page([PLAIN])), markdown_study(page([PLAIN]))):
        assert "no date" not in text
        assert "bounds were fixed" not in text
    claims = [PLAIN, story("2026-01-05", history=[])]
    assert bounds(claims)[0][1] == "1 have no date: nobody can tell."
    assert "| x 1 | no date |" in markdown_study(page(claims))
    assert "Bound fixed: no date." in html_study(page(claims))


def test_a_study_says_since_when_its_bounds_stand_and_how_long_its_models_were_trained(cli, tiny: Path) -> None:
    claim = (
        "claims: [{better: long, than: short, metric: fid, since: 2999-01-01, known_numbers: 9 | 8, history: "
        "[{claim: {of: long, metric: fid, at_most: 1e9}, until: 2026-01-31, why: It was easy.}]}]\n"
    )
    text = MINE.replace("claims: [{better: long, than: short, metric: fid}]\n", claim)
    text = text.replace("long: tiny.yaml", "long: {preset: tiny.yaml, remark: for a look}")
    Path("mine.yaml").write_text(text + "budget: {epochs: 3, limit_batches: 1}\n")
    table = "Ten images.\n\n| of | ssim |\n| --- | --- |\n| windows inside | 0.1235 |\n| a \\| b | - |\n"
    Path("numbers.md").write_text(table)
    with Path("mine.yaml").open("a") as file:
        file.write("sections: [{title: How it was computed, text: As said., table: numbers.md}]\n")
    result = cli("study", "mine.yaml", *HOW)
    assert result.code == 0, result.err
    page, markdown = (Path(f"studies/mine/mine.{suffix}").read_text() for suffix in ("html", "md"))
    (entry,) = json.loads(Path("studies/mine/mine.json").read_text())["claims"]
    assert (entry["since"], entry["history"][0]["until"]) == ("2999-01-01", "2026-01-31")
    assert entry["history"][0]["verdict"] == "confirmed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["measured"])
    line = (
        "Trained: short 3 of 3 epochs of 1 batches each (its preset: 1); long 3 of 3 epochs of 1 batches each "
        "(its preset: 2, for a look)."
    )
    for text in (page, markdown):
        assert line in text
        assert "long has a fid of at most 1e+09." in text
        assert "no date to 2026-01-31" in text
    assert "## How it was computed\n\nAs said.\n\nTen images.\n\n| of | ssim |" in markdown
    assert "| windows inside | 0.1235 |\n| a \\| b | - |" in markdown
    assert "<td>0.1235</td>" in page
    # A training that ended early says so.
    rows = Run(Path("studies/mine/long")).folder / "logs" / "metrics.csv"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    assert cli("study", "mine.yaml", *HOW, "--run", "long=studies/mine/long").code == 0
    assert "long 2 of 3 epochs" in Path("studies/mine/mine.md").read_text()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "the table none.md of 'X' cannot be read"),
        ("No table.", "the table none.md of 'X' holds no Markdown table"),
        ("| a |\n| 1 |\n", "the table none.md of 'X' holds no Markdown table"),
        ("| a |\n| - |\n| 1 | 2 |\n", "a row has another number of cells than its head"),
    ],
)
def test_a_table_that_is_none_costs_a_line(cli, tiny: Path, content: str | None, expected: str) -> None:
    Path("mine.yaml").write_text(MINE + "sections: [{title: X, table: none.md}]\n")
    if content is not None:
        Path("none.md").write_text(content)
    result = cli("study", "mine.yaml", *HOW)
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert expected in result.err
    assert not Path("studies").exists()
