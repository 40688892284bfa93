"""Damaged checkpoints and bad images: each is refused in one line, or the damage hit nothing that is read."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SLOW, TINY, Cli
from fuzzing import check_refused, damage
from PIL import Image

from diffcli.checkpoints.runs import Run


def rewrite(good: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A checkpoint that is a sound file with a wrong content."""
    content = torch.load(io.BytesIO(good), weights_only=True)
    change(content)
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


REWRITES: list[Callable[[dict[str, Any]], object]] = [
    lambda content: content.pop("state_dict"),
    lambda content: content.update(state_dict={}),
    lambda content: content.update(state_dict={"denoiser.network.head.bias": "x"}),
    lambda content: content.update(state_dict=dict.fromkeys(content["state_dict"], 3)),
    lambda content: content.update(state_dict={1: 2}),
    lambda content: content.update(hyper_parameters=None),
    lambda content: content["hyper_parameters"].update(preset=3),
    lambda content: content["hyper_parameters"].update(preset={}),
    lambda content: content["hyper_parameters"]["preset"].update(network={"name": "cnn", "channels": [10**6, 10**6]}),
    lambda content: content["hyper_parameters"]["preset"].update(data={"name": "folder", "path": "/"}),
    lambda content: content.update(epoch="many"),
    lambda content: content.update(priors=[1]),
]


@pytest.fixture(scope="module")
def intact(hot_run: Path) -> bytes:
    return Run(hot_run).best.read_bytes()


def test_damaged_checkpoints(cli: Cli, workplace: Path, intact: bytes) -> None:
    Path("damaged.ckpt").write_bytes(intact)
    command = ["sample", "--checkpoint", "damaged.ckpt", "--n", 1, "--steps", 1, "--out", "out.npz", "-q"]
    assert cli(*command).code == 0
    expected = np.load("out.npz")["images"]
    refusals = 0
    versions = [damage(intact, seed) for seed in range(130 if SLOW else 15)]
    versions += [rewrite(intact, change) for change in REWRITES]
    for version in versions:
        Path("out.npz").unlink(missing_ok=True)
        Path("damaged.ckpt").write_bytes(version)
        before = sorted(workplace.rglob("*"))
        result = cli(*command)
        if result.code == 0:  # the damage hit nothing that is read
            assert np.array_equal(np.load("out.npz")["images"], expected)
            continue
        check_refused(result, workplace, before)
        refusals += 1
    assert refusals >= (100 if SLOW else 10)


def _png(size: tuple[int, int] = (9, 9), mode: str = "L") -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(stream, format="PNG")
    return stream.getvalue()


def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 50).save(stream, format="JPEG")
    return stream.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG whose header promises ``side`` x ``side`` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + _png()[33:]


def _content(array: np.ndarray, mode: str, suffix: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).convert(mode).save(stream, format=suffix)
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "b")
    return stream.getvalue()


BAD_IMAGES: dict[str, bytes] = {
    "empty.png": b"",
    "text.png": b"this is not an image",
    "newline.jpg": b"\n",
    "noise.png": random.Random(0).randbytes(500),
    "zip.webp": _zip(),
    "html.gif": b"<html><body>404 Not Found</body></html>",
    "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "bomb.png": _bomb(12_000),
    "huge-bomb.png": _bomb(60_000),
    "wrong-size.png": _bomb(500),
    "no-pixels.png": _bomb(0),
    "float.tif": _content(np.full((9, 9), 0.5, np.float32), "F", "TIFF"),
    "integers.tif": _content(np.full((9, 9), 70_000, np.int32), "I", "TIFF"),
    "crc.png": _png()[:40] + bytes([_png()[40] ^ 255]) + _png()[41:],
    **{f"cut-{share}.png": _png()[: int(len(_png()) * share / 100)] for share in (10, 40, 60, 80)},
    **{f"cut-{share}.jpg": _jpeg()[: int(len(_jpeg()) * share / 100)] for share in (1, 10, 50, 70)},
    **{f"headless{n}.{kind}": _jpeg()[n:] for n, kind in ((1, "jpg"), (2, "jpeg"), (20, "jpg"))},
    "gif.gif": b"GIF89a\x05\x00\x05\x00",
    "bmp.bmp": b"BM" + bytes(20),
    "tiff.tiff": b"II*\x00\xff\xff\xff\xff",
    "webp.webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
    "ppm.ppm": b"P6 999999 999999 255 ",
    "pgm.pgm": b"P5 x",
}


@pytest.fixture
def photos(workplace: Path) -> Path:
    """A folder of twelve good images, and beside it a preset in mine.yaml that trains on them."""
    folder = workplace / "photos"
    folder.mkdir()
    for number in range(12):
        (folder / f"good{number}.png").write_bytes(_png())
    Path("mine.yaml").write_text(TINY.replace("{name: digits}", "{name: folder, path: photos, size: 8, channels: 1}"))
    return folder


OF_PHOTOS = ["train", "--preset", "mine.yaml", "--epochs", 1, "--batch-size", 4, "--accelerator", "cpu"]


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_named_and_refused(name: str, cli: Cli, workplace: Path, photos: Path) -> None:
    (photos / name).write_bytes(BAD_IMAGES[name])
    before = sorted(workplace.rglob("*"))
    result = cli(*OF_PHOTOS)
    check_refused(result, workplace, before)
    assert f"photos/{name} " in result.err
    assert "--on-bad-image skip" in result.err


def test_every_bad_image_is_skipped_where_asked(cli: Cli, photos: Path) -> None:
    for name, content in BAD_IMAGES.items():
        (photos / name).write_bytes(content)
    result = cli(*OF_PHOTOS, "--on-bad-image", "skip", "--set", "training.sample_epochs=[]")
    assert result.code == 0, result.err
    notes = [line for line in result.err.splitlines() if "skipped: " in line]
    assert len(notes) == len(BAD_IMAGES)
    for name in BAD_IMAGES:
        assert any(f"skipped: photos/{name} " in line for line in notes), name
