"""No label: which models know how to do without one, and what is refused of the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GUIDED, TINY, Cli, Result
from PIL import Image

import diffcli
from diffcli.training.plan import TrainOptions, plan

CPU = diffcli.Devices("cpu", "1")
FOLDER = TINY.replace("{name: digits}", "{name: folder, path: images, size: 8, channels: 1}")


def trained_on(place: Path, preset: str) -> diffcli.Model:
    """A tiny model, trained in a folder for an epoch."""
    (place / "tiny.yaml").write_text(preset.replace("epochs: 2", "epochs: 1"))
    return diffcli.load(diffcli.train(place / "tiny.yaml", out=place / "run", devices=CPU, quiet=True), devices=CPU)


def make_images(place: Path, count: int, first: int = 0) -> None:
    """Grey 8x8 PNG files of levels that differ."""
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (8, 8), first + number).save(place / f"{first + number}.png")


@pytest.fixture(scope="module")
def told_always(tmp_path_factory: pytest.TempPathFactory) -> diffcli.Model:
    """A tiny model that saw no image without its label."""
    return trained_on(tmp_path_factory.mktemp("told-always"), TINY + "labels: {dropped: 0}\n")


def test_a_model_works_without_a_label_where_its_training_had_images_without_one(
    told_always: diffcli.Model, hot_run: Path, guided_run: Path, workplace: Path
) -> None:
    assert not told_always.works_without_label
    assert diffcli.load(hot_run, devices=CPU).works_without_label
    assert diffcli.load(guided_run, devices=CPU).works_without_label
    make_images(workplace / "images" / "a", 20)
    make_images(workplace / "images" / "b", 20, 50)
    make_images(workplace / "images", 40, 100)
    partly = trained_on(workplace, FOLDER + "labels: {dropped: 0}\n")
    assert partly.works_without_label
    assert 0.3 < partly.unlabelled_share < 0.7


def test_files_keep_how_many_images_had_no_label(told_always: diffcli.Model, workplace: Path) -> None:
    make_images(workplace / "images" / "a", 20)
    make_images(workplace / "images", 20, 100)
    trained_on(workplace, FOLDER + "labels: {dropped: 0}\n")
    shares = []
    for name in ("run", "run/checkpoints/epoch-001.ckpt", "model.safetensors"):
        if name == "model.safetensors":
            diffcli.export("run", Path(name))
        shares.append(diffcli.load(name, devices=CPU).unlabelled_share)
    assert shares[0] > 0
    assert len(set(shares)) == 1


ASK = "was trained with the label of every image (labels.dropped: 0) and does not work without"


@pytest.fixture
def drawing(workplace: Path) -> str:
    """An image file in the current folder."""
    Image.radial_gradient("L").save("drawing.png")
    return "drawing.png"


def check_refusal(result: Result, expected: str) -> None:
    """Checks that a command was refused in a line, and wrote nothing."""
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    assert expected in result.err
    assert {path.name for path in Path().iterdir()} <= {"drawing.png", "mask.png", "labelled.yaml"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["restore", "drawing.png"], f"{ASK}: say with --label what the images show; there are 0, 1, 2"),
        (["restore", "drawing.png", "--mask", "mask.png"], ASK),
        (["restore", "drawing.png", "--label", "none"], f"--label none: this model {ASK}; name one of 0, 1, 2"),
        (["restore", "drawing.png", "--label", 3, "--guidance", 2], "--guidance needs an estimate without label"),
        (["sample", "--label", "none"], f"--label none: this model {ASK}"),
        (["sample", "--label", 1, "--label", -1], f"--label none: this model {ASK}"),
        (["sample", "--guidance", 0], "--guidance needs an estimate without label"),
        (["sample", "--conditional", "--label", "none"], ASK),
        (["eval", "--label", "none", "--rmse"], ASK),
        (["eval", "--guidance", 1.5, "--rmse"], "--guidance needs an estimate without label"),
        (["export", "--guidance", 1.5, "--out", "model.pt2"], "--guidance needs an estimate without label"),
    ],
)
def test_a_model_that_never_did_without_a_label_is_not_asked_to(
    cli: Cli, told_always: diffcli.Model, drawing: str, words: list[object], expected: str
) -> None:
    mask = Image.new("L", (256, 256))
    mask.paste(255, (0, 0, 128, 256))
    mask.save("mask.png")
    options = [] if words[0] == "export" else ["--accelerator", "cpu"]
    command = [words[0], *words[1:], "--run", told_always.run.folder, *options]
    if words[0] == "export":
        command = [words[0], told_always.run.folder, *words[1:]]
    check_refusal(cli(*command), expected)


def test_a_model_that_never_did_without_a_label_does_all_the_rest(
    cli: Cli, told_always: diffcli.Model, drawing: str
) -> None:
    run = ["--run", told_always.run.folder, "--accelerator", "cpu", "-q"]
    for words in (
        ["restore", "drawing.png", "--label", 3],
        ["sample", "--n", 2],
        ["sample", "--n", 2, "--label", "0-9", "--guidance", 1],
        ["sample", "--n", 2, "--conditional"],
        ["eval", "--rmse", "--loss", "--nll", "--n-test", 4, "--nll-steps", 2],
    ):
        result = cli(*words, *run)
        assert result.code == 0, result.err


def test_python_asks_for_the_label_too(told_always: diffcli.Model) -> None:
    images = told_always.sample(2, label=3, steps=2, quiet=True)
    xt = told_always.degrade(images, t=5)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    calls: list[Callable[..., Any]] = [
        partial(told_always.restore, xt, 5, steps=2),
        partial(told_always.estimate, xt, 5),
        partial(told_always.reconstruct, images, steps=2),
        partial(told_always.inpaint, images, mask, steps=2),
    ]
    for call in calls:
        with pytest.raises(diffcli.UserError, match="does not work without: say with `label`"):
            call()
        assert call(label=3).shape == images.shape


def test_guidance_towards_no_label_is_refused(cli: Cli, guided_run: Path, drawing: str) -> None:
    run = ["--run", guided_run, "--accelerator", "cpu"]
    line = "--guidance 5 is towards a label, and none is given: say which with --label"
    check_refusal(cli("restore", drawing, *run, "--guidance", 5), line)
    check_refusal(cli("restore", drawing, *run, "--guidance", 5, "--label", "none"), line)
    check_refusal(cli("sample", *run, "--guidance", 5, "--label", "none"), line)
    check_refusal(cli("eval", *run, "--guidance", 5, "--label", "none", "--rmse"), line)
    model = diffcli.load(guided_run, devices=CPU)
    images = model.sample(2, label=3, quiet=True)
    for call in (partial(model.reconstruct, images), partial(model.restore, images / 255 - 0.5, 12)):
        with pytest.raises(diffcli.UserError, match="`guidance` 5 is towards a label"):
            call(guidance=5)
        assert torch.equal(call(guidance=1, autoguidance=2), call(autoguidance=2))
        assert not torch.equal(call(guidance=5, label=["none", 3]), call(label=["none", 3]))


def test_autoguidance_does_without_the_estimate_that_has_no_label(workplace: Path) -> None:
    model = trained_on(workplace, GUIDED.replace("labels: {}", "labels: {dropped: 0}"))
    assert not model.works_without_label
    plain, guided = (model.sample(3, label=3, autoguidance=weight, quiet=True) for weight in (1, 3))
    assert not torch.equal(plain, guided)
    # The network is never asked without a label: what its row for that holds changes nothing.
    for denoiser in (model.denoiser, model.guide):
        for name, table in denoiser.named_parameters():
            if "table" in name:
                table[0] = torch.nan
    assert torch.equal(model.sample(3, label=3, autoguidance=3, quiet=True), guided)


def test_a_preset_that_guides_towards_labels_hides_some(cli: Cli, workplace: Path) -> None:
    recipe = TINY.replace("{name: ancestral}", "{name: ancestral, guidance: 1.5}") + "labels: {dropped: 0}\n"
    Path("labelled.yaml").write_text(recipe)
    line = "sampler.guidance needs an estimate without label, which labels.dropped: 0 does not train"
    check_refusal(cli("train", "--preset", "labelled.yaml", "--accelerator", "cpu"), line)
    check_refusal(cli("train", "--preset", "labelled.yaml", "--dry-run"), line)


def pictures_of(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], fits: Callable[[Any, Any], bool]
) -> tuple[Any, torch.Tensor | None]:
    """(images, what they are told) of the reconstructions along a training with ``labels: {dropped: 0}``.

    Args:
        fits: whether a split (training images, validation images) is one that the test needs.
    """
    from diffcli.training.callbacks import EpochSamples

    for first, (name, size) in enumerate(sizes.items()):
        make_images(workplace / "images" / name, size, 50 * first)
    recipe = FOLDER.replace("channels: 1}", "channels: 1, hold_out: random}").replace(
        "lr: 1e-3", "lr: 1e-3, val_share: 0.5"
    )
    (workplace / "recipe.yaml").write_text(recipe.replace("epochs: 2", "epochs: 1") + "labels: {dropped: 0}\n")

    def split(seed: int) -> Any:
        return plan(TrainOptions("recipe.yaml", {"training.seed": seed})).data

    seed = next(seed for seed in range(50) if fits((data := split(seed)).train, data.val))
    calls: list[tuple[Any, torch.Tensor | None]] = []
    monkeypatch.setattr(
        EpochSamples, "_draw", lambda self, sampling, images, labels, *_: calls.append((images, labels))
    )
    diffcli.train("recipe.yaml", {"training.seed": seed}, out=workplace / "run", devices=CPU, quiet=True)
    (call,) = calls
    return call


def test_pictures_along_a_training_tell_no_label_that_was_not_trained(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_validated(train: Any, val: Any) -> bool:
        return bool((train.labels >= 0).all()) and bool((val.labels < 0).any())

    images, labels = pictures_of(workplace, monkeypatch, {"a": 6, "b": 6, "": 3}, only_validated)
    assert labels is not None
    assert torch.equal(labels, images.labels)
    assert bool((labels >= 0).all())
    notes = plan(TrainOptions("recipe.yaml", {"training.seed": diffcli.load("run").preset.training.seed})).first_notes
    assert any("validation images have no label that training images have" in line for line in notes)


def test_pictures_along_a_training_tell_no_label_of_a_class_without_training_images(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = pictures_of(
        workplace, monkeypatch, {"a": 6, "b": 6, "c": 1}, lambda train, val: 2 in val.labels and 2 not in train.labels
    )
    assert labels is not None
    assert torch.equal(labels, images.labels)
    assert 2 not in labels


def test_pictures_along_a_training_tell_none_where_scores_do(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, labels = pictures_of(workplace, monkeypatch, {"a": 6, "b": 6, "": 6}, lambda train, val: -1 in train.labels)
    assert labels is None
