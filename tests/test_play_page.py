"""The page in a browser: headless Chromium generates, draws, restores and uploads, at desktop and at phone width."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffcli
from diffcli.play.choices import Models
from diffcli.play.pictures import of_grid, of_image
from diffcli.play.restoring import content_of
from diffcli.play.server import address_of, listening, server_of

CPU = diffcli.Devices("cpu", "1")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
SIZES = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
HOME = "127.0.0.1"
SHOTS = os.environ.get("DIFFCLI_SHOTS")
"""A folder for pictures of the page, to look at."""


@pytest.fixture(scope="module")
def models(guided: Path, blurred: Path) -> Models:
    return {"hot": diffcli.load(guided, devices=CPU), "cold": diffcli.load(blurred, devices=CPU)}


@pytest.fixture(scope="module")
def strangers() -> Iterator[list[Any]]:
    """The addresses outside this machine that this process, the server's, connects to or asks a name server for."""
    found: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connected(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (HOME, "localhost", "::1"):
            found.append(address)
        connect(self, address)

    def looked_up(host: Any, *rest: Any, **named: Any) -> Any:
        if host not in (HOME, "localhost", "::1"):
            found.append(host)
        return look_up(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connected)
        patch.setattr(socket, "getaddrinfo", looked_up)
        yield found


@pytest.fixture(scope="module")
def address(models: Models, strangers: list[Any]) -> Iterator[str]:
    """Where the page is served."""
    listener = listening(HOME, 0)
    server = server_of(models)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield address_of(listener)
    server.should_exit = True
    thread.join(timeout=20)
    listener.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page as a visitor of its own; at the end, all that it asked for was there and on this machine."""
    asked: list[str] = []
    wrong: list[str] = []
    contexts = []

    def opened(**settings: Any) -> Any:
        context = browser.new_context(**settings)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.goto(address)
        page.get_by_role("button", name="Generate").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert asked
    assert [url for url in asked if not url.startswith((address + "/", "data:"))] == []
    assert wrong == []


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def pictures(page: Any) -> list[str]:
    """The pictures that are to be seen, as data URLs."""
    return [image.get_attribute("src") for image in page.locator("figure img:visible").all()]


def draw_seven(page: Any) -> None:
    box = page.locator("canvas").bounding_box()
    across, down = (lambda x: box["x"] + x * box["width"]), (lambda y: box["y"] + y * box["height"])
    page.mouse.move(across(0.3), down(0.25))
    page.mouse.down()
    page.mouse.move(across(0.7), down(0.25), steps=5)
    page.mouse.move(across(0.45), down(0.8), steps=5)
    page.mouse.up()


SEEN = """() => {
  window.seen = [];
  new MutationObserver(() => document.querySelectorAll("figcaption").forEach((one) => window.seen.push(one.textContent)))
    .observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


@pytest.mark.parametrize("size", SIZES)
def test_a_visitor_generates_draws_and_restores(visit, models: Models, strangers: list[Any], size: str) -> None:
    page = visit(**SIZES[size])
    page.evaluate(SEEN)
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("seed 0,").wait_for()
    for url, model in zip(pictures(page), models.values(), strict=True):
        assert url == of_grid(model.sample(4, seed=0, quiet=True), "").url
    captions = set(page.evaluate("window.seen"))  # the way there was to be seen
    assert {"hot: t = 20 of 20", "cold: t = 10 of 10", "hot: drawn", "cold: drawn"} <= captions
    assert len(captions) >= 10
    shot(page, f"{size}-generate")

    page.get_by_role("tab", name="Restore").click()
    page.get_by_text("Draw a digit, or upload a picture.").wait_for()
    draw_seven(page)
    page.get_by_text("restored, 3 steps").wait_for()
    page.wait_for_function("document.querySelectorAll('figure img').length >= 4")
    page.wait_for_timeout(500)  # the draft of a stroke may be there before the stroke is
    original, degraded, one_step, restored = pictures(page)
    image = torch.from_numpy(np.array(Image.open(content_stream(original))))[None, None]
    assert 0.05 < float((image > 128).float().mean()) < 0.5
    xt = models["hot"].degrade(image, 10)
    assert degraded == of_image(xt[0], "").url
    assert one_step == of_image(models["hot"].estimate(xt, 10)[0], "").url
    assert restored == of_image(models["hot"].restore(xt, t=10, quiet=True)[0], "").url
    shot(page, f"{size}-restore")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert strangers == []


def content_stream(url: str) -> Any:
    import io

    return io.BytesIO(content_of(url))


def test_all_is_done_by_keyboard_in_the_dark(visit, models: Models) -> None:
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


def test_an_upload_is_restored_and_a_broken_one_gets_a_message(visit, models: Models, workplace: Path) -> None:
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


def test_two_visitors_at_once_do_not_mix(visit, models: Models) -> None:
    visitors = {seed: visit(**SIZES["desktop"]) for seed in (11, 12)}
    for seed, page in visitors.items():
        page.get_by_label("Seed").fill(str(seed))
        page.get_by_label("Seed").blur()
    for page in visitors.values():
        page.get_by_role("button", name="Generate").click()
    for seed, page in visitors.items():
        page.get_by_text(f"seed {seed},").wait_for()
        for url, model in zip(pictures(page), models.values(), strict=True):
            assert url == of_grid(model.sample(4, seed=seed, quiet=True), "").url


def test_what_is_wrong_is_told_on_the_page(visit) -> None:
    page = visit(**SIZES["desktop"])
    page.get_by_label("Seed").fill("")
    page.get_by_label("Seed").blur()
    page.get_by_role("button", name="Generate").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text() == "the seed is missing: a whole number from 0 on"


def test_why_is_shown(visit, models: Models) -> None:
    page = visit(**SIZES["phone"])
    page.get_by_role("tab", name="Why").click()
    page.get_by_role("button", name="Show").click()
    page.get_by_text("hot, prior standard-normal, seed 0").wait_for()
    assert len(pictures(page)) == 2 * 6 + 2 * 8 + 3 * 8
    made = models["hot"].sample(8, seed=0, quiet=True)
    assert pictures(page)[-1] == of_image(made[-1], "").url
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
    encoded = base64.b64encode(b"x" * 32_000_000).decode()
    assert answer(address, "/gradio_api/queue/join", {"data": [encoded]}) == 413
