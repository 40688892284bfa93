"""A run of a folder of images is evaluated, resumed and compared wherever it is, and wherever the images are by now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Cli
from PIL import Image

import diffcli

CPU = diffcli.Devices("cpu", "1")
TRAIN = ["train", "--preset", "pics.yaml", "--accelerator", "cpu", "-q"]
EVAL = ["eval", "--loss", "--accelerator", "cpu", "-q"]


def save_pictures(place: Path, seed: int = 0) -> None:
    """Thirty small pictures of two classes."""
    random = np.random.default_rng(seed)
    for number in range(30):
        file = place / ("ab"[number % 2]) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(file)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project: a folder of pictures, a preset that names it as it is seen from there, and a run; tests must not
    change it."""
    place = tmp_path_factory.mktemp("made") / "project"
    place.mkdir()
    save_pictures(place / "pics")
    preset = TINY.replace("{name: digits}", "{name: folder, path: pics, size: 8, channels: 1}")
    (place / "pics.yaml").write_text(preset.replace("epochs: 2", "epochs: 1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        diffcli.train("pics.yaml", out="runs/mine", devices=CPU, quiet=True)
    return place


@pytest.fixture
def project(original: Path, workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, trained anew where it is; from the folder beside it."""
    place = workplace / "project"
    shutil.copytree(original, place)
    shutil.rmtree(place / "runs")
    monkeypatch.chdir(place)
    assert cli(*TRAIN, "--out", "runs/mine").code == 0
    (workplace / "beside").mkdir()
    monkeypatch.chdir(workplace / "beside")
    return place


def test_an_evaluation_needs_no_working_folder(cli: Cli, project: Path) -> None:
    result = cli(*EVAL, "--run", project / "runs/mine", "--json")
    assert result.code == 0, result
    assert json.loads(result.out)["notes"] == []
    for words in (
        ["sample", "--run", project / "runs/mine", "--conditional", "--n", 2, "--steps", 2, "--accelerator", "cpu"],
        [
            "sample",
            "--run",
            project / "runs/mine",
            "--prior",
            "gaussian",
            "--n",
            2,
            "--steps",
            2,
            "--accelerator",
            "cpu",
        ],
        ["compare", project / "runs/mine", "--rmse", "--n-test", 2, "--steps", 2, "--accelerator", "cpu"],
        ["train", "--resume", project / "runs/mine", "--epochs", 2, "--accelerator", "cpu"],
    ):
        result = cli(*words, "-q")
        assert result.code == 0, result
    assert len(diffcli.load(project / "runs/mine", devices=CPU).training_split()) == 19
    # A resume from elsewhere says anew where the images are, and the preset stays as it was written.
    place = json.loads((project / "runs/mine/run.json").read_text())["data_path"]
    assert place == {"preset": "pics", "absolute": str(project / "pics"), "from_run": "../../pics"}
    assert "path: pics" in (project / "runs/mine/preset.yaml").read_text()


def test_a_moved_project_still_works(cli: Cli, project: Path, original: Path) -> None:
    place = project.rename(project.with_name("moved"))
    assert cli(*EVAL, "--run", place / "runs/mine").code == 0
    # As seen from the run, also where a link leads to it.
    link = project.with_name("link")
    link.symlink_to(place / "runs" / "mine", target_is_directory=True)
    assert cli(*EVAL, "--run", link).code == 0
    # A checkpoint that has left its run, and a run of before, know what the preset says.
    shutil.copy(place / "runs/mine/checkpoints/best.ckpt", "alone.ckpt")
    result = cli(*EVAL, "--checkpoint", "alone.ckpt")
    assert (result.code, "(looked for: pics); name their folder with --data" in result.err) == (2, True), result
    assert cli(*EVAL, "--checkpoint", "alone.ckpt", "--data", place / "pics").code == 0


def test_images_that_are_gone_are_asked_for(cli: Cli, project: Path) -> None:
    photos = (project / "pics").rename(project / "photos")
    run = project / "runs/mine"
    (run / "eval.json").unlink(missing_ok=True)
    before = sorted(project.rglob("*"))
    message = (
        f"the images of the training are not there any more (looked for: {project}/pics, pics); name their folder with"
    )
    for words, option in (
        (EVAL, "--data"),
        (["sample", "--conditional"], "--data"),
        (["compare", "--rmse"], "--data"),
        (["train", "--resume"], "--set data.path"),
    ):
        run_words = [run] if words[0] in ("compare", "train") else ["--run", run]
        result = cli(*words, *run_words, *(["--epochs", 2] if words[0] == "train" else []))
        assert (result.code, result.out) == (2, ""), result
        assert result.err == f"error: {message} {option}\n"
    assert sorted(project.rglob("*")) == before
    for words in (
        [*EVAL, "--run", run, "--data", photos],
        ["sample", "--run", run, "--conditional", "--n", 2, "--steps", 2, "--data", photos, "-q"],
        ["compare", run, "--rmse", "--n-test", 2, "--steps", 2, "--data", photos, "-q"],
        ["train", "--resume", run, "--epochs", 2, "--set", f"data.path={photos}", "-q"],
    ):
        result = cli(*words)
        assert result.code == 0, result
    # From now on the run knows.
    assert cli(*EVAL, "--run", run).code == 0
    assert diffcli.evaluate(run, ["loss"], data=photos, devices=CPU, quiet=True).notes == []
    assert len(diffcli.load(run, data=photos, devices=CPU).source().test) == 6


def test_other_images_are_named_as_such(cli: Cli, project: Path) -> None:
    run = project / "runs/mine"
    save_pictures(Path("others"), seed=1)
    result = json.loads(cli(*EVAL, "--run", run, "--data", "others", "--json").out)
    (note,) = result["notes"]
    assert "the images are not those of the training" in note
    model = diffcli.load(run, devices=CPU)
    assert diffcli.evaluate(model, ["loss"], data="others", quiet=True).scores == result["scores"]
    # So are those that have been added to since: the split is another then.
    Image.new("L", (8, 8), 7).save(project / "pics" / "a" / "new.png")
    assert (
        "test images may hold some that were trained on"
        in json.loads(cli(*EVAL, "--run", run, "--json").out)["notes"][0]
    )


def test_images_that_do_not_fit_cost_a_line(cli: Cli, project: Path, hot_run: Path) -> None:
    run = project / "runs/mine"
    Path("few").mkdir()
    for words, expected in (
        ([*EVAL, "--run", run, "--data", "nowhere"], "--data nowhere does not exist; name a folder of images"),
        ([*EVAL, "--run", run, "--data", "few"], "holds 0 images; at least 10 are needed"),
        (["compare", run, "--data", "few"], "holds 0 images; at least 10 are needed"),
        (
            [*EVAL, "--run", hot_run, "--data", "few"],
            "--data is for models of a folder of images; data digits is looked for",
        ),
        (
            ["compare", run, hot_run, "--data", project / "pics"],
            "--data is for models of a folder of images; data digits",
        ),
        (["sample", "--run", run, "--data", "nowhere", "--conditional"], "--data nowhere does not exist"),
        (
            ["export", run, "--out", "m.onnx", "--data", project / "pics"],
            "--data names images, and none are read for this",
        ),
        (["export", run, "--data", project / "pics"], "--data is for graphs, .onnx or .pt2"),
        (
            ["sample", "--run", run, "--data", project / "pics"],
            "--data names images, and none are read for this; leave it out",
        ),
    ):
        result = cli(*words)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
        assert expected in result.err
    with pytest.raises(diffcli.UserError, match="`data` is for models of a folder"):
        diffcli.load(hot_run, data="few")


def test_images_of_other_classes_are_refused(cli: Cli, project: Path) -> None:
    labelled = project / "labelled.yaml"
    labelled.write_text(
        (project / "pics.yaml").read_text().replace("path: pics", f"path: {project}/pics") + "labels: {}\n"
    )
    network = "{name: compact-unet, width: 8, blocks: 1}"
    words = ["--preset", labelled, "--out", "run", "--set", f"network={network}", "--accelerator", "cpu", "-q"]
    result = cli("train", *words)
    assert result.code == 0, result
    (project / "pics" / "b").rename(project / "pics" / "c")
    result = cli(*EVAL, "--run", "run")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "the classes of the images are a, c, and those of the model a, b" in result.err
