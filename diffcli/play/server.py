"""Serves a page of models on this machine until it is interrupted."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from diffcli.utils.errors import UserError

if TYPE_CHECKING:
    from diffcli.play.choices import Models
    from diffcli.play.guard import App

FIRST_PORT, PORTS = 7860, 20
"""The ports that are tried unless one is named."""


def check_packages() -> None:
    """Checks that what makes the page is installed.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs gradio; install it with: pip install 'diffcli[play]'")


def listening_socket(host: str, port: int | None) -> socket.socket:
    """A socket that listens at ``host``; without ``port`` at the first free one from ``FIRST_PORT`` on.

    Raises:
        UserError: the host is not of this machine, or the port is taken or not allowed.
    """
    if port is not None and not 0 <= port <= 65_535:
        raise UserError(f"`port` must be in 0..65535, got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"`host` {host} is no address of this machine; take 127.0.0.1, or 0.0.0.0 for all of its"
        ) from error
    candidates = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    problem = OSError()
    for candidate in candidates:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address[0], candidate))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            problem = error
    ports = f"`port` {port}" if port is not None else f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise UserError(f"{ports} of `host` {host}: {problem.strerror or problem}; name another `port`, or `host`")


def address_of(listener: socket.socket) -> str:
    """The address at which a browser finds the server."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def application(models: Models) -> App:
    """The page of these models, as an ASGI application."""
    from fastapi import FastAPI
    from gradio import mount_gradio_app

    from diffcli.play.guard import Guard
    from diffcli.play.page import CSS, page, theme

    app = mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page(models),
        path="/",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        allowed_paths=[],
        theme=theme(),
        css=CSS,
    )
    return Guard(app)


def server_of(models: Models) -> Any:
    """A uvicorn server of the page; its ``run(sockets=[...])`` returns when it is told to end."""
    import uvicorn

    config = uvicorn.Config(
        application(models), log_level="error", access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    return uvicorn.Server(config)


def serve(models: Models, listener: socket.socket, ready: Callable[[str], None]) -> None:
    """Serves the page of these models until Ctrl-C; ``ready`` is told its address when a browser can open it."""
    server = server_of(models)
    ready(address_of(listener))
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
