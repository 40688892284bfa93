"""Fixtures that serve the page of two tiny models and open it in headless Chromium."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from diffcli.play.choices import Models

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
SIZES = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
HOME = "127.0.0.1"


@pytest.fixture(scope="module")
def shown_models(guided: Path, blurred: Path) -> Models:
    """A hot and a cold model."""
    import diffcli

    on = diffcli.Devices("cpu", "1")
    return {"hot": diffcli.load(guided, devices=on), "cold": diffcli.load(blurred, devices=on)}


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
def address(shown_models: Models, strangers: list[Any]) -> Iterator[str]:
    """Where the page is served."""
    from diffcli.play.server import address_of, listening_socket, server_of

    listener = listening_socket(HOME, 0)
    server = server_of(shown_models)
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
        context.set_default_timeout(120_000)
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
