"""Models of arrays, whose channels are no colours: what is trained, drawn, judged and restored, in their own range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LABELLED, TINY, Cli, trained_in
from PIL import Image

import diffcli

CPU = ("--accelerator", "cpu")
SIDE = 8


def gradients(count: int = 60) -> np.ndarray:
    """Slopes of waves, float32 (N, 8, 8, 2) in [-2, 2]."""
    phase = np.linspace(0, 6, count)[:, None, None]
    y, x = np.mgrid[:SIDE, :SIDE] * 0.7
    return np.stack([2 * np.cos(x + phase), 2 * np.sin(y + phase)], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def slopes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model of two channels, beside the file that it was trained on."""
    place = tmp_path_factory.mktemp("slopes")
    images = gradients()
    labels = 5 + 2 * (np.arange(60) % 3)
    np.savez(place / "slopes.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    data = f"{{name: npz, path: {place / 'slopes.npz'}, low: -2, high: 2}}"
    return trained_in(place, LABELLED.replace("{name: digits}", data))


def sample(cli: Cli, run: Path, *words: object) -> dict[str, np.ndarray]:
    result = cli("sample", "--run", run, "--n", 6, "--steps", 4, *words, "--out", "s.npz", *CPU)
    assert (result.code, result.out) == (0, "s.npz\n"), result.err
    with np.load("s.npz") as content:
        return dict(content)


def test_samples_are_arrays_in_the_range_of_the_data(cli: Cli, slopes: Path) -> None:
    arrays = sample(cli, slopes, "--label", 7, "--label", 9)
    images = arrays["images"]
    assert images.dtype == np.float32
    assert images.shape == (6, SIDE, SIDE, 2)
    assert -2 <= images.min() < -0.5 < 0.5 < images.max() <= 2
    levels = (images.astype(float) + 2) / 4 * 255
    assert np.abs(levels - np.rint(levels))[abs(images) < 2].mean() > 0.2  # of values that were rounded it would be 0
    # Labels by the numbers that they have in the file.
    assert arrays["labels"].tolist() == [7, 9, 7, 9, 7, 9]
    model = diffcli.load(slopes)
    options: dict[str, Any] = {"label": [7, 9], "steps": 4, "quiet": True}
    *_, last = model.trajectory(6, **options)
    assert np.array_equal(model.arrays(last.xs), images)
    assert np.abs(model.arrays(model.sample(6, **options)) - images).max() <= 4 / 255 / 2 + 1e-6


def test_samples_of_pictures_stay_bytes(cli: Cli, hot_run: Path) -> None:
    result = cli("sample", "--run", hot_run, "--n", 3, "--steps", 2, "--out", "s.npz", *CPU)
    assert result.code == 0, result.err
    with np.load("s.npz") as content:
        assert set(content) == {"images"}
        assert (content["images"].dtype, content["images"].shape) == (np.uint8, (3, SIDE, SIDE, 1))


def test_channels_stand_side_by_side_in_pictures(cli: Cli, slopes: Path) -> None:
    images = sample(cli, slopes)["images"]
    words = ["--run", slopes, "--n", 6, "--steps", 4, *CPU]
    for out in ("one.png", "folder"):
        assert cli("sample", *words, "--out", out, "--trajectory", "t.gif").code == 0
    single = np.asarray(Image.open("folder/00000.png"))
    assert single.shape == (SIDE, 2 * SIDE + 1)
    expected = np.rint((images[0] + 2) / 4 * 255)
    assert np.abs(single[:, :SIDE] - expected[..., 0]).max() <= 1
    assert np.abs(single[:, SIDE + 1 :] - expected[..., 1]).max() <= 1
    width, height = 2 * 64 + 1 + 6, 64 + 6  # two channels, the line between them, a gap
    assert Image.open("one.png").size == Image.open("t.gif").size == (3 * width + 6, 2 * height + 6)
    assert cli("sample", *words, "--conditional", "--out", "c.png").code == 0
    assert Image.open("c.png").width > 6 * 0.9 * 2 * 120


def test_metrics_take_any_channels_and_inception_says_that_it_does_not(cli: Cli, slopes: Path) -> None:
    metrics = [word for name in ("swd", "ssim", "rmse", "nll", "nearest") for word in (f"--{name}",)]
    words = ["--run", slopes, "--n-fid", 10, "--n-test", 4, "--steps", 2, *CPU]
    result = cli("eval", *words, *metrics)
    assert result.code == 0, result.err
    result = cli("eval", *words, "--fid", "--extractor", "inception")
    assert result.code == 2
    assert "Inception sees grey and colour images, and these have other channels" in result.err


def test_arrays_are_restored_in_their_own_range(cli: Cli, slopes: Path) -> None:
    np.save("some.npy", gradients()[:4])
    words = ["--run", slopes, "--t", 3, *CPU]
    result = cli("restore", "some.npy", *words, "--out", "r.npz")
    assert (result.code, result.out) == (0, "r.npz\n"), result.err
    with np.load("r.npz") as content:
        assert np.abs(content["original"] - gradients()[:4]).max() <= 4 / 255 / 2 + 1e-6
        assert content["images"].shape == content["degraded"].shape == (4, SIDE, SIDE, 2)
        # Little noise at t = 3 of 20: in the units of the data.
        assert 0.05 < np.abs(content["degraded"] - content["original"]).mean() < 2
    assert cli("restore", "some.npy", *words, "--out", "r.png").code == 0
    Image.new("L", (SIDE, SIDE)).save("p.png")
    result = cli("restore", "p.png", *words, "--out", "no.png")
    assert (result.code, Path("no.png").exists()) == (2, False)
    assert "p.png: a picture is grey or has three colours, and this model's images have 2 channels" in result.err


def restore(cli: Cli, *words: object) -> dict[str, np.ndarray]:
    result = cli("restore", *words, "--out", "r.npz", *CPU)
    assert (result.code, result.out) == (0, "r.npz\n"), result.err
    with np.load("r.npz") as content:
        return dict(content)


@pytest.mark.parametrize("kind", ["arrays", "pictures"])
def test_arrays_that_are_degraded_are_neither_rounded_nor_cut(
    cli: Cli, slopes: Path, blur_run: Path, kind: str
) -> None:
    run, images = (slopes, gradients()[:4]) if kind == "arrays" else (blur_run, np.eye(8, dtype=np.uint8)[None] * 255)
    t = 15 if kind == "arrays" else 7
    np.save("some.npy", images)
    first = restore(cli, "some.npy", "--run", run, "--t", t)
    degraded = first["degraded"]
    if kind == "arrays":
        assert np.abs(degraded).max() > 2.1  # noise leads out of the range of the data
    np.save("degraded.npy", degraded)
    np.savez("degraded.npz", images=np.zeros_like(degraded), degraded=degraded)
    for name in ("degraded.npy", "degraded.npz"):
        again = restore(cli, name, "--run", run, "--degraded", "--t", t)
        assert again.keys() == {"degraded", "one_step", "images"}
        assert np.abs(again["degraded"] - degraded).max() <= 1e-6
        assert np.abs(again["images"].astype(float) - first["images"]).max() <= (4 / 255 + 1e-6 if run == slopes else 1)
    negative = restore(cli, "degraded.npy", "--run", run, "--degraded", "--t", t, "--invert")
    assert np.abs(negative["degraded"] - degraded).max() <= 1e-6  # shown as it came
    assert not np.array_equal(negative["images"], first["images"])


def test_a_measurement_by_arrays_is_as_exact_as_they_are(cli: Cli, slopes: Path) -> None:
    np.save("some.npy", gradients()[:2])
    kind = "{name: pixelate, block: 2, T: 1}"
    words = ["--run", slopes, "--degradation", kind, "--steps", 4, "--quiet"]
    first = restore(cli, "some.npy", *words, "--sigma", 0.2)
    np.save("degraded.npy", first["degraded"])
    again = restore(cli, "degraded.npy", *words, "--degraded", "--sigma", 0.2)
    assert np.abs(again["images"] - first["images"]).max() <= 4 / 255 + 1e-6
    # Without a word on noise numbers are exact, where the bytes of a file are known to half a level.
    exact = restore(cli, "some.npy", *words)
    np.save("degraded.npy", exact["degraded"])
    again = restore(cli, "degraded.npy", *words, "--degraded")
    assert np.abs(again["degraded"] - exact["degraded"]).max() <= 1e-6
    assert np.abs(again["images"] - exact["images"]).max() <= 4 / 255 + 1e-6


def test_wrong_degraded_arrays_cost_one_line(cli: Cli, slopes: Path, workplace: Path) -> None:
    np.save("bytes.npy", np.zeros((1, SIDE, SIDE, 2), np.uint8))
    np.save("nan.npy", np.full((1, SIDE, SIDE, 2), np.nan))
    np.save("wide.npy", np.full((1, SIDE, SIDE, 2), 2.5))
    for words, message in (
        (["bytes.npy", "--degraded"], "bytes.npy is uint8, and numbers in the range of the model's images are needed"),
        (["nan.npy", "--degraded"], "nan.npy holds values that are not finite"),
        (["wide.npy"], "lie outside of -2 to 2: they are from 2.5 to 2.5\n"),
    ):
        result = cli("restore", *words, "--run", slopes, "--t", 3, "--out", "no.npz", *CPU)
        assert (result.code, result.err.count("\n"), Path("no.npz").exists()) == (2, 1, False), result
        assert message in result.err, result.err


def test_a_model_goes_on_and_is_judged_with_another_file(cli: Cli, slopes: Path) -> None:
    np.savez("more.npz", x_train=gradients(80), y_train=5 + 2 * (np.arange(80) % 3))
    words = ["eval", "--run", slopes, "--swd", "--n-fid", 10, "--steps", 2, *CPU]
    assert cli(*words, "--data", "more.npz").code == 0
    result = cli(*words, "--data", "nowhere.npz")
    assert (result.code, "--data nowhere.npz does not exist" in result.err) == (2, True), result.err
    np.savez("grey.npz", x_train=np.zeros((20, SIDE, SIDE), np.float32))
    result = cli(*words, "--data", "grey.npz")
    assert (result.code, "x_train of grey.npz is (20, 8, 8) float32" in result.err) == (2, True), result.err


def test_a_dry_run_says_what_was_assumed_and_writes_nothing(cli: Cli) -> None:
    np.savez("a.npz", images=RANDOM)
    data = ["--preset", "quickstart", "--set", "labels=null", "--set", "data.name=npz", "--set", "data.path=a.npz"]
    result = cli("train", *data, "--dry-run")
    assert (result.code, "images of a.npz is of float64, with values from" in result.err) == (2, True), result.err
    assert "for example data.low=0 and data.high=1" in result.err
    result = cli("train", *data, "--set", "data.low=0", "--set", "data.high=1", "--dry-run")
    assert result.code == 0, result.err
    assert "# a.npz: 30 images in images, no labels; 12x12, 5 channels (axes: channels, rows, columns)" in result.out
    assert "# values from 0 to 1 are kept in 256 levels, 0.00392 apart" in result.out
    assert not Path("runs").exists()


RANDOM = np.random.default_rng(0).random((30, 5, 12, 12))


def test_five_channels_of_a_folder_are_trained_and_drawn(cli: Cli) -> None:
    for number, image in enumerate(RANDOM):
        Path("arrays").mkdir(exist_ok=True)
        np.save(f"arrays/{number}.npy", image)
    text = TINY.replace("{name: digits}", "{name: npy, path: arrays, low: 0, high: 1}")
    Path("five.yaml").write_text(text)
    assert cli("train", "--preset", "five.yaml", "--out", "run", "-q", *CPU).code == 0
    assert Image.open("run/samples/epoch-001-unconditional.png").width > 5 * 12
    images = sample(cli, Path("run"))["images"]
    assert images.shape == (6, 5, 12, 12)
    assert torch.equal(diffcli.load("run").read(["arrays"])[:1], diffcli.load("run").read(["arrays/0.npy"]))
