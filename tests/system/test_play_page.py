"""The page in a browser: headless Chromium generates, draws, restores and uploads, at desktop and at phone width."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import NEEDS_CHROMIUM, SIZES
from PIL import Image

from diffcli.inference.measuring import degradation_named, draw_measurements
from diffcli.inference.pictures import deviation_picture
from diffcli.play.choices import Models
from diffcli.play.drawing import COMPUTING
from diffcli.play.inline_pictures import of_grid, of_image
from diffcli.play.restoring import pad_image

pytestmark = NEEDS_CHROMIUM
SHOTS = os.environ.get("DIFFCLI_SHOTS")
"""A folder for pictures of the page, to look at."""


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def pictures(page: Any) -> list[str]:
    """The pictures that are to be seen, as data URLs."""
    return [image.get_attribute("src") for image in page.locator("figure img:visible").all()]


def until(page: Any, condition: Callable[[], bool]) -> None:
    """Waits for a condition, for two minutes or more."""
    for _ in range(1200):
        if condition():
            return
        page.wait_for_timeout(100)
    assert condition()


def draw_seven(page: Any) -> None:
    box = page.locator("canvas").bounding_box()
    across, down = (lambda x: box["x"] + x * box["width"]), (lambda y: box["y"] + y * box["height"])
    page.mouse.move(across(0.3), down(0.25))
    page.mouse.down()
    page.mouse.move(across(0.7), down(0.25), steps=5)
    page.mouse.move(across(0.45), down(0.8), steps=5)
    page.mouse.up()


CAPTION_RECORD = """() => {
  window.seen = [];
  new MutationObserver(() => document.querySelectorAll("figcaption")
    .forEach((one) => window.seen.push(one.textContent)))
    .observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


@pytest.mark.parametrize("size", SIZES)
def test_a_visitor_generates_draws_and_restores(visit, shown_models: Models, strangers: list[Any], size: str) -> None:
    page = visit(**SIZES[size])
    page.evaluate(CAPTION_RECORD)
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("seed 0,").wait_for()
    for url, model in zip(pictures(page), shown_models.values(), strict=True):
        assert url == of_grid(model.sample(4, seed=0, quiet=True), "").url
    captions = set(page.evaluate("window.seen"))
    assert {"hot: drawn", "cold: drawn"} < captions  # the way there was to be seen, too
    shot(page, f"{size}-generate")

    page.get_by_role("tab", name="Restore").click()
    page.get_by_text("Draw a digit, or upload a picture.").wait_for()
    draw_seven(page)
    page.get_by_text("restored, 3 steps").wait_for()
    drawing = page.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    image = pad_image(drawing, shown_models["hot"].image_shape)
    assert image is not None
    assert 0.05 < float((image > 128).float().mean()) < 0.5
    until(page, lambda: pictures(page)[:1] == [of_image(image[0], "").url])  # what was shown before was half a stroke
    until(page, lambda: len(pictures(page)) == 4)
    _, degraded, one_step, restoration = pictures(page)
    xt = shown_models["hot"].degrade(image, 10)
    assert degraded == of_image(xt[0], "").url
    assert one_step == of_image(shown_models["hot"].estimate(xt, 10)[0], "").url
    assert restoration == of_image(shown_models["hot"].restore(xt, t=10, quiet=True)[0], "").url
    shot(page, f"{size}-restore")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert strangers == []


@pytest.mark.slow
def test_all_is_done_by_keyboard_in_the_dark(visit, shown_models: Models) -> None:
    page = visit(**SIZES["desktop"], color_scheme="dark")
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]
    assert max(red, green, blue) < 60
    for key in ("Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    page.locator("canvas").wait_for()
    for key in ("Tab", "Tab", "Space", *["ArrowDown"] * 6, "Space"):
        page.keyboard.press(key)
    page.get_by_text("degraded, t = 10").wait_for()
    page.get_by_label("range slider for t").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("degraded, t = 11").wait_for()
    page.get_by_text("restored,").wait_for()
    shot(page, "dark-restore")
    page.get_by_role("button", name="Clear").press("Enter")
    page.get_by_text("Draw a digit, or upload a picture.").wait_for()
    assert pictures(page) == []


def test_an_upload_is_restored_and_a_broken_one_gets_a_message(visit, shown_models: Models, workplace: Path) -> None:
    page = visit(**SIZES["phone"])
    page.get_by_role("tab", name="Restore").click()
    levels = torch.randint(256, (8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(levels.numpy()).save("small.png")
    Path("broken.png").write_bytes(Path("small.png").read_bytes()[:60])
    page.locator("input[type=file]").set_input_files("small.png")
    page.get_by_text("restored, 3 steps").wait_for()
    before = pictures(page)
    assert before[0] == of_image(levels[None], "").url
    page.locator("input[type=file]").set_input_files("broken.png")
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text() == "broken.png is not a readable image"
    assert pictures(page) == before
    shot(page, "phone-broken")
    page.get_by_label("range slider for t").focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("degraded, t = 9").wait_for()  # of the picture before
    assert pictures(page)[0] == before[0]


def test_a_measurement_is_answered_several_times(visit, shown_models: Models) -> None:
    page = visit(**SIZES["phone"])
    page.get_by_role("tab", name="Restore").click()
    levels = torch.randint(256, (8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(levels.numpy()).save("small.png")
    page.locator("input[type=file]").set_input_files("small.png")
    page.get_by_text("restored, 3 steps").wait_for()
    choose(page, "Degradation", "down-sampling")
    page.get_by_text("answer 4").wait_for()
    number(page, "Answers", 2)
    page.get_by_text("where all 2 answers agree").wait_for()
    half = {"name": "pixelate", "block": 4, "T": 1}
    y = draw_measurements(degradation_named(half, (1, 8, 8)), levels[None, None], 1, 0.01, 0)
    answers = shown_models["hot"].posterior(y, half, sigma=0.01, samples=2, quiet=True)
    tensors = [answers.mean, deviation_picture(answers.standard_deviation), *answers.samples]
    assert pictures(page)[2:] == [of_image(images[0], "").url for images in tensors]
    shot(page, "phone-measured")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    choose(page, "Model", "cold")
    page.get_by_text("draws no noise").wait_for()
    page.get_by_text("restored,").wait_for()  # by its own degradation, the only one that it has
    until(page, lambda: len(pictures(page)) == 4)


@pytest.mark.slow
def test_two_visitors_at_once_do_not_mix(visit, shown_models: Models) -> None:
    visitors = {seed: visit(**SIZES["desktop"]) for seed in (11, 12)}
    for seed, page in visitors.items():
        page.get_by_label("Seed").fill(str(seed))
        page.get_by_label("Seed").blur()
    for page in visitors.values():
        page.get_by_role("button", name="Generate").click()
    for seed, page in visitors.items():
        page.get_by_text(f"seed {seed},").wait_for()
        for url, model in zip(pictures(page), shown_models.values(), strict=True):
            assert url == of_grid(model.sample(4, seed=seed, quiet=True), "").url


def test_what_is_wrong_is_told_on_the_page(visit) -> None:
    page = visit(**SIZES["desktop"])
    page.get_by_label("Seed").fill("")
    page.get_by_label("Seed").blur()
    page.get_by_role("button", name="Generate").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text() == "the seed is missing: a whole number from 0 on"


def choose(page: Any, control: str, option: str) -> None:
    page.locator(f'input[aria-label="{control}"]:visible').first.click()
    page.get_by_role("option", name=option, exact=True).click()
    page.wait_for_function("!document.querySelector('[role=option]')")


def number(page: Any, control: str, value: int) -> None:
    box = page.get_by_label(f"number input for {control}").first
    box.fill(str(value))
    box.blur()


@pytest.mark.slow
def test_what_is_set_is_what_is_drawn(visit, shown_models: Models) -> None:
    page = visit(**SIZES["phone"])
    choose(page, "Label", "7")
    choose(page, "Beside it", "none")
    settings = page.get_by_role("button", name="Settings")
    until(page, lambda: settings.count() == 1)  # those of no model are hidden
    settings.click()
    choose(page, "Sampler", "heun")
    number(page, "Steps", 3)
    number(page, "Guidance", 2)
    number(page, "Images", 2)
    page.get_by_role("button", name="Another").click()
    page.get_by_text("seed 1,").wait_for()
    options = {"seed": 1, "label": 7, "sampler": "heun", "steps": 3, "guidance": 2.0}
    images = shown_models["hot"].sample(2, quiet=True, **options)
    assert pictures(page) == [of_grid(images, "").url]
    choose(page, "Model", "cold")  # whose sampler, steps and guidance are others
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("cold: drawn").wait_for()
    assert pictures(page) == [of_grid(shown_models["cold"].sample(2, seed=1, label=7, quiet=True), "").url]


@pytest.mark.slow
def test_a_long_generation_can_be_stopped(visit) -> None:
    page = visit(**SIZES["desktop"])
    number(page, "Images", 16)
    page.get_by_role("button", name="Settings").first.click()
    choose(page, "Sampler", "ancestral")
    number(page, "Steps", 20)
    with COMPUTING:  # as if it took long
        page.get_by_role("button", name="Generate").click()
        page.wait_for_timeout(500)
        page.get_by_role("button", name="Stop").click()
        page.wait_for_timeout(500)
    page.get_by_text("stopped").wait_for()
    page.wait_for_timeout(1000)
    assert page.get_by_text("seed 0,").count() == 0


@pytest.mark.slow
def test_why_is_shown(visit, shown_models: Models) -> None:
    page = visit(**SIZES["phone"])
    page.get_by_role("tab", name="Why").click()
    page.get_by_role("button", name="Show").click()
    page.get_by_text("hot, prior standard-normal, seed 0").wait_for()
    assert len(pictures(page)) == 2 * 6 + 2 * 8 + 3 * 8
    images = shown_models["hot"].sample(8, seed=0, quiet=True)
    assert pictures(page)[-1] == of_image(images[-1], "").url
    shot(page, "phone-why")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def answer(address: str, path: str, body: Any = None) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_no_file_is_read_that_a_visitor_names(address: str, workplace: Path) -> None:
    Path("secret.txt").write_text("secret")
    secret = Path("secret.txt").resolve()
    assert answer(address, "/") == 200
    for path in (f"/gradio_api/file={secret}", f"/gradio_api/file/{secret}", "/gradio_api/info", "/file=secret.txt"):
        assert answer(address, path) == 404
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    event = {"data": [file], "fn_index": 0, "session_hash": "abc"}
    assert answer(address, "/gradio_api/queue/join", event) == 400
    assert answer(address, "/gradio_api/upload", event) == 404
    content = base64.b64encode(b"x" * 32_000_000).decode()
    assert answer(address, "/gradio_api/queue/join", {"data": [content]}) == 413
