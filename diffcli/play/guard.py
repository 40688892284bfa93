"""The requests that a visitor may make: the page and its events, whose data are numbers and text. No file can be named.

Gradio serves and takes files, fetches addresses and offers an interface for programs; the page needs none of this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

EVENTS = "/gradio_api/queue/join"
"""The addresses to which a page sends its events."""
PAGE_PATHS = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static)/[\w./-]+"
    r"|/gradio_api/(theme\.css|queue/data|heartbeat/\w+|startup-events)"
)
EVENT_PATHS = re.compile(rf"{EVENTS}|/gradio_api/(cancel|reset)/?")
MOST_BYTES = 42_000_000
"""The size of an event, at most: an upload in base64, and a little more."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; form-action 'none'; base-uri 'self'; object-src 'none'"
)
"""Content-Security-Policy: the browser fetches nothing from anywhere else."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_allowed(method: str, path: str) -> bool:
    """Whether the page needs such a request."""
    if method in ("GET", "HEAD"):
        return PAGE_PATHS.fullmatch(path) is not None and ".." not in path
    return method == "POST" and EVENT_PATHS.fullmatch(path) is not None


def plain(body: bytes) -> bool:
    """Whether an event's data are numbers and text: a mapping could be a file that it names."""
    try:
        event = json.loads(body)
        data = event.get("data")
    except (ValueError, AttributeError, RecursionError):
        return False
    return isinstance(data, list) and all(value is None or isinstance(value, (str, int, float)) for value in data)


class Guard:
    """An ASGI application that passes on to ``app`` what the page needs, and nothing else."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        if not is_allowed(scope["method"], scope["path"]):
            await _answer(send, 404)
            return
        if scope["method"] == "POST":
            body = await _body(receive)
            if body is None:
                await _answer(send, 413)
                return
            if scope["path"] == EVENTS and not plain(body):
                await _answer(send, 400)
                return
            receive = _replay(body, receive)
        await self.app(scope, receive, _with_policy(send))


async def _body(receive: Receive) -> bytes | None:
    """All that is sent; None where that is too much."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read once more, then what comes after it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return replayed


def _with_policy(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY.encode())]
        await send(message)

    return sent


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
