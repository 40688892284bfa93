"""Labels by command and in Python: which image is asked for, how it is guided, and how many are read as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from PIL import Image
from sampler_names import ON_NOISE

import diffcli
from diffcli.data.label_names import label_numbers

RECIPE = TINY.replace("lr: 1e-3", "lr: 1e-3, ema: 0.9, guide_at: 0.3") + "labels: {dropped: 0.2}\n"
CPU = diffcli.Devices("cpu", "1")
SAMPLE = ["sample", "--accelerator", "cpu", "--steps", 4, "-q"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny model with labels and an early average."""
    place = tmp_path_factory.mktemp("labelled")
    (place / "labelled.yaml").write_text(RECIPE)
    return diffcli.train(place / "labelled.yaml", out=place / "run", devices=CPU, quiet=True).folder


def images_of(cli: Cli, run: Path, *options: object) -> np.ndarray:
    result = cli(*SAMPLE, "--run", run, "--out", "s.npz", *options)
    assert result.code == 0, result.err
    return np.load("s.npz")["images"]


def test_labels_decide_the_images_whatever_the_batch_size(cli: Cli, workplace: Path, labelled: Path) -> None:
    sevens = images_of(cli, labelled, "--n", 5, "--label", 7)
    assert np.array_equal(images_of(cli, labelled, "--n", 5, "--label", 7, "--batch-size", 2), sevens)
    assert not np.array_equal(images_of(cli, labelled, "--n", 5, "--label", 3), sevens)
    assert not np.array_equal(images_of(cli, labelled, "--n", 5, "--label", "none"), sevens)
    images = images_of(cli, labelled, "--n", 4, "--label", 7, "--label", "3")
    assert np.array_equal(images[::2], sevens[[0, 2]])
    whole = images_of(cli, labelled, "--n", 5)
    assert np.array_equal(images_of(cli, labelled, "--n", 5, "--batch-size", 1), whole)


@pytest.mark.parametrize("sampler", ON_NOISE)
def test_guidance_goes_with_every_sampler(cli: Cli, workplace: Path, labelled: Path, sampler: str) -> None:
    options = ["--n", 3, "--label", 7, "--sampler", sampler]
    plain = images_of(cli, labelled, *options)
    assert np.array_equal(images_of(cli, labelled, *options, "--guidance", 1, "--autoguidance", 1), plain)
    guided = images_of(cli, labelled, *options, "--guidance", 3)
    assert not np.array_equal(guided, plain)
    assert np.array_equal(images_of(cli, labelled, *options, "--guidance", 3, "--batch-size", 1), guided)
    both = images_of(cli, labelled, *options, "--guidance", 3, "--autoguidance", 2)
    assert not np.array_equal(both, guided)
    none = ["--n", 3, "--label", "none", "--sampler", sampler]
    assert np.array_equal(images_of(cli, labelled, *options, "--guidance", 0), images_of(cli, labelled, *none))


def test_a_grid_has_a_row_for_each_label(cli: Cli, workplace: Path, labelled: Path) -> None:
    images = images_of(cli, labelled, "--label", "0-2", "--n", 24)
    assert cli(*SAMPLE, "--run", labelled, "--label", "0-2", "--out", "grid.png").code == 0
    grid = np.asarray(Image.open("grid.png"))
    side = 64 + 2
    assert grid.shape == (3 * side + 2, 8 * side + 2)
    for index in (0, 1, 5, 23):
        column, row = divmod(index, 3)
        tile = grid[2 + row * side : row * side + side, 2 + column * side : column * side + side]
        assert np.array_equal(tile[::8, ::8], images[index, :, :, 0])
    assert cli(*SAMPLE, "--run", labelled, "--label", "0-2", "--n", 7, "--out", "grid.png").code == 0
    assert np.asarray(Image.open("grid.png")).shape == (3 * side + 2, 3 * side + 2)
    assert cli(*SAMPLE, "--run", labelled, "--label", 4, "--n", 4, "--trajectory", "t.gif", "--out", "g.png").code == 0


def test_a_picture_is_restored_as_another_label(cli: Cli, workplace: Path, labelled: Path) -> None:
    conditional = [*SAMPLE, "--run", labelled, "--conditional", "--n", 3]
    for name, options in (("own.png", []), ("nine.png", ["--label", 9]), ("none.png", ["--label", "none"])):
        assert cli(*conditional, "--out", name, *options).code == 0
    own, nine, none = (Path(name).read_bytes() for name in ("own.png", "nine.png", "none.png"))
    assert own == none != nine  # told nothing unless it is asked for, as restorations and scores are
    model = diffcli.load(labelled, devices=CPU)
    four = model.sample(2, label=4, steps=3)
    assert not torch.equal(model.reconstruct(four, label=9, steps=3), model.reconstruct(four, steps=3))
    xt = model.degrade(four, t=10)
    assert not torch.equal(model.restore(xt, t=10, label=[9, 4]), model.restore(xt, t=10, label=[4, 9]))
    assert torch.equal(model.restore(xt, t=10, label="none"), model.restore(xt, t=10))


