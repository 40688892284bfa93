"""``diffcli compare``: the table, the page, the JSON."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from comparisons import OPTIONS, Reader
from conftest import TINY
from PIL import Image

from diffcli.checkpoints.model_file import ready_models
from diffcli.checkpoints.runs import Run
from diffcli.evaluation.metrics import is_beside
from diffcli.studies.best_values import best_of, remarks
from diffcli.studies.compare_runs import origin_of
from diffcli.studies.comparison_view import Page, html_page, markdown_page


@pytest.fixture(scope="module")
def runs(hot_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two copies of the trained run, free to be evaluated."""
    place = tmp_path_factory.mktemp("compared")
    fresh = shutil.ignore_patterns("eval.json", "compare")
    return [shutil.copytree(hot_run, place / name, ignore=fresh) for name in ("one", "two")]


def evaluation_of(run: Path) -> Path:
    """The one evaluation that comparisons made of a run."""
    (file,) = run.glob("compare/*/eval.json")
    return file


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> Path:
    from diffcli.cli import main

    out = runs[0].parent / "page.html"
    with pytest.raises(SystemExit) as error:
        main([str(word) for word in ["compare", *runs, "--out", out, *OPTIONS]])
    assert not error.value.code
    return out


def test_the_page_needs_nothing_else(page: Path) -> None:
    reader = Reader(page.read_text())
    assert not reader.links
    assert len(reader.sources) >= 2 * 4 + 3  # each run: two by epoch, two final; loss, loss by t, schedules
    for source in reader.sources:
        assert source.startswith("data:image/png;base64,")
        Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).load()
    assert not re.search(r"url\(|@import", page.read_text())


def test_the_page_holds_the_numbers_of_the_evaluations(page: Path, runs: list[Path]) -> None:
    cells = [cell.strip() for cell in Reader(page.read_text()).cells]
    expected = []
    for run in runs:
        scores = json.loads(evaluation_of(run).read_text())["scores"]
        keys = [key for key in scores if not is_beside(key)]
        expected += [f"{scores[key]:.4g}" for key in keys]
    assert cells == expected


def test_the_page_says_what_each_model_is_and_shows_them_side_by_side(
    cli, runs: list[Path], page: Path, workplace: Path
) -> None:
    result = cli("export", runs[0], "--out", "mine.safetensors")
    assert result.code == 0, result.err
    few = ["--fid", "--n-test", 10, "--n-fid", 20, "--steps", 4, "--extractor", "classifier", "--accelerator", "cpu"]
    result = cli("compare", runs[0], "mine.safetensors", "--out", "page.html", *few, "--quiet")
    assert result.code == 0, result.err
    text = Path("page.html").read_text()
    models = text[text.index("<h2>Models</h2>") : text.index("<h2>Samples</h2>")]
    for fact in (f"run {runs[0]}", "model file mine.safetensors", "a tiny model for the tests", "ancestral, 4 steps"):
        assert fact in models, fact
    report = json.loads(cli("compare", runs[0], "mine.safetensors", "--json", *few, "--quiet").out)
    for run in report["runs"]:
        assert f"cnn, {run['parameters']:,} parameters" in models
        assert run["settings"]["sample_seconds"] > 0
    samples = text[text.index("<h2>Samples</h2>") : text.index("<h2>Reconstructions")]
    assert samples.count("<img") == 2
    # What real images score stands below a distance.
    scores = report["runs"][0]["scores"]
    fid, real = scores["fid_classifier"], scores["fid_classifier_floor"]
    floor = f"floor {real:.3g} ({fid / real:.2f} times that)"
    assert f"<small>{floor}</small>" in text
    assert cli("compare", runs[0], "mine.safetensors", "--out", "page.md", *few, "--quiet").code == 0
    markdown = Path("page.md").read_text()
    assert f", {floor}" in markdown
    assert "| from | run " in markdown


@pytest.mark.parametrize(
    ("file", "training", "expected"),
    [
        (
            "theirs.safetensors",
            {"imported_from": "diffusers"},
            "theirs.safetensors, imported from a pipeline of diffusers",
        ),
        ("mine.safetensors", {"seed": 1}, "model file mine.safetensors"),
        ("runs/a/last.ckpt", {}, "run runs/a"),
        (".", {}, "pipeline of diffusers, ."),
    ],
)
def test_the_page_says_where_a_model_comes_from(file: str, training: dict, expected: str) -> None:
    assert origin_of(Run(Path("runs/a")), Path(file), training) == expected
    assert origin_of(Run(Path("runs/a")), ready_models()["emoji"], {}) == "ready model, comes with diffcli"


