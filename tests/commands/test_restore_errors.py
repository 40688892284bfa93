"""``diffcli restore`` on wrong input: one line that says what is wrong and what would be right, and nothing is
written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Cli
from PIL import Image

import diffcli

CPU = diffcli.Devices("cpu", "1")


@pytest.fixture(scope="module")
def runs(hot_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run folders by name: a model of noise, of blur, and of blur with noise."""
    place = tmp_path_factory.mktemp("blurred")
    blur = TINY.replace("gaussian-noise", "gaussian-blur").replace("prediction: eps", "prediction: x0")
    blur = (
        blur.replace("beta_max: 0.3", "beta_max: 0.5")
        .replace("ancestral", "cold")
        .replace("standard-normal", "mixture")
    )
    noisy = blur + "noise: {name: constant, sigma: 0.05}\n"
    folders = {"RUN": str(hot_run)}
    for name, text in (("BLUR", blur), ("NOISY", noisy)):
        (place / f"{name}.yaml").write_text(text)
        overrides = {"training.epochs": 1}
        run = diffcli.train(
            place / f"{name}.yaml", overrides, out=place / name, devices=CPU, quiet=True, limit_batches=1
        )
        folders[name] = str(run.folder)
    return folders


def prepare(place: Path) -> None:
    """Good and bad files."""
    levels = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)
    Image.fromarray((levels % 256).astype(np.uint8)).save(place / "good.png")
    whole = (place / "good.png").read_bytes()
    (place / "cut.png").write_bytes(whole[: len(whole) // 2])
    (place / "text.jpg").write_text("not an image")
    (place / "empty.png").touch()
    Image.fromarray(levels.astype(np.int32)).save(place / "range.tif")
    (place / "words").mkdir()
    (place / "words" / "a.txt").write_text("a")
    (place / "nothing").mkdir()
    (place / "mixed").mkdir()
    (place / "mixed" / "good.png").write_bytes(whole)
    (place / "mixed" / "text.jpg").write_text("not an image")
    for name, size, level in (("black", (30, 20), 0), ("white", (30, 20), 255), ("other", (31, 20), 255)):
        Image.new("L", size, level).save(place / f"{name}.png")
    mask = Image.new("L", (30, 20), 0)
    mask.paste(255, (10, 5, 20, 15))
    mask.save(place / "mask.png")
    mask.resize((20, 30)).save(place / "turned.png")
    Image.new("L", (8, 8), 90).save(place / "small.png")
    (place / "full").mkdir()
    (place / "full" / "thesis.txt").write_text("precious")


GOOD = ["good.png", "--run", "RUN"]
OPERATOR = [*GOOD, "--degradation", "{name: pixelate, block: 4, T: 1}"]
BAD = {
    "no file": (["--run", "RUN"], "Missing argument 'FILE_OR_FOLDER...'"),
    "missing file": (["nothere.png", "--run", "RUN"], "nothere.png cannot be read: No such file or directory"),
    "one of two is missing": ([*GOOD, "nothere.png"], "nothere.png cannot be read"),
    "folder of text": (["words", "--run", "RUN"], "words holds no images (0 images of 1 files; passed over: 1 .txt)"),
    "empty folder": (["nothing", "--run", "RUN"], "nothing holds no images (0 images of 0 files)"),
    "damaged image in a folder": (["mixed", "--run", "RUN"], "mixed/text.jpg is not a readable image"),
    "text": (["text.jpg", "--run", "RUN"], "text.jpg is not a readable image"),
    "cut off": (["cut.png", "--run", "RUN"], "cut.png is not a readable image"),
    "empty file": (["empty.png", "--run", "RUN"], "empty.png is not a readable image"),
    "no known range": (["range.tif", "--run", "RUN"], "range.tif has pixels of unknown range"),
    "device file": (["/dev/null", "--run", "RUN"], "/dev/null is not a regular file"),
    "too long a name": (["x" * 5000, "--run", "RUN"], "cannot be read: File name too long"),
    "t 0": ([*GOOD, "--t", "0"], "--t must be in 1..20, got 0"),
    "t negative": ([*GOOD, "--t", "-4"], "--t must be in 1..20, got -4"),
    "t beyond T": ([*GOOD, "--t", "21"], "--t must be in 1..20, got 21"),
    "t no number": ([*GOOD, "--t", "half"], "--t"),
    "steps beyond t": ([*GOOD, "--t", "5", "--steps", "6"], "--steps must be in 1..5 (from t = 5 to 0), got 6"),
    "steps 0": ([*GOOD, "--steps", "0"], "--steps must be in 1..10"),
    "degraded without t": ([*GOOD, "--degraded"], "--degraded needs --t: the step that the images are degraded to"),
    "degraded with mask": (
        [*GOOD, "--degraded", "--mask", "mask.png"],
        "--mask takes the images as they are, --degraded as degraded; give one of them",
    ),
    "t with mask": ([*GOOD, "--t", "5", "--mask", "mask.png"], "--t degrades the whole images, and --mask says"),
    "resampling without mask": ([*GOOD, "--resampling", "3"], "--resampling is of in-painting; add --mask"),
    "resampling 0": ([*GOOD, "--mask", "mask.png", "--resampling", "0"], "--resampling must be in 1..100, got 0"),
    "resampling 101": ([*GOOD, "--mask", "mask.png", "--resampling", "101"], "--resampling must be in 1..100"),
    "mask missing": ([*GOOD, "--mask", "nothere.png"], "--mask nothere.png cannot be read: No such file"),
    "mask no image": ([*GOOD, "--mask", "text.jpg"], "--mask text.jpg is not a readable image"),
    "mask a folder": ([*GOOD, "--mask", "mixed"], "--mask mixed is not a regular file"),
    "mask of other size": (
        [*GOOD, "--mask", "other.png"],
        "--mask other.png is 31x20 pixels, and good.png 30x20; a mask has the size of the image, or the model's, 8x8",
    ),
    "mask lies on its side": ([*GOOD, "--mask", "turned.png"], "--mask turned.png is 20x30 pixels, and good.png 30x20"),
    "mask fits one of two": ([*GOOD, "other.png", "--mask", "mask.png"], "is 30x20 pixels, and other.png 31x20"),
    "mask marks nothing": ([*GOOD, "--mask", "black.png"],
        "--mask black.png marks nothing of the part that the model sees"),
    "mask marks all": ([*GOOD, "--mask", "white.png"], "--mask white.png marks all of the part that the model sees"),
    "mask with blur": (
        ["good.png", "--run", "BLUR", "--mask", "mask.png"],
        "in-painting needs a model of gaussian-noise, or of another degradation with noise at every t, which draws "
        "what is missing; this one undoes a gaussian-blur without noise",
    ),
    "resampling with noisy blur": (
        ["good.png", "--run", "NOISY", "--mask", "mask.png", "--resampling", "5"],
        "--resampling takes the steps of a model of gaussian-noise again, and this one undoes a gaussian-blur",
    ),
    "degradation of a cold model": (
        ["good.png", "--run", "BLUR", "--degradation", "mask"],
        "a model of gaussian-blur without noise cannot weigh a measurement against what it draws: take one of "
        "gaussian-noise, or of blur with noise; or restore by what the model itself undoes, without --degradation",
    ),
    "unknown degradation": ([*GOOD, "--degradation", "blur-fats"], "--degradation: unknown preset, run, model or kind"),
    "degradation without its schedule": ([*GOOD, "--degradation", "heat"], "--degradation: schedule is missing"),
    "degradation no YAML": ([*GOOD, "--degradation", "{name: mask"], "--degradation is not valid YAML"),
    "degradation too coarse": ([*GOOD, "--degradation", "{name: pixelate, grid: 9}"],
        "--degradation: degradation pixelate: grid must be less than the sides of 8x8 images, got 9"),
    "t beyond that of the degradation": ([*GOOD, "--degradation", "blur-fast", "--t", "101"],
        "--t must be in 0..100 (T of gaussian-blur), got 101"),
    "degraded by a degradation without t": ([*GOOD, "--degraded", "--degradation", "blur-fast"],
        "say with --t how far the images are degraded, in 1..100 (T of gaussian-blur)"),
    "degradation with mask": ([*GOOD, "--degradation", "mask", "--mask", "mask.png"],
        "--degradation is of the whole images, and --mask says which part is unknown; give one"),
    "sigma negative": ([*OPERATOR, "--sigma", "-0.1"], "--sigma must be in 0..1, got -0.1: pixels have a range of 1"),
    "sigma too large": ([*OPERATOR, "--sigma", "25"], "--sigma must be in 0..1, got 25.0: pixels have a range of 1"),
    "sigma nan": ([*OPERATOR, "--sigma", "nan"], "--sigma must be in 0..1, got nan: pixels have a range of 1"),
    "sigma 0 of 8 bits": ([*OPERATOR, "--degraded", "--sigma", "0"], "--sigma 0 is no noise, and 8 bits round by"),
    "sigma without degradation": ([*GOOD, "--sigma", "0.1"], "--sigma is of measurements; add --degradation"),
    "samples without degradation": ([*GOOD, "--samples", "3"], "--samples is of measurements; add --degradation"),
    "method without degradation": ([*GOOD, "--method", "dps"], "--method is of measurements; add --degradation"),
    "samples of the model's own blur": (["good.png", "--run", "BLUR", "--blur", "1", "--samples", "3"],
        "--samples is of measurements; add --degradation"),
    "samples 0": ([*OPERATOR, "--samples", "0"], "--samples must be in 1..1,000, got 0"),
    "unknown method": ([*OPERATOR, "--method", "pigdm"], "--method: unknown method 'pigdm'; known: dps, isotropic"),
    "method of noise on noisy blur": (
        ["good.png", "--run", "NOISY", "--degradation", "mask", "--method", "moments"],
        "--method moments needs a model of gaussian-noise, and this one undoes a gaussian-blur: take isotropic",
    ),
    "label auto without labels": ([*OPERATOR, "--label", "auto"], "--label: this model was trained without labels"),
    "steps beyond T with degradation": ([*OPERATOR, "--steps", "21"], "steps must be in 1..20"),
    "blur 0": ([*GOOD, "--blur", "0"], "--blur must be in 0.01..1,000, got 0.0"),
    "blur nan": ([*GOOD, "--blur", "nan"], "--blur must be in 0.01..1,000, got nan"),
    "blur and t": ([*GOOD, "--blur", "2", "--t", "3"], "--blur says how far the images are blurred, and so does --t"),
    "blur with mask": ([*GOOD, "--blur", "2", "--mask", "mask.png"], "--blur is of the whole images, and --mask says"),
    "blur too wide": (["good.png", "--run", "BLUR", "--blur", "200"],
        "--blur is 80 pixels of the model's images, and gaussian-blur is 0 to 2.08 (t = 1..20)"),
    "blur of what is none": ([*GOOD, "--degradation", "mask", "--blur", "2"],
        "--blur is the width of a blur, and mask is none; say with --t how far it goes"),
    "blur of two sizes": (["good.png", "mixed/good.png", "small.png", "--run", "BLUR", "--blur", "2"],
        "--blur 2 pixels are t = "),
    "t auto of clean images": ([*GOOD, "--t", "auto"], "--t auto is of images that are degraded; add --degraded"),
    "steps beyond T with mask": ([*GOOD, "--mask", "mask.png", "--steps", "21"], "steps must be in 1..20"),
    "label without labels": ([*GOOD, "--label", "3"], "--label: this model was trained without labels"),
    "label with mask": ([*GOOD, "--mask", "mask.png", "--label", "3"],
        "--label: this model was trained without labels"),
    "guidance without labels": ([*GOOD, "--guidance", "2"], "sampler.guidance needs a model with labels"),
    "autoguidance": ([*GOOD, "--autoguidance", "2"], "sampler.autoguidance needs an early average"),
    "unknown sampler": ([*GOOD, "--sampler", "kold"], "did you mean 'cold'"),
    "sampler of noise on blur": (["good.png", "--run", "BLUR", "--sampler", "ddim"],
        "ddim does not undo a gaussian-blur"),
    "seed": ([*GOOD, "--seed", "-1"], "--seed must be at least 0"),
    "batch size": ([*GOOD, "--batch-size", "0"], "--batch-size must be at least 1"),
    "background": ([*GOOD, "--background", "octarine"], "--background octarine: a colour is a name or '#rrggbb'"),
    "out extension": ([*GOOD, "--out", "r.jpeg"], "--out r.jpeg: unknown extension '.jpeg'; use .png, .npz, a folder"),
    "out below a file": ([*GOOD, "--out", "good.png/r.png"], "cannot be written"),
    "out a full folder": ([*GOOD, "--out", "full"], "--out full is not an empty folder"),
    "two models": ([*GOOD, "--checkpoint", "x.ckpt"], "--run and --checkpoint name two models; give one of them"),
    "no run": (["good.png", "--run", "nowhere"], "unknown run 'nowhere'; known: blur-fast"),
    "no checkpoint": (["good.png", "--checkpoint", "none.ckpt"], "checkpoint none.ckpt does not exist"),
    "accelerator": ([*GOOD, "--accelerator", "abacus"], "--accelerator: unknown accelerator 'abacus'"),
    "precision": ([*GOOD, "--precision", "7"], "--precision"),
    "too many for a picture": (["good.png"] * 65 + ["--run", "RUN"],
        "a picture shows at most 64 images, and 65 are given"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_costs_one_line_and_writes_nothing(
    case: str, cli: Cli, workplace: Path, runs: dict[str, str]
) -> None:
    prepare(workplace)
    arguments, expected = BAD[case]
    before = sorted(workplace.rglob("*"))
    result = cli("restore", "--tile", "off", *[runs.get(word, word) for word in arguments])
    assert (result.code, result.out) == (2, ""), result
    assert expected in result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert sorted(workplace.rglob("*")) == before


def test_python_names_arguments(runs: dict[str, str]) -> None:
    import torch

    model = diffcli.load(runs["RUN"], devices=CPU)
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    for call, expected in (
        (lambda: model.read([]), "name at least one image or folder of images"),
        (lambda: model.read(["nothere.png"]), "nothere.png cannot be read"),
        (lambda: model.restore(images, 5), "degraded images must be finite float numbers"),
        (lambda: model.restore(images / 0, 5), "degraded images must be finite float numbers"),
        (lambda: model.estimate(images, 5), "degraded images must be finite float numbers"),
        (lambda: model.estimate(images / 255, 5, label=1), "`label`: this model was trained without labels"),
        (lambda: model.restore(images / 255, 5, steps=6), "`steps` must be in 1..5"),
        (lambda: model.inpaint(images), "missing a required argument: 'mask'"),
        (
            lambda: model.posterior(images[:, :, :7], "blur-fast", 5),
            "images must be of shape (N, 1, 8, 8), got (2, 1, 7",
        ),
        (lambda: model.posterior(images.long(), "blur-fast", 5), "measured images must be uint8, or finite float"),
        (lambda: model.posterior(images, "blur-fast"), "say with `t` how far the images are degraded"),
        (lambda: model.posterior(images, "blur-fast", 5, sigma=0), "`sigma` 0 is no noise, and 8 bits round"),
        (lambda: model.posterior(images, "blur-fast", 5, sigma=float("nan")), "`sigma` must be in 0..1"),
        (lambda: model.posterior(images, "blur-fast", 5, smaples=3), "did you mean 'samples'?"),
        (lambda: model.posterior(images, diffcli.GaussianNoise, 5), "`degradation`"),
    ):
        with pytest.raises(diffcli.UserError) as error:
            call()
        assert expected in str(error.value)
        assert "--" not in str(error.value)


def test_help_shows_examples(cli: Cli) -> None:
    text = cli("restore", "--help").out
    assert "diffcli restore photo.jpg" in text
    assert "--mask" in text
