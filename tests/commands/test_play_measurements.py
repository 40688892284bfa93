"""The tab Restore where a model is the prior for a measurement: choices, answers, and what these leave open."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image
from torch.nn import functional as F

import diffcli
from diffcli.config.schema import LabelSettings
from diffcli.data.pixels import psnr, to_model, to_uint8
from diffcli.inference.measuring import degradation_named, draw_measurements
from diffcli.inference.pictures import deviation_picture
from diffcli.play import restore_tab
from diffcli.play.choices import NOT_SAID, Models
from diffcli.play.controls import answers_of
from diffcli.play.degradation_choices import (
    BLUR,
    DOWN_SAMPLING,
    INVERSION,
    MODELS_OWN,
    NOISE,
    degradation_at,
    degradation_choices,
    strength_of,
)
from diffcli.play.inline_pictures import of_image
from diffcli.play.restoring import content_of

TAB: Any = restore_tab.Tab("pad", "model", "degradation", "strength", "sigma", "samples", "label")  # type: ignore[arg-type]
SQUARE = F.pad(torch.full((1, 1, 4, 3), 200, dtype=torch.uint8), (2, 3, 2, 2))
REQUEST = {
    "pad": of_image(SQUARE[0], "").url,
    "model": "hot",
    "degradation": BLUR,
    "strength": 1.5,
    "sigma": 0.05,
    "samples": 3,
    "label": NOT_SAID,
}


@pytest.fixture(scope="module")
def models(guided_run: Path, blur_run: Path, hot_run: Path) -> Models:
    runs = {"hot": guided_run, "cold": blur_run, "plain": hot_run}
    return {name: diffcli.load(run, devices=diffcli.Devices("cpu", "1")) for name, run in runs.items()}


def restored_on(models: Models, **changes: Any) -> list[tuple[Any, str]]:
    """The answers of the tab Restore to what a visitor chose."""
    return list(answers_of(lambda: restore_tab._restoration(models, TAB, REQUEST | changes), 1))


def captions(content: str) -> list[str]:
    return re.findall("<figcaption>(.*?)</figcaption>", content)


def urls(content: str) -> list[str]:
    return re.findall('src="(.*?)"', content)


def test_a_model_with_noise_offers_every_degradation_of_its_shape_and_a_cold_one_its_own(models: Models) -> None:
    hot = degradation_choices(models["hot"])["choices"]
    assert hot[:4] == [MODELS_OWN, BLUR, DOWN_SAMPLING, NOISE]
    assert hot[4:] == ["blur, as quickstart-blur", "pixelation, as quickstart-pixelate", INVERSION]
    cold = degradation_choices(models["cold"])
    assert cold["choices"] == [MODELS_OWN]
    assert "draws no noise" in cold["info"]
    with pytest.raises(diffcli.UserError, match="mask, as mask-fast is not among the degradations of this model"):
        degradation_at(models["hot"], "mask, as mask-fast", 3)


@pytest.mark.parametrize(
    ("choice", "strength", "degradation", "t"),
    [
        (BLUR, 1.5, {"name": "heat", "schedule": {"name": "constant", "T": 1, "beta": 2.25}}, 1),
        (DOWN_SAMPLING, 2, {"name": "pixelate", "block": 2, "T": 1}, 1),
        (NOISE, 1, {"name": "fade"}, 0),
        ("blur, as quickstart-blur", 7, "quickstart-blur", 7),
        ("pixelation, as quickstart-pixelate", 20, "quickstart-pixelate", 20),
    ],
)
def test_a_chosen_degradation_is_that_of_the_words(
    models: Models, choice: str, strength: float, degradation: Any, t: int
) -> None:
    model = models["hot"]
    selection = degradation_at(model, choice, strength)
    expected = degradation_named(degradation, model.image_shape)
    y, other = (draw_measurements(one, SQUARE, step, 0.1, 0) for one, step in (selection[:2], (expected, t)))
    assert torch.equal(y, other)
    slider = strength_of(model, choice)
    assert slider["minimum"] <= strength <= slider["maximum"]
    assert slider["visible"] == (choice != NOISE)


def test_answers_are_those_of_the_command(models: Models, guided_run: Path, cli: Cli) -> None:
    Image.fromarray(SQUARE[0, 0].numpy()).save("square.png")
    words = ["--degradation", "quickstart-pixelate", "--t", 15, "--sigma", 0.05, "--samples", 3, "--out", "a.npz"]
    ran = cli("restore", "square.png", "--run", guided_run, *words, "--accelerator", "cpu")
    assert ran.code == 0, ran.err
    arrays = np.load("a.npz")
    first, (content, note) = restored_on(models, degradation="pixelation, as quickstart-pixelate", strength=15)
    assert captions(first[0]) == captions(content)[:2]
    assert captions(content) == [
        "original",
        "degraded: pixelation, t = 15 of 20",
        "mean of 3 answers",
        "standard deviation",
        *(f"answer {number}" for number in (1, 2, 3)),
    ]
    pixels = [np.array(Image.open(io.BytesIO(content_of(url)))) for url in urls(content)]
    deviation = deviation_picture(torch.from_numpy(arrays["standard_deviation"]))
    rows = [arrays["original"], arrays["images"], deviation.numpy(), *arrays["samples"].swapaxes(0, 1)]
    for picture, images in zip(pixels[:1] + pixels[2:], rows, strict=True):
        np.testing.assert_array_equal(picture, images[0, ..., 0])
    assert float(deviation.max()) > 0
    match = re.search(r"taken for (label \S+ \(0[.]\d\d\))", ran.err)
    assert match is not None
    assert f"The picture is taken for {match[1]}" in note
    assert "White: what the pixelation hides; black: where all 3 answers agree" in note


def test_one_answer_has_no_doubt_and_a_label_that_is_said_is_not_looked_for(models: Models) -> None:
    *_, (content, note) = restored_on(models, samples=1, label="7")
    assert captions(content) == ["original", "degraded: a blur of 1.5 pixels", "answer 1"]
    assert "taken for" not in note
    assert "White" not in note
    y = draw_measurements(degradation_at(models["hot"], BLUR, 1.5).degradation, SQUARE, 1, 0.05, 0)
    blur = degradation_at(models["hot"], BLUR, 1.5).degradation
    posterior = models["hot"].posterior(y, blur, sigma=0.05, label="7", quiet=True)
    assert urls(content)[2] == of_image(posterior.samples[0, 0], "").url


def test_a_model_without_labels_answers_too(models: Models) -> None:
    *_, (content, note) = restored_on(models, model="plain", degradation=NOISE, sigma=0.2, samples=2)
    assert len(captions(content)) == 6
    assert "taken for" not in note
    assert "what the noise hides" in note


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"samples": 9}, "samples must be in 1..8, got 9"),
        ({"samples": None}, "the number of answers is missing: a number"),
        ({"strength": None}, "the strength of the degradation is missing: a number"),
        ({"sigma": None}, "the sigma of the noise is missing: a number"),
        ({"sigma": 2.0}, "sigma must be in 0..1, got 2.0: pixels have a range of 1"),
        ({"degradation": "no such"}, "no such is not among the degradations of this model"),
        (
            {"degradation": "blur, as quickstart-blur", "strength": 21},
            "t must be in 0..20 (T of gaussian-blur), got 21",
        ),
        ({"model": "cold"}, "a model of gaussian-blur without noise cannot weigh a measurement"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_line(models: Models, changes: dict[str, Any], line: str) -> None:
    ((_, note),) = restored_on(models, **changes)
    assert note.startswith(f'<p role="alert" class="wrong">{line}')


def test_what_fails_is_told_in_a_line_and_printed_for_the_server(
    models: Models, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of memory\nTried to allocate")

    monkeypatch.setattr(diffcli.Model, "posterior", fails)
    _, (_, note) = restored_on(models)
    assert note == '<p role="alert" class="wrong">this failed: out of memory</p>'
    assert "RuntimeError: out of memory" in capsys.readouterr().err


def test_another_degradation_brings_its_controls(models: Models) -> None:
    controls = restore_tab._measurement_shown(models)
    strength, sigma, samples, _ = controls("hot", NOT_SAID, MODELS_OWN)
    assert (strength.label, strength.maximum, sigma.visible, samples.visible) == ("t", 20, False, False)
    strength, sigma, samples, _ = controls("hot", NOT_SAID, DOWN_SAMPLING)
    assert (strength.minimum, strength.maximum, sigma.visible, samples.visible) == (2, 4, True, True)
    strength, sigma, _, _ = controls("hot", NOT_SAID, NOISE)
    assert (strength.visible, sigma.value) == (False, restore_tab.LARGE_NOISE)
    # A model that has no measurements goes back to its own degradation.
    _, degradation, strength, sigma, _, _ = restore_tab._controls_shown(models)("cold", NOT_SAID, BLUR)
    assert (degradation.value, strength.label, strength.maximum, sigma.visible) == (MODELS_OWN, "t", 10, False)
    _, degradation, strength, *_ = restore_tab._controls_shown(models)("plain", NOT_SAID, BLUR)
    assert (degradation.value, strength.label) == (BLUR, "Blur")


def test_a_model_that_must_be_told_a_label_finds_that_of_a_measurement(models: Models) -> None:
    labels = LabelSettings(dropped=0, classes=list("0123456789"))
    preset = models["hot"].preset.model_copy(update={"labels": labels})
    others = {"hot": replace(models["hot"], resolved=replace(models["hot"].resolved, preset=preset))}
    assert NOT_SAID not in restore_tab._labels(others, "hot", MODELS_OWN)
    assert restore_tab._labels(others, "hot", BLUR)[0] == NOT_SAID
    *_, (_, note) = restored_on(others)
    assert "The picture is taken for label" in note


def test_a_picture_has_a_noise_that_it_is_drawn_from(models: Models) -> None:
    assert INVERSION in degradation_choices(models["hot"])["choices"]
    assert not strength_of(models["hot"], INVERSION)["visible"]
    controls = restore_tab._measurement_shown(models)("hot", NOT_SAID, INVERSION)
    assert [one.visible for one in controls[:3]] == [False] * 3
    [(picture, note)] = restored_on(models, degradation=INVERSION, strength=None)
    noise = models["hot"].invert(SQUARE, steps=6)
    copy = models["hot"].restore(
        noise, models["hot"].T, steps=6, sampler={"name": "ddim", "eta": 0}, guidance=1, autoguidance=1
    )
    for image, what in ((SQUARE, "original"), (to_uint8(noise / 6), "its noise"), (copy, "drawn from the noise")):
        assert of_image(image[0], what).url in picture
        assert what in picture
    assert f"hot: redrawn at {float(psnr(to_model(copy), to_model(SQUARE))):.1f} dB" in note