def test_models_with_the_same_labels_are_drawn_label_by_label(cli, guided_run: Path, workplace: Path) -> None:
    assert cli("export", guided_run, "--out", "mine.safetensors", "--quiet").code == 0
    few = ["--label-kept", "--n-fid", 10, "--steps", 2, "--accelerator", "cpu", "--quiet"]
    result = cli("compare", "mine.safetensors", "--out", "page.html", *few)
    assert result.code == 0, result.err
    text = Path("page.html").read_text()
    assert "8 samples of each label, seed 0" in text
    # A model file knows no losses by epoch, so that there is nothing to draw of them.
    assert "training and validation loss" not in text
    picture = next(Path("runs/.models").rglob("samples-by-label.png"))
    again = cli(
        "sample", "--checkpoint", "mine.safetensors", "--steps", 2, "--label", "0-9", "--row-labels", "--out", "a.png"
    )
    assert again.code == 0, again.err
    assert picture.read_bytes() == Path("a.png").read_bytes()


def test_chromium_shows_every_picture_and_asks_for_nothing(page: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine; CI installs it")
    # A script that counts the pictures is added to a copy: the page itself has none.
    probe = """<script>addEventListener("load", () => { const all = [...document.images];
      document.title = "loaded " + all.filter(i => i.complete && i.naturalWidth).length
        + " of " + all.length; })</script>"""
    copy, log = tmp_path / "copy.html", tmp_path / "net.json"
    copy.write_text(page.read_text().replace("</body>", probe + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}", "--dump-dom", copy.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    count = page.read_text().count("<img")
    assert f"<title>loaded {count} of {count}</title>" in result.stdout, result.stderr[-500:]
    requests = re.findall(r'"initiator":"([^"]*)"[^}]*"url":"(https?://[^"]+)"', log.read_text())
    assert not [url for initiator, url in requests if initiator.startswith("file")]


def test_json_markdown_and_the_table_agree(cli, runs: list[Path], page: Path) -> None:
    for suffix in ("json", "md"):
        result = cli("compare", *runs, "--out", f"out.{suffix}", *OPTIONS)
        assert result.code == 0, result.err
    report = json.loads(Path("out.json").read_text())
    assert len(report["runs"]) == 2
    assert report["claims"] == []  # none is about these runs
    scores = report["runs"][0]["scores"]
    assert f"{scores['rmse']:.4g}" in Path("out.md").read_text()
    assert f"{scores['rmse']:.4g}" in cli("compare", *runs, *OPTIONS).out
    assert json.loads(cli("compare", *runs, "--json", *OPTIONS).out) == report


def test_bad_input_costs_one_line(cli, runs: list[Path], workplace: Path) -> None:
    for arguments, expected in [
        ([runs[0], runs[0]], "named twice"),
        ([runs[0], "--out", "page.pdf"], "unknown extension '.pdf'"),
        (["nowhere"], "unknown run 'nowhere'; known: blur-fast"),
        ([], "RUN"),
    ]:
        result = cli("compare", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert not list(workplace.iterdir())


def test_values_are_escaped() -> None:
    from diffcli.studies.comparison_view import RunView

    view = RunView("<b>x</b>", "n", "<script>1</script>", "p", {"rmse": 1.0}, {}, {}, [])
    text = html_page(Page("<i>", [view], {"rmse": set()}, ["<u>"]))
    assert "<script>" not in text
    assert "&lt;b&gt;x" in text
    assert "&lt;u&gt;" in text
    view = RunView("<b>x</b>|\ny", "n", "a", "p", {"rmse|<i>": 1.0}, {}, {}, [])
    lines = markdown_page(Page("<script>1</script>", [view], {"rmse|<i>": set()}, ["<u>"])).splitlines()
    assert lines[0] == "# &lt;script&gt;1&lt;/script&gt;"
    assert lines[2:5] == ["| run | rmse\\|&lt;i&gt; |", "| --- | --- |", "| &lt;b&gt;x&lt;/b&gt;\\| y | 1 |"]
    assert "- &lt;u&gt;" in lines


def made_up(scores: dict[str, float], **settings: object) -> dict[str, dict]:
    return {"scores": scores, "settings": settings}


def test_best_values() -> None:
    runs = {
        "a": made_up({"rmse": 1.0, "ssim": 0.5}),
        "b": made_up({"rmse": 2.0, "ssim": 0.9}),
        "c": made_up({"rmse": 1.0}),
    }
    assert best_of(runs, ["rmse", "ssim"]) == {"rmse": {"a", "c"}, "ssim": {"b"}}
    assert not remarks(runs, ["rmse", "ssim"])
    assert best_of({"a": made_up({"rmse": 1.0})}, ["rmse"]) == {"rmse": set()}


def test_a_run_is_the_best_only_where_every_judge_says_so() -> None:
    keys = ["fid_classifier", "fid_resnet", "kid_resnet"]
    runs = {
        "a": made_up(dict(zip(keys, (1.0, 1.0, 1.0), strict=True))),
        "b": made_up(dict(zip(keys, (2.0, 2.0, 2.0), strict=True))),
    }
    assert best_of(runs, keys) == {key: {"a"} for key in keys}
    runs["b"]["scores"]["fid_resnet"] = 0.5
    assert best_of(runs, keys) == {"fid_classifier": set(), "fid_resnet": set(), "kid_resnet": {"a"}}
    assert remarks(runs, keys) == ["fid_classifier, fid_resnet: no best value, as the judges disagree"]


def test_no_number_is_never_the_best() -> None:
    runs = {"a": made_up({"rmse": float("nan")}), "b": made_up({"rmse": 2.0}), "c": made_up({"rmse": 3.0})}
    assert best_of(runs, ["rmse"]) == {"rmse": {"b"}}


@pytest.mark.parametrize(
    ("key", "setting", "values"),
    [
        ("loss", "prediction", ["eps", "v"]),
        ("loss", "schedule", [{"name": "linear", "T": 20}, {"name": "linear", "T": 40}]),
        ("loss", "degradation", [{"name": "gaussian-noise"}, {"name": "gaussian-blur"}]),
        ("rmse_direct", "n_test", [10, 359]),
        ("psnr", "test_images", ["00", "ff"]),
        ("ssim", "ssim", [{"sigma": 0.5}, {"sigma": 1.5}]),
        ("class_kept", "classifier", [{"weights_sha256": "00"}, {"weights_sha256": "ff"}]),
        ("fid_x", "extractors", [[{"name": "x", "weights_sha256": "00"}], [{"name": "x", "weights_sha256": "ff"}]]),
        ("kid_inception", "n_fid", [500, 1000]),
        ("fid_inception", "kind", ["generation", "restoration, not generation"]),
    ],
)
def test_what_cannot_be_compared_has_no_best_value(key: str, setting: str, values: list[object]) -> None:
    same, other = made_up({key: 1.0}, **{setting: values[0]}), made_up({key: 2.0}, **{setting: values[1]})
    assert best_of({"a": same, "b": {**same, "scores": {key: 2.0}}}, [key])[key]
    assert best_of({"a": same, "b": other}, [key]) == {key: set()}
    (remark,) = remarks({"a": same, "b": other}, [key])
    assert remark.startswith(f"{key}: no best value, as the runs differ in ")
    # Another metric is not concerned, but for those that need the same.
    assert best_of({"a": {**same, "scores": {"x": 1.0}}, "b": {**other, "scores": {"x": 2.0}}}, ["x"]) == {"x": set()}


def test_losses_of_different_predictions_are_not_marked(cli, workplace: Path) -> None:
    for prediction in ("eps", "x0"):
        Path(f"{prediction}.yaml").write_text(TINY.replace("prediction: eps", f"prediction: {prediction}"))
        options = ["--epochs", 1, "--limit-batches", 1, "--accelerator", "cpu", "-q"]
        assert cli("train", "--preset", f"{prediction}.yaml", "--out", prediction, *options).code == 0
    result = cli("compare", "eps", "x0", *OPTIONS)
    assert result.code == 0, result.err
    rows = {words[0]: line for line in result.out.splitlines() if (words := line.strip("│ ").split())}
    assert "*" in rows["rmse"]
    assert "*" not in rows["loss"] + rows["nearest"]
    assert "loss: no best value, as the runs differ in prediction" in result.out
    for file in ("out.html", "out.md", "out.json"):
        assert cli("compare", "eps", "x0", "--out", file, *OPTIONS).code == 0
        assert "loss: no best value, as the runs differ in prediction" in Path(file).read_text()
    assert json.loads(Path("out.json").read_text())["best"]["loss"] == []
    assert "their losses cannot be compared" in Path("out.html").read_text()
