"""``diffcli compare``: the table, the page, the JSON; and the report's claims against made-up results."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from diffcli.reporting.claims import BLUR, CLAIMS, HIGH, LOW, NOISE, check
from diffcli.reporting.page import best_of, html_page, markdown_page, reported_values

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
        held = dict(attrs)
        if tag == "img":
            self.sources.append(str(held["src"]))
        self.links += [str(held[key]) for key in ("href", "srcset", "data") if key in held]
        assert tag not in ("script", "link", "iframe", "object")
        if tag == "td" and "data-key" in held:
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


@pytest.fixture(scope="module")
def runs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two copies of the trained run, free to be evaluated."""
    place = tmp_path_factory.mktemp("compared")
    copies = [place / "one", place / "two"]
    for copy in copies:
        shutil.copytree(trained, copy)
        (copy / "eval.json").unlink(missing_ok=True)
    return copies


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> Path:
    from diffcli.cli import main

    out = runs[0].parent / "page.html"
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in ["compare", *runs, "--out", out, *OPTIONS]])
    assert not caught.value.code
    return out


def test_the_page_needs_nothing_else(page: Path) -> None:
    reader = Reader(page.read_text())
    assert not reader.links
    assert len(reader.sources) >= 2 * 4 + 3  # each run: two by epoch, two final; loss, loss by t, schedules
    for source in reader.sources:
        assert source.startswith("data:image/png;base64,")
        Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).load()
    assert not re.search(r"url\(|@import", page.read_text())


def test_the_page_holds_the_numbers_of_eval_json(page: Path, runs: list[Path]) -> None:
    cells = [cell.strip() for cell in Reader(page.read_text()).cells]
    expected = []
    for run in runs:
        scores = json.loads((run / "eval.json").read_text())["scores"]
        shown = [key for key in scores if not key.endswith(("_direct", "_floor", "_test"))]
        expected += [f"{scores[key]:.4g}" for key in shown]
    assert cells == expected


