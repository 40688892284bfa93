"""``diffcli restore`` of pictures larger than a model's images: at their own size, in tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Cli, shared
from PIL import Image, ImageFilter

import diffcli

RESTORE = ["restore", "--accelerator", "cpu"]
HEAT = "{name: heat, schedule: {name: constant, T: 1, beta: 2.25}}"


def picture(height: int, width: int) -> Image.Image:
    """Grey waves of several lengths."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.sin(rows / 2.5) * np.cos(columns / 3) + np.sin((rows + columns) / 5)
    return Image.fromarray((127.5 + 60 * waves).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def noisy_blur(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of blur with noise, whose prior was fitted, without labels."""
    preset = TINY.replace("gaussian-noise}", "heat}\nnoise: {name: constant, sigma: 0.1}")
    preset = preset.replace(
        "{name: linear, T: 20, beta_min: 0.001, beta_max: 0.3}", "{name: constant, T: 5, beta: 0.5}"
    )
    preset = (
        preset.replace("eps", "x0").replace("standard-normal", "mixture, components: 2").replace("ancestral", "cold")
    )
    return shared(tmp_path_factory, "noisy-blur", preset)


def test_a_large_picture_keeps_its_size(cli: Cli, workplace: Path, hot_run: Path) -> None:
    picture(21, 34).save("wave.png")
    result = cli(*RESTORE, "wave.png", "--run", hot_run, "--t", 5, "--out", "own")
    assert result.code == 0, result.err
    assert "note: 34x21 pixels are restored in tiles of 8x8\n" in result.err
    assert Image.open("own/wave.png").size == (34, 21)
    assert cli(*RESTORE, "wave.png", "--run", hot_run, "--t", 5, "--out", "small", "--tile", "off").code == 0
    assert Image.open("small/wave.png").size == (8, 8)


def test_a_width_in_percent_is_of_a_tile_whatever_the_picture(cli: Cli, workplace: Path) -> None:
    preset = TINY.replace("gaussian-noise}", "heat}").replace("eps", "x0").replace("standard-normal", "uniform")
    preset = preset.replace("ancestral", "cold").replace(
        "{name: linear, T: 20, beta_min: 0.001, beta_max: 0.3}",
        "{name: log-widths, T: 5, width_min: 0.3, width_max: 25%}",
    )
    Path("percent.yaml").write_text(preset)
    words = ["--epochs", 1, "--limit-batches", 1, "--accelerator", "cpu", "-q"]
    assert cli("train", "--preset", "percent.yaml", "--out", "run", *words).code == 0
    picture(21, 34).save("wave.png")
    result = cli(*RESTORE, "wave.png", "--run", "run", "--t", 5, "--out", "own")
    assert result.code == 0, result.err
    assert "tiles of 8x8" in result.err
    assert "t = 5: a blur of 2 pixels" in result.err


def test_a_picture_of_a_tiles_size_is_restored_as_ever(cli: Cli, workplace: Path, hot_run: Path) -> None:
    picture(8, 8).save("wave.png")
    for tile in ("on", "off"):
        assert cli(*RESTORE, "wave.png", "--run", hot_run, "--t", 5, "--out", f"{tile}.npz", "--tile", tile).code == 0
    assert all(
        np.array_equal(*(np.load(f"{tile}.npz")[name] for tile in ("on", "off"))) for name in ("images", "degraded")
    )


def test_pictures_of_several_sizes_go_into_a_folder(cli: Cli, workplace: Path, hot_run: Path) -> None:
    for name, size in {"a": (20, 30), "b": (9, 9), "c": (16, 16)}.items():
        picture(*size).save(f"{name}.png")
    files = ["a.png", "b.png", "c.png"]
    result = cli(*RESTORE, *files, "--run", hot_run, "--t", 3, "--out", "all.png")
    assert result.code == 2
    assert (
        "all.png is of one size, and pictures are restored at 30x20, 8x8, 16x16 pixels; write them into" in result.err
    )
    assert not Path("all.png").exists()
    assert cli(*RESTORE, *files, "--run", hot_run, "--t", 3, "--out", "all").code == 0
    assert [Image.open(f"all/{file}").size for file in files] == [(30, 20), (8, 8), (16, 16)]


def test_a_picture_of_another_program_is_restored_by_a_measurement(cli: Cli, workplace: Path) -> None:
    digits = diffcli.load("mnist-fast", devices=diffcli.Devices("cpu", "1")).sample(2, label=[4, 7], steps=12)
    clean = torch.cat([*digits[:, 0]], dim=1).numpy()
    Image.fromarray(clean).filter(ImageFilter.GaussianBlur(1.2)).save("blurred.png")
    words = ["--degraded", "--degradation", HEAT.replace("2.25", "1.44"), "--sigma", 0.01, "--tile", "on"]
    words += ["--label", "none", "--samples", 2, "--steps", 12]
    for name in ("one", "two"):
        result = cli(*RESTORE, "blurred.png", "--model", "mnist-fast", *words, "--out", f"{name}.npz")
        assert result.code == 0, result.err
    arrays, again = np.load("one.npz"), np.load("two.npz")
    error, before = (
        float(np.square(image[0, ..., 0].astype(float) - clean).mean())
        for image in (arrays["images"], (arrays["degraded"] + 0.5) * 255)
    )
    assert error < before / 4
    assert arrays["samples"].shape == (1, 2, 28, 56, 1)
    assert np.array_equal(again["samples"], arrays["samples"])


def test_a_picture_in_tiles_is_estimated_once_and_by_itself(
    cli: Cli, workplace: Path, hot_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies would fill a batch, as of small images, at sixteen times the time and the memory."""
    from diffcli.diffusion.tiles import TiledDenoiser

    counts, forward = [], TiledDenoiser.forward

    def record(self: TiledDenoiser, xt: torch.Tensor, *rest: Any) -> torch.Tensor:
        counts.append(len(xt))
        return forward(self, xt, *rest)

    monkeypatch.setattr(TiledDenoiser, "forward", record)
    picture(12, 20).save("a.png")
    picture(12, 20).rotate(180).save("b.png")
    words = ["--run", hot_run, "--degraded", "--degradation", HEAT, "--sigma", 0.02, "--tile", "on", "--steps", 3]
    assert cli(*RESTORE, "a.png", *words, "--out", "one.npz").code == 0
    assert counts == [1, 1, 1]
    assert cli(*RESTORE, "a.png", "b.png", *words, "--out", "two.npz").code == 0
    assert np.array_equal(np.load("two.npz")["images"][0], np.load("one.npz")["images"][0])


def test_the_api_and_the_command_agree(cli: Cli, workplace: Path, hot_run: Path) -> None:
    from diffcli.config.build import build_degradation
    from diffcli.inference.tiling import tiled_model

    picture(20, 30).save("wave.png")
    assert cli(*RESTORE, "wave.png", "--run", hot_run, "--t", 5, "--degraded", "--out", "own.npz").code == 0
    model = diffcli.load(hot_run, devices=diffcli.Devices("cpu", "1"))
    tiled = tiled_model(model, build_degradation(model.preset, (1, 20, 30)))
    xt = torch.from_numpy(np.asarray(Image.open("wave.png"))[None, None] / 255 - 0.5).float()
    ours = tiled.restore(xt, 5)
    assert np.array_equal(np.load("own.npz")["images"][0, ..., 0], ours[0, 0].numpy())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--tile", "on", "--t", 3], "`tile` on: a picture of 7x30 pixels is smaller than a tile, 8x8; leave it out"),
        (["--tile", "yes", "--t", 3], "--tile must be one of auto, on, off, got yes"),
    ],
)
def test_a_tile_that_cannot_be(cli: Cli, workplace: Path, hot_run: Path, words: list[object], line: str) -> None:
    picture(30, 7).save("narrow.png")
    result = cli(*RESTORE, "narrow.png", "--run", hot_run, *words)
    assert (result.code, result.err) == (2, f"error: {line.replace('`tile`', '--tile')}\n")
    assert [file.name for file in workplace.iterdir()] == ["narrow.png"]


def test_a_fitted_prior_draws_no_larger_picture(cli: Cli, workplace: Path, noisy_blur: Path) -> None:
    picture(20, 30).save("wave.png")
    words = [*RESTORE, "wave.png", "--run", noisy_blur, "--degradation", HEAT]
    result = cli(*words, "--tile", "on")
    assert result.code == 2
    assert (
        "starts from a prior of images of 8x8 pixels, which draws no larger ones; use a model of gaussian-noise"
        in result.err
    )
    assert cli(*words, "--out", "small").code == 0
    assert Image.open("small/wave.png").size == (8, 8)
    result = cli(*RESTORE, "wave.png", "--run", noisy_blur, "--t", 3, "--out", "own")  # it begins with the picture
    assert result.code == 0, result.err
    assert Image.open("own/wave.png").size == (30, 20)


def test_how_far_is_not_looked_for_in_tiles(cli: Cli, workplace: Path, noisy_blur: Path) -> None:
    picture(20, 30).save("wave.png")
    result = cli(*RESTORE, "wave.png", "--run", noisy_blur, "--t", "auto", "--degraded")
    assert result.code == 2
    assert "--t auto is of images of the model's size; say --t or --blur, or set --tile off" in result.err
