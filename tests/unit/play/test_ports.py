"""Where the page is served: at the first free port, unless one is named."""

from __future__ import annotations

import socket

import pytest

from diffcli.play import server
from diffcli.play.server import listening_socket
from diffcli.utils.errors import UserError

HOME = "127.0.0.1"


def test_without_a_port_the_first_free_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOME, 0)) as holder:
        first = holder.getsockname()[1]
        monkeypatch.setattr(server, "FIRST_PORT", first)
        with listening_socket(HOME, None) as listener:
            assert first < listener.getsockname()[1] < first + server.PORTS
        monkeypatch.setattr(server, "PORTS", 1)
        with pytest.raises(UserError, match=rf"^ports {first} to {first} of `host` {HOME}: "):
            listening_socket(HOME, None)