def test_chromium_shows_every_picture_and_asks_for_nothing(page: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine; CI installs it")
    # A script that counts the pictures is added to a copy: the page itself has none.
    probe = """<script>addEventListener("load", () => { const all = [...document.images];
      document.title = "loaded " + all.filter(i => i.complete && i.naturalWidth).length + " of " + all.length; })</script>"""
    copy, log = tmp_path / "copy.html", tmp_path / "net.json"
    copy.write_text(page.read_text().replace("</body>", probe + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}", "--dump-dom", copy.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    count = page.read_text().count("<img")
    assert f"<title>loaded {count} of {count}</title>" in result.stdout, result.stderr[-500:]
    asked = re.findall(r'"initiator":"([^"]*)"[^}]*"url":"(https?://[^"]+)"', log.read_text())
    assert not [url for initiator, url in asked if initiator.startswith("file")]


def test_json_markdown_and_the_table_agree(cli, runs: list[Path], page: Path) -> None:
    for suffix in ("json", "md"):
        result = cli("compare", *runs, "--out", f"out.{suffix}", *OPTIONS)
        assert result.code == 0, result.err
    held = json.loads(Path("out.json").read_text())
    assert len(held["runs"]) == 2
    assert {claim["verdict"] for claim in held["claims"]} == {"not measured"}
    scores = held["runs"][0]["scores"]
    assert f"{scores['rmse']:.4g}" in Path("out.md").read_text()
    assert f"{scores['rmse']:.4g}" in cli("compare", *runs, *OPTIONS).out
    assert json.loads(cli("compare", *runs, "--json", *OPTIONS).out) == held


def test_what_is_evaluated_already_is_not_evaluated_again(cli, runs: list[Path], page: Path) -> None:
    before = (runs[0] / "eval.json").stat().st_mtime_ns
    assert cli("compare", *runs, *OPTIONS).code == 0
    assert (runs[0] / "eval.json").stat().st_mtime_ns == before
    changed = [21 if word == 20 else word for word in OPTIONS]
    assert cli("compare", runs[1], *changed).code == 0
    assert json.loads((runs[1] / "eval.json").read_text())["settings"]["n_fid"] == 21


def test_bad_input_costs_one_line(cli, runs: list[Path], workplace: Path) -> None:
    for arguments, expected in [
        ([runs[0], runs[0]], "named twice"),
        ([runs[0], "--out", "page.pdf"], "unknown extension '.pdf'"),
        (["nowhere"], "no run 'nowhere'"),
        ([], "RUN"),
    ]:
        result = cli("compare", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert not list(workplace.iterdir())


def test_values_are_escaped() -> None:
    from diffcli.reporting.page import RunView

    view = RunView("<b>x</b>", "n", "<script>1</script>", "p", {"rmse": 1.0}, {}, {}, [])
    text = html_page("<i>", [view], [], [])
    assert "<script>" not in text
    assert "&lt;b&gt;x" in text
    view = RunView("<b>x</b>|\ny", "n", "a", "p", {"rmse|<i>": 1.0}, {}, {}, [])
    lines = markdown_page("<script>1</script>", [view], []).splitlines()
    assert lines[0] == "# &lt;script&gt;1&lt;/script&gt;"
    assert lines[2:5] == ["| run | rmse\\|&lt;i&gt; |", "| --- | --- |", "| &lt;b&gt;x&lt;/b&gt;\\| y | 1 |"]


def test_best_values() -> None:
    scores = {"a": {"rmse": 1.0, "ssim": 0.5}, "b": {"rmse": 2.0, "ssim": 0.9}, "c": {"rmse": 1.0}}
    assert best_of(scores, ["rmse", "ssim"]) == {"rmse": {"a", "c"}, "ssim": {"b"}}
    assert best_of({"a": {"rmse": 1.0}}, ["rmse"]) == {"rmse": set()}


def test_the_reports_tables_are_held() -> None:
    values = reported_values()
    assert set(values) == {LOW, HIGH, BLUR, NOISE}
    assert values[LOW]["scores"] == {"fid_inception": 233, "loss": 0.0245, "rmse": 0.306, "ssim": 0.164, "psnr": 10.5}
    assert not any("classifier" in key for held in values.values() for key in held["scores"])


def reports_own_results() -> dict[str, dict]:
    results = {name: {"scores": dict(held["scores"]), "by_prior": {}} for name, held in reported_values().items()}
    results[LOW]["alpha_T"], results[HIGH]["alpha_T"] = 0.1352, 7.06e-10
    results[HIGH]["loss_by_t"] = [0.03, 0.01, 0.001, 0.0004] + [1e-4] * 6
    results[BLUR]["scores"]["class_kept"], results[NOISE]["scores"]["class_kept"] = 7 / 8, 0.2
    results[BLUR]["by_prior"] = {"uniform": {"fid_inception": 304.0}, "blurred-data": {"fid_inception": 20.0}}
    return results


def test_the_reports_own_numbers_confirm_its_claims() -> None:
    claims = check(reports_own_results())
    assert [claim.verdict for claim in claims] == ["confirmed"] * len(CLAIMS)


def test_other_numbers_contradict_them() -> None:
    results = reports_own_results()
    results[LOW], results[HIGH] = (
        {**results[LOW], "scores": results[HIGH]["scores"]},
        {**results[HIGH], "scores": results[LOW]["scores"], "loss_by_t": [0.01] * 10},
    )
    results[BLUR]["scores"] |= {"rmse": 0.9, "class_kept": 0.1}
    results[BLUR]["by_prior"]["uniform"]["fid_inception"] = 21.0
    assert [claim.holds for claim in check(results)] == [False] * len(CLAIMS)


def test_claims_without_runs_are_not_measured() -> None:
    claims = check({})
    assert {claim.verdict for claim in claims} == {"not measured"}
    assert LOW in claims[0].evidence