def test_scores_of_labels(cli: Cli, workplace: Path, labelled: Path, hot_run: Path) -> None:
    def evaluate(**options: object) -> diffcli.Evaluation:
        return diffcli.evaluate(labelled, n_test=8, n_fid=60, steps=3, extractor="classifier", devices=CPU, **options)  # type: ignore[arg-type]

    evaluation = evaluate(metrics=["fid", "label_kept", "loss", "class_kept"], per_label=True)
    assert 0 <= evaluation.scores["label_kept"] < evaluation.scores["label_kept_test"] <= 1
    assert evaluation.by_label
    assert set(evaluation.by_label) <= set("0123456789")
    assert (evaluation.settings["label"], evaluation.settings["evaluations"]) == ("data", 3)
    none = evaluate(metrics=["fid", "label_kept"], label="none", guidance=1.0)
    assert "label_kept" not in none.scores
    assert none.scores["fid_classifier"] != evaluation.scores["fid_classifier"]
    assert evaluate(metrics=["fid"], label=3, guidance=2).settings["evaluations"] == 6
    options = ["--n-test", 4, "--n-fid", 12, "--steps", 2, "--accelerator", "cpu", "-q"]
    table = cli(
        "eval", "--run", labelled, "--label-kept", "--per-label", "--fid", "--extractor", "classifier", *options
    ).out
    assert "label_kept" in table
    assert "evaluations" not in table
    guided = cli("eval", "--run", labelled, "--label-kept", "--guidance", 2, *options).out
    assert "2 steps, 4 network evaluations" in guided
    result = cli("compare", labelled, hot_run, *options)
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--label", "10"], "--label 10: this model's labels are 0..9, a range such as 0-9, or none"),
        (["--label", "-3"], "--label -3"),
        (["--label", "7-3"], "--label 7-3"),
        (["--label", "seven"], "--label seven"),
        (["--guidance", "-1"], "--guidance must be in 0..100, got -1"),
        (["--autoguidance", "1e9"], "--autoguidance must be in 0..100"),
    ],
)
def test_labels_that_are_none_cost_one_line(
    cli: Cli, workplace: Path, labelled: Path, options: list[str], expected: str
) -> None:
    result = cli(*SAMPLE, "--run", labelled, *options)
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert expected in result.err
    assert list(workplace.iterdir()) == []


def test_a_model_without_labels_is_asked_for_none(cli: Cli, workplace: Path, hot_run: Path) -> None:
    for options, expected in (
        (["--label", "7"], "--label: this model was trained without labels"),
        (["--guidance", "2"], "sampler.guidance needs a model with labels"),
        (["--autoguidance", "2"], "sampler.autoguidance needs an early average"),
    ):
        result = cli(*SAMPLE, "--run", hot_run, *options)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    result = cli("eval", "--run", hot_run, "--per-label", "--accelerator", "cpu")
    assert (result.code, "--per-label: this model was trained without labels" in result.err) == (2, True)
    assert list(workplace.iterdir()) == []


def test_labels_by_number_name_and_range() -> None:
    garments = ["T-shirt", "Bag", "Ankle boot", "3"]
    assert label_numbers(None, garments) == ()
    assert label_numbers(2, garments) == (2,)
    assert label_numbers("ankle BOOT", garments) == (2,)
    assert label_numbers(["3", 0, "none", "1-3", -1], garments) == (3, 0, -1, 1, 2, 3, -1)
    with pytest.raises(diffcli.UserError, match=r"unknown label 'Bagg'; did you mean 'Bag'\?.* or a number in 0\.\.3"):
        label_numbers("Bagg", garments)
    with pytest.raises(diffcli.UserError, match="`label` names no label"):
        label_numbers([], garments)


def test_folders_of_classes_are_asked_for_by_name(cli: Cli, workplace: Path) -> None:
    for name, level in (("dark", 30), ("light", 220)):
        (workplace / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), level + number).save(workplace / "photos" / name / f"{number}.png")
    data = "data: {name: folder, path: photos, size: 8, channels: 1}"
    (workplace / "photos.yaml").write_text(RECIPE.replace("data: {name: digits}", data))
    assert cli("train", "--preset", "photos.yaml", "--out", "run", "--accelerator", "cpu", "-q").code == 0
    assert diffcli.load("run", devices=CPU).classes == ["dark", "light"]
    light = images_of(cli, Path("run"), "--n", 2, "--label", "Light")
    assert np.array_equal(images_of(cli, Path("run"), "--n", 2, "--label", 1), light)
    result = cli(*SAMPLE, "--run", "run", "--label", "lihgt")
    assert "--label: unknown label 'lihgt'; did you mean 'light'?" in result.err
