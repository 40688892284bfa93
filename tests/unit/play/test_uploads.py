"""What the page's server takes for a picture: how large, and of which form."""

from __future__ import annotations

import base64

import pytest

from diffcli.play import restoring
from diffcli.play.restoring import content_of
from diffcli.utils.errors import UserError


def url_of(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def test_a_file_of_the_most_bytes_is_taken_and_a_larger_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "MOST_BYTES", 6)
    assert content_of(url_of(b"123456")) == b"123456"
    with pytest.raises(UserError, match="larger than"):
        content_of(url_of(b"1234567"))
