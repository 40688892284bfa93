"""What the page's tabs compute, without a browser: pictures, restorations, explanations."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffcli
from diffcli.checkpoints import model_file
from diffcli.config.schema import LabelSettings
from diffcli.data.label_names import label_numbers
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.schedules import cosine
from diffcli.play import restore_tab, why_tab
from diffcli.play.choices import (
    ANY,
    EACH_IN_TURN,
    NO_MODEL,
    NOT_SAID,
    Models,
    choices_of,
    first_pair,
    label_choices,
    label_of,
    load_models,
)
from diffcli.play.controls import end_of, shown_classes
from diffcli.play.drawing import Frame, frames_of, in_step
from diffcli.play.explaining import COLUMNS, DRAWS, evenly_chosen, explanation_steps, left_of, stretch_contrast
from diffcli.play.generate_tab import Column, Tab
from diffcli.play.generate_tab import _drawing as answers_of
from diffcli.play.inline_pictures import figure, message, of_grid, of_image, png_url
from diffcli.play.restoring import MOST_STEPS, PAD, content_of, pad_image, restoration_steps, restoring_steps, uploaded
from diffcli.play.why_tab import contrast
from diffcli.utils.errors import UserError

CPU = diffcli.Devices("cpu", "1")


@pytest.fixture(scope="module")
def models(guided_run: Path, blur_run: Path, hot_run: Path) -> Models:
    runs = {"hot": guided_run, "cold": blur_run, "plain": hot_run}
    return {name: diffcli.load(run, devices=CPU) for name, run in runs.items()}


def as_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def pixels(url: str) -> torch.Tensor:
    """What is in a picture of the page, uint8 (C, H, W) or (H, W)."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content_of(url)))))


