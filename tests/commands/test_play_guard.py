"""What a visitor may ask of the page's server, and what ``diffcli play`` says of what is missing."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import Cli

from diffcli.checkpoints import model_file
from diffcli.play import server
from diffcli.play.guard import is_allowed, plain


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/", True),
        ("GET", "/assets/index-x.js", True),
        ("POST", "/gradio_api/queue/join", True),
        ("GET", "/gradio_api/file=/etc/passwd", False),
        ("GET", "/gradio_api/file/etc/passwd", False),
        ("GET", "/gradio_api/proxy=http://127.0.0.1/", False),
        ("GET", "/assets/../../server.py", False),
        ("GET", "/monitoring", False),
        ("GET", "/gradio_api/info", False),
        ("POST", "/gradio_api/upload", False),
        ("POST", "/gradio_api/run/predict", False),
        ("POST", "/gradio_api/component_server", False),
        ("PUT", "/", False),
    ],
)
def test_a_visitor_asks_for_the_page_alone(method: str, path: str, answer: bool) -> None:
    assert is_allowed(method, path) is answer


def test_a_visitor_sends_numbers_and_text() -> None:
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    assert plain(json.dumps({"data": ["hot", 3, 0.5, None, True]}).encode())
    for data in ([file], [[file]], file, None):
        assert not plain(json.dumps({"data": data}).encode())
    assert not plain(b"[1]")
    assert not plain(b"no JSON")


def test_what_is_missing_is_named(cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "READY_MODELS", workplace / "none")
    result = cli("play")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "error: no ready models came with this diffcli; name runs, their folders or model files: 'diffcli play last' "
        "shows the "
        "newest run\n"
    )
    assert cli("play", "nothing").code == 2
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    result = cli("play")
    assert (result.code, result.err) == (
        2,
        "error: the page needs gradio; install it with: pip install 'diffcli[play]'\n",
    )


def test_a_port_that_cannot_be_had_is_named(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = cli("play", "--port", port)
        assert result.code == 2
        assert result.err.startswith(f"error: --port {port} of --host 127.0.0.1: ")
    assert cli("play", "--port", 70_000).err == "error: --port must be in 0..65535, got 70000\n"
    result = cli("play", "--host", "no.such.host.invalid")
    assert result.err.startswith("error: --host no.such.host.invalid is no address of this machine; take 127.0.0.1")


def test_the_page_is_served_until_ctrl_c(hot_run: Path) -> None:
    command = [sys.executable, "-m", "diffcli", "play", str(hot_run), "--port", "0", "--accelerator", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        assert process.stdout.readline() == "Open it in a browser; Ctrl-C ends it.\n"
        with urllib.request.urlopen(address, timeout=300) as answer:
            assert b"gradio_config" in answer.read()
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(Path().iterdir()) == []  # nothing is written
