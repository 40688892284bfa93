"""``diffcli restore --invert-noise``: images, the noise that DDIM draws them from, and what it draws from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image

import diffcli
from diffcli.data.datasets import digits
from diffcli.inference.inverting import DETERMINISTIC

CPU = diffcli.Devices("cpu", "1")
RESTORE = ["restore", "own", "--accelerator", "cpu", "--tile", "off"]


@pytest.fixture(scope="module")
def labelled(guided_run: Path) -> diffcli.Model:
    """A guided model whose sampler draws noise at every step."""
    return diffcli.load(guided_run, devices=CPU)


@pytest.fixture
def own(workplace: Path) -> torch.Tensor:
    """Three digits as files; uint8 (3, 1, 8, 8)."""
    images = digits().test.images[:3]
    Path("own").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(f"own/{number}.png")
    return images


def test_what_is_written_are_the_images_their_noise_and_what_it_draws(
    cli: Cli, own: torch.Tensor, guided_run: Path, labelled: diffcli.Model
) -> None:
    words = [*RESTORE, "--run", guided_run, "--invert-noise", "--label", "3", "--steps", 10]
    result = cli(*words, "--out", "r.npz")
    assert (result.code, result.out) == (0, "r.npz\n"), result.err
    content = {name: torch.from_numpy(row).movedim(3, 1) for name, row in np.load("r.npz").items()}
    assert list(content) == ["images", "original", "noise"]
    noise = labelled.invert(own, label="3", steps=10)
    again: dict[str, Any] = {"sampler": DETERMINISTIC, "guidance": 1, "autoguidance": 1, "label": "3", "steps": 10}
    assert torch.equal(content["original"], own)
    assert torch.equal(content["noise"], noise)
    assert torch.equal(content["images"], labelled.restore(noise, labelled.T, **again))
    error = ((content["images"].double() - own.double()) / 255).square().flatten(1).mean(dim=1)
    error = error.clamp(min=1 / 255**2 / 12)  # the rounding of 8 bits
    lines = [f"note: own/{number}.png is redrawn at {-10 * value.log10():.1f} dB" for number, value in enumerate(error)]
    assert [line for line in result.err.splitlines() if "redrawn" in line] == lines

    # Of another label it is another noise, and the sampler's own noise plays no part.
    assert not torch.allclose(noise, labelled.invert(own, label="8", steps=10), atol=1e-3)
    assert torch.equal(noise, labelled.invert(own, label="3", steps=10, seed=5, batch_size=1))


def test_the_noise_leads_back_to_the_image(own: torch.Tensor, labelled: diffcli.Model) -> None:
    noise = labelled.invert(own, steps=20)
    again = labelled.restore(noise, labelled.T, steps=20, sampler=DETERMINISTIC, guidance=1, autoguidance=1)
    other = labelled.restore(noise.flip(0), labelled.T, steps=20, sampler=DETERMINISTIC, guidance=1, autoguidance=1)

    def error(images: torch.Tensor) -> float:
        return float((images.double() - own.double()).square().mean().sqrt())

    assert error(again) < 0.25 * error(other)


def test_a_picture_shows_the_noise_and_negatives_keep_it(cli: Cli, own: torch.Tensor, guided_run: Path) -> None:
    words = [*RESTORE, "--run", guided_run, "--invert-noise", "--steps", 4, "-q"]
    assert cli(*words, "--zoom", 1, "--out", "r.png").code == 0
    assert cli(*words, "--out", "r.npz").code == 0
    picture, noise = np.asarray(Image.open("r.png")), np.load("r.npz")["noise"]
    assert picture.shape[0] == 3 * 10 + 2
    levels = np.clip(np.round((noise[-1, ..., 0] / 6 + 0.5) * 255), 0, 255)
    assert np.array_equal(picture[12:20, -10:-2], levels)
    # The model is shown the negatives; their noise is kept as it is.
    for image in Path("own").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    assert cli(*words, "--invert", "--out", "n.npz").code == 0
    assert np.array_equal(np.load("n.npz")["noise"], noise)
    assert np.array_equal(255 - np.load("n.npz")["images"], np.load("r.npz")["images"])
    assert cli(*words, "--out", "folder").code == 0
    assert sorted(file.name for file in Path("folder").iterdir()) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--t", 4], "--invert-noise takes the images as they are, and --t degrades them; give one"),
        (["--degraded", "--t", 4], "--invert-noise takes the images as they are, and --t degrades them; give one"),
        (["--mask", "own/0.png"], "--invert-noise takes the images as they are, and --mask degrades them; give one"),
        (["--blur", 2], "--invert-noise takes the images as they are, and --blur degrades them; give one"),
        (["--guidance", 2, "--label", 3], "--guidance 2: what a guided step did is not undone by its own noise"),
        (["--autoguidance", 1.5], "--autoguidance 1.5: what a guided step did is not undone by its own noise"),
        (["--sampler", "heun"], "--sampler: only ddim without new noise is run backwards, which is taken here"),
        (["--sampler", "{name: ddim, eta: 0.5}"], "--sampler: only ddim without new noise is run backwards"),
        (["--steps", 21], "steps must be in 1..20 (T of this model), got 21"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    cli: Cli, own: torch.Tensor, guided_run: Path, words: list[object], line: str
) -> None:
    result = cli(*RESTORE, "--run", guided_run, "--invert-noise", *words)
    assert (result.code, result.out) == (2, "")
    assert re.match(rf"error: (--)?{re.escape(line.removeprefix('--'))}", result.err)
    assert not Path("restored.png").exists()


def test_a_cold_model_has_no_noise_to_lead_back_to(cli: Cli, own: torch.Tensor, blur_run: Path) -> None:
    result = cli(*RESTORE, "--run", blur_run, "--invert-noise")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: only models of gaussian-noise lead from an image back to noise")
    with pytest.raises(diffcli.UserError, match="this one undoes a gaussian-blur: its x_T is what is left of an image"):
        diffcli.load(blur_run, devices=CPU).invert(own)