def test_models_are_called_as_they_were_asked_for(
    guided_run: Path, blur_run: Path, hot_run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, run in (("hot", guided_run), ("cold", blur_run)):
        diffcli.export(run, workplace / "made" / f"{name}.safetensors")
    names = [str(guided_run), str(hot_run), str(workplace / "made" / "cold.safetensors"), str(guided_run)]
    assert list(load_models(names, CPU)) == ["tiny", "tiny (run)", "tiny (cold)"]
    monkeypatch.setattr(model_file, "READY_MODELS", workplace / "made")
    assert list(load_models([], CPU)) == ["cold", "hot"]


def test_a_hot_and_a_cold_model_come_first(models: Models) -> None:
    assert first_pair(models) == ("hot", "cold")
    assert first_pair({"b": models["cold"], "a": models["plain"]}) == ("a", "b")
    assert first_pair({"a": models["plain"], "b": models["hot"]}) == ("a", "b")
    assert first_pair({"b": models["cold"]}) == ("b", NO_MODEL)


def test_choices_are_those_of_the_preset(models: Models) -> None:
    hot, cold = choices_of(models["hot"]), choices_of(models["cold"])
    assert (hot.sampler, hot.steps, hot.T, hot.guidance) == ("ddim", 6, 20, 1)
    assert (cold.sampler, cold.steps, cold.T) == ("cold", 10, 10)
    assert "heun" in hot.samplers
    assert cold.samplers == ["cold-naive", "cold"]
    assert hot.priors == ["standard-normal"]
    assert cold.priors[0] == "mixture"
    assert "uniform" in cold.priors


def test_labels_are_those_that_a_model_knows(models: Models) -> None:
    assert label_choices([models["plain"]]) == [ANY]
    assert label_choices([models["plain"], models["hot"]])[-1] == "9"
    assert label_of(models["hot"], "7") == "7"
    assert label_of(models["hot"], "none") == "none"
    assert label_of(models["hot"], EACH_IN_TURN) == [str(digit) for digit in range(10)]
    assert label_of(models["hot"], ANY) is None
    assert label_of(models["plain"], "7") is None
    assert label_of(models["plain"], EACH_IN_TURN) is None


def test_classes_called_like_words_of_the_page_can_be_chosen(models: Models) -> None:
    labels = LabelSettings(classes=["A", "a", "none", "any", "not said"])
    hot = models["hot"]
    resolved = replace(hot.resolved, preset=hot.preset.model_copy(update={"labels": labels}))
    model = replace(hot, resolved=resolved, class_shares=())
    choices = label_choices([model])
    assert choices == [ANY, EACH_IN_TURN, "none", "A", "a", "none (class)", "any (class)", "not said (class)"]
    numbers = [label_numbers(label_of(model, choice), model.classes) for choice in choices]
    assert numbers == [(), (0, 1, 2, 3, 4), (-1,), (0,), (1,), (2,), (3,), (4,)]
    restore_choices = shown_classes({"hot": model}, "hot")
    assert restore_choices == [NOT_SAID, *choices[3:]]
    assert [label_of(model, choice) for choice in restore_choices] == [None, *model.classes]


def test_another_model_keeps_the_label_that_it_knows(models: Models) -> None:
    for controls, other in ((why_tab._controls_shown(models), ANY), (restore_tab._controls_shown(models), NOT_SAID)):
        for name, label, expected in (("hot", "7", "7"), ("hot", "no such", other), ("plain", "7", other)):
            (control,) = [
                one for one in controls(name, label) if getattr(one, "choices", None) and expected in dict(one.choices)
            ]
            assert control.value == expected


def test_what_a_model_was_not_trained_with_is_not_offered(models: Models) -> None:
    labels = LabelSettings(dropped=0, classes=list("0123456789"))
    preset = models["hot"].preset.model_copy(update={"labels": labels})
    resolved = replace(models["hot"].resolved, preset=preset)
    model = replace(models["hot"], resolved=resolved, class_shares=(0.5, 0.0, 0.5, *[0.0] * 7))
    assert label_choices([model]) == [ANY, EACH_IN_TURN, "0", "2"]
    assert label_of(model, EACH_IN_TURN) == ["0", "2"]
    assert shown_classes({"told": model}, "told") == ["0", "2"]
    assert not choices_of(model).guided
    assert (choices_of(models["hot"]).guided, choices_of(models["plain"]).guided) == (True, False)


def test_a_label_that_is_none_is_drawn_whatever_the_guidance(models: Models) -> None:
    column: Any = Column("model", "sampler", "steps", "guidance", "settings", "picture")  # type: ignore[arg-type]
    tab = Tab("label", "count", "seed", [column], "said", "to")  # type: ignore[arg-type]
    request = {"model": "hot", "sampler": "ddim", "steps": 2, "guidance": 3.0, "count": 2, "seed": 0, "to": None}
    pictures = {}
    for label, guidance in (("none", 3.0), ("none", 1.0), ("7", 3.0), ("7", 1.0)):
        *_, (picture, note) = answers_of(models, tab, request | {"label": label, "guidance": guidance})
        pictures[label, guidance] = picture
        assert "seed 0" in note
    assert pictures["none", 3.0] == pictures["none", 1.0]
    assert len(set(pictures.values())) == 3


@pytest.mark.parametrize("name", ["hot", "cold"])
def test_a_row_between_two_seeds_is_that_of_sample(models: Models, name: str) -> None:
    frames = list(frames_of(models[name], 3, {"between": (5, 6), "label": "4", "steps": 4}))
    prior = "gaussian" if name == "cold" else None  # between draws of the mixture there is nothing
    row = models[name].sample(between=(5, 6), steps_between=2, label="4", steps=4, prior=prior, quiet=True)
    assert torch.equal(frames[-1].images, row)


def test_a_row_of_no_label_starts_from_a_prior_that_has_something_between(models: Models) -> None:
    frames = list(frames_of(models["cold"], 3, {"between": (5, 6), "label": "none", "steps": 2}))
    row = models["cold"].sample(between=(5, 6), steps_between=2, label="none", steps=2, prior="uniform", quiet=True)
    assert torch.equal(frames[-1].images, row)


def test_the_tab_answers_a_request_for_a_row(models: Models) -> None:
    column: Any = Column("model", "sampler", "steps", "guidance", "settings", "picture")  # type: ignore[arg-type]
    tab = Tab("label", "count", "seed", [column], "said", "to")  # type: ignore[arg-type]
    request = {"model": "hot", "sampler": "ddim", "steps": 2, "guidance": 1.0, "count": 3, "seed": 5, "label": "4"}
    *_, (picture, note) = answers_of(models, tab, request | {"to": 6})
    row = models["hot"].sample(between=(5, 6), steps_between=2, label="4", steps=2, sampler="ddim", guidance=1.0)
    assert of_grid(row, "").url in picture
    assert "from seed 5 to 6" in note
    for wrong, line in (
        ({"to": 5}, "`between` must be two different seeds"),
        ({"to": 6, "count": 1}, "a row between two seeds is of two images at least"),
        ({"to": 6, "label": EACH_IN_TURN}, "a row between two seeds is of one label"),
        ({"to": 6, "label": ANY}, "`between`: the labels of image 0 are"),
    ):
        with pytest.raises(diffcli.UserError, match=line):
            list(answers_of(models, tab, request | wrong))


@pytest.mark.parametrize("name", ["hot", "cold", "plain"])
def test_what_is_drawn_ends_as_the_models_samples(models: Models, name: str) -> None:
    frames = list(frames_of(models[name], 3, {"seed": 5, "steps": 4}))
    assert torch.equal(frames[-1].images, models[name].sample(3, seed=5, steps=4, quiet=True))
    assert [frame.done for frame in frames] == [0, 0.25, 0.5, 0.75, 1]
    assert [frame.s for frame in frames] == sorted((frame.s for frame in frames), reverse=True)


@pytest.mark.parametrize(
    ("count", "options", "line"),
    [
        (17, {}, "`n` must be in 1..16, got 17"),
        (0, {}, "`n` must be in 1..16, got 0"),
        (1, {"steps": 21}, "steps must be in 1..20 (T of this model), got 21"),
        (1, {"seed": -1}, "`seed` must be at least 0, got -1"),
        (1, {"label": "7"}, "`label`: this model was trained without labels"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(models: Models, count: int, options: dict, line: str) -> None:
    with pytest.raises(diffcli.UserError, match=r"must|trained") as error:
        frames_of(models["plain"], count, options)
    assert str(error.value).startswith(line)


def test_two_trajectories_go_side_by_side() -> None:
    image = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    parts = [[Frame(image, 10 - step, step / count) for step in range(count + 1)] for count in (2, 4)]
    shares = [tuple(frame.done for frame in frames) for frames in in_step([iter(part) for part in parts])]
    assert shares == [(0, 0), (0.5, 0), (0.5, 0.25), (0.5, 0.5), (1, 0.5), (1, 0.75), (1, 1)]


def test_two_visitors_do_not_mix(models: Models) -> None:
    """Trajectories whose steps alternate are those that are drawn alone."""
    ends = [models["hot"].sample(2, seed=seed, quiet=True) for seed in (1, 2)]
    *_, last = in_step([frames_of(models["hot"], 2, {"seed": seed}) for seed in (1, 2)])
    assert all(torch.equal(frame.images, end) for frame, end in zip(last, ends, strict=True))
    assert not torch.equal(*ends)


def test_a_small_upload_reaches_the_model_as_it_is(models: Models) -> None:
    image = torch.randint(256, (8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    content = content_of(png_url(Image.fromarray(image.numpy())))
    pad = uploaded("digit.png", as_url(content), "white")
    upload = pad_image(pad, models["hot"].image_shape)
    assert upload is not None
    assert torch.equal(upload, image[None, None])


def test_a_large_upload_fits_the_pad() -> None:
    content = io.BytesIO()
    Image.radial_gradient("L").resize((900, 600)).save(content, "JPEG")
    assert pixels(uploaded("photo.jpg", as_url(content.getvalue(), "image/jpeg"), "white")).shape == (PAD, PAD, 3)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (as_url(b"no picture"), "x.png is not a readable image"),
        (as_url(b"\x89PNG\r\n\x1a\n damaged"), "x.png is not a readable image"),
        ("data:image/png;base64,%%%", "a picture is expected, as a browser sends it"),
        ("/etc/passwd", "a picture is expected, as a browser sends it"),
        ("http://127.0.0.1/a.png", "a picture is expected, as a browser sends it"),
        ("", "a picture is expected, as a browser sends it"),
        ("data:image/png;base64," + "A" * 40_000_004, "the file is larger than 30 MB; take a smaller one"),
    ],
    ids=["text", "damaged", "no base64", "path", "address", "empty", "large"],
)
def test_a_broken_upload_is_named(url: str, line: str) -> None:
    with pytest.raises(diffcli.UserError) as error:
        uploaded("x.png", url, "white")
    assert str(error.value) == line


def test_an_empty_pad_shows_nothing(models: Models) -> None:
    shape = models["hot"].image_shape
    assert pad_image("", shape) is None
    assert pad_image(png_url(Image.new("RGB", (PAD, PAD))), shape) is None
    with pytest.raises(diffcli.UserError, match="the drawing is not a readable image"):
        pad_image(as_url(b"no picture"), shape)


@pytest.mark.parametrize("name", ["hot", "cold", "plain"])
def test_a_restoration_is_that_of_the_model(models: Models, name: str) -> None:
    model = models[name]
    images = torch.full((1, *model.image_shape), 90, dtype=torch.uint8)
    label = "3" if model.classes else None
    first, second = restoration_steps(model, images, 6, label, seed=1)
    xt = model.degrade(images, 6, seed=1)
    assert first.restored is None
    assert torch.equal(first.degraded, xt)
    assert torch.equal(first.one_step, model.estimate(xt, 6, label))
    assert second.restored is not None
    assert torch.equal(second.restored, model.restore(xt, t=6, seed=1, label=label, quiet=True))


def test_a_restoration_is_quick_enough_for_a_slider(hot_run: Path) -> None:
    model = diffcli.load(hot_run, devices=CPU)
    model.denoiser.degradation = GaussianNoise(cosine(2000))
    assert [restoring_steps(model, t) for t in (1, 40, 60, 2000)] == [1, 40, MOST_STEPS, MOST_STEPS]


@pytest.mark.parametrize("name", ["hot", "cold"])
def test_an_explanation_follows_one_of_eight_images(models: Models, name: str) -> None:
    model = models[name]
    *early, whole = explanation_steps(model, {"seed": 2, "label": "4"})
    assert early[0].moments == ()
    assert whole.images is not None
    assert torch.equal(diffcli.to_uint8(whole.images), model.sample(DRAWS, seed=2, label="4", quiet=True))
    steps = list(model.trajectory(DRAWS, seed=2, label="4"))
    assert torch.equal(whole.draws, steps[0].xs)
    assert whole.moments[0].t == model.T
    assert torch.equal(whole.moments[0].xt, steps[0].xs[0])
    assert torch.equal(whole.moments[0].x0_hat, steps[1].x0_hat[0])
    assert [moment.t for moment in whole.left] == evenly_chosen(range(model.T + 1))
    assert len(whole.moments) == min(COLUMNS, len(steps) - 1)


def test_what_the_degradation_leaves_begins_with_the_image(models: Models) -> None:
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8) * 4
    moments = left_of(models["cold"], image)
    assert torch.equal(diffcli.to_uint8(moments[0].xt), image[0])
    spans = [float(moment.xt.max() - moment.xt.min()) for moment in moments]
    assert spans == sorted(spans, reverse=True)


def test_a_faint_image_is_stretched_to_all_of_black_to_white() -> None:
    faint = 0.3 + torch.tensor([[[0.0, 0.01], [0.02, 0.005]]])
    stretch, times = stretch_contrast(faint)
    assert (float(stretch.min()), float(stretch.max())) == (-0.5, 0.5)
    assert times == pytest.approx(50, rel=1e-4)
    flat, times = stretch_contrast(torch.full((1, 2, 2), 0.3))
    assert float(flat.abs().max()) == 0
    assert [contrast(times), contrast(37.2)[1:], contrast(1.04)[1:]] == ["no contrast", "37", "1.0"]


def test_pictures_are_in_the_page_itself() -> None:
    images = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)
    assert torch.equal(pixels(of_image(images[1], "x").url), images[1, 0])
    assert of_grid(images, "x").url == png_url(diffcli.grid(images))
    html = figure([of_image(images[0], 'a "quoted" <name>')], "a < b")
    assert 'alt="a &quot;quoted&quot; &lt;name&gt;"' in html
    assert "<figcaption>a &lt; b</figcaption>" in html
    assert message("`seed` <b>", is_error=True) == '<p role="alert" class="wrong">seed &lt;b&gt;</p>'


@pytest.mark.parametrize(("text", "end"), [("", None), (None, None), (" 12 ", 12), ("0", 0)])
def test_the_end_of_a_row_is_a_seed_or_nothing(text: str | None, end: int | None) -> None:
    assert end_of(text) == end


@pytest.mark.parametrize("text", ["-1", "1.5", "seven", "\u0662"])
def test_what_is_no_seed_ends_no_row(text: str) -> None:
    with pytest.raises(UserError, match="a row leads to a seed, a whole number from 0 on"):
        end_of(text)
