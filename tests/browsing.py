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
def shown_models(guided_run: Path, blur_run: Path) -> Models:
    """A hot and a cold model."""
    import diffcli

    on = diffcli.Devices("cpu", "1")
    return {"hot": diffcli.load(guided_run, devices=on), "cold": diffcli.load(blur_run, devices=on)}


@pytest.fixture(scope="module")
def strangers() -> Iterator[list[Any]]:
    """The addresses outside this machine that this process, the server's, connects to or asks a name server for."""
    addresses: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connect_and_note(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (HOME, "localhost", "::1"):
            addresses.append(address)
        connect(self, address)

    def look_up_and_note(host: Any, *rest: Any, **options: Any) -> Any:
        if host not in (HOME, "localhost", "::1"):
            addresses.append(host)
        return look_up(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_and_note)
        patch.setattr(socket, "getaddrinfo", look_up_and_note)
        yield addresses


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
        instance = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield instance
        instance.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page as a visitor of its own; at the end, all that it asked for was there and on this machine."""
    requests: list[str] = []
    wrong: list[str] = []
    contexts = []

    def open_page(**settings: Any) -> Any:
        context = browser.new_context(**settings)
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.goto(address)
        page.get_by_role("button", name="Generate").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert requests
    assert [url for url in requests if not url.startswith((address + "/", "data:"))] == []
    assert wrong == []
