"""Image files of every kind, as the ``folder`` data set decodes them: transparency, orientation, depth, colour
modes."""

from __future__ import annotations

import random
import struct
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from diffcli.cli.flags import overrides
from diffcli.config.build import resolve
from diffcli.config.presets import load_preset
from diffcli.data.datasets import folder
from diffcli.utils.errors import UserError

ALPHA = np.repeat(np.array([[255] * 8 + [0] * 8], np.uint8), 16, axis=0)
"""16x16: the left half opaque, the right one transparent."""


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decode(place: Path, content: bytes, size: int = 16, channels: int = 1, suffix: str = ".png", **options: object):  # type: ignore[no-untyped-def]
    """What the data set makes of one file: uint8 (C, size, size)."""
    photos = place / "photos"
    photos.mkdir(exist_ok=True)
    for number in range(10):
        (photos / f"{number}{suffix}").write_bytes(content)
    images = folder(str(photos), size=size, channels=channels, **options).development.images.numpy()  # type: ignore[arg-type]
    assert (images == images[:1]).all()
    return images[0]


def tiff(values: np.ndarray, bits: int = 8, photometric: int = 1, extra: int = 2) -> bytes:  # type: ignore[type-arg]
    """A little-endian TIFF 6.0 of (H, W) levels or (H, W, 2) with alpha; 12 bits are packed two in three bytes."""
    height, width, *samples = values.shape
    pixels = values.astype("<u2" if bits == 16 else np.uint8).tobytes()
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        octets = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
        pixels = np.stack(octets, axis=1).astype(np.uint8).tobytes()
    sample_bits = bits | bits << 16 if samples else bits  # two short values fill the field
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1 + bool(samples), sample_bits), (259, 3, 1, 1)]
    entries += [(262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, 1 + bool(samples)), (278, 3, 1, height)]
    entries += [(279, 4, 1, len(pixels))] + [(338, 3, 1, extra)] * bool(samples)
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


def with_alpha(mode: str) -> Image.Image:
    image = Image.new("LA" if mode in ("LA", "La") else "RGBA", (16, 16))  # black everywhere, also where it is hidden
    image.putalpha(Image.fromarray(ALPHA))
    return image.convert(mode)


def palette(colours: list[tuple[int, int, int]]) -> Image.Image:
    """16x16, index 0 on the left and 1 on the right."""
    image = Image.fromarray(np.where(ALPHA == 255, 0, 1).astype(np.uint8), mode="P")
    image.putpalette([level for colour in colours for level in colour])
    return image


KEYED = np.where(ALPHA == 255, 0, 7).astype(np.uint8)
BLACK = [(0, 0, 0), (0, 0, 0)]
TRANSPARENT: dict[str, bytes] = {
    "RGBA.png": file_of(with_alpha("RGBA"), "PNG"),
    "LA.png": file_of(with_alpha("LA"), "PNG"),
    "RGBA.tiff": file_of(with_alpha("RGBA"), "TIFF"),
    # Which Pillow reads from 13 on.
    **({"La.tiff": tiff(np.stack([0 * ALPHA, ALPHA], axis=2), extra=1)} if Image.__version__ >= "13" else {}),
    "LA.tiff": file_of(with_alpha("LA"), "TIFF"),
    "RGBA.ico": file_of(with_alpha("RGBA"), "ICO", sizes=[(16, 16)]),
    "RGBA.jp2": file_of(with_alpha("RGBA"), "JPEG2000", irreversible=False),
    "P-int.png": file_of(palette(BLACK), "PNG", transparency=1),
    "P-bytes.png": file_of(palette(BLACK), "PNG", transparency=b"\xff\x00"),
    "P-int.gif": file_of(palette([(0, 0, 0), (9, 9, 9)]), "GIF", transparency=1),
    "L-key.png": file_of(Image.fromarray(KEYED), "PNG", transparency=7),
    "RGB-key.png": file_of(Image.fromarray(KEYED).convert("RGB"), "PNG", transparency=(7, 7, 7)),
    "1-key.png": file_of(Image.fromarray(KEYED > 0), "PNG", transparency=1),
    "I16-key.png": file_of(Image.fromarray(KEYED.astype(np.uint16)), "PNG", transparency=7),
}
if features.check("webp"):
    TRANSPARENT["RGBA.webp"] = file_of(with_alpha("RGBA"), "WEBP", lossless=True, exact=True)


@pytest.mark.parametrize("name", TRANSPARENT)
@pytest.mark.parametrize(
    ("options", "level"), [({}, 255), ({"background": "black"}, 0), ({"background": "#808080"}, 128)]
)
def test_what_is_transparent_shows_the_background(
    name: str, options: dict[str, str], level: int, tmp_path: Path
) -> None:
    image = decode(tmp_path, TRANSPARENT[name], suffix=Path(name).suffix, **options)[0]
    # A margin of two columns, for the resampling of lossy formats.
    assert (image[:, :6] == 0).all()
    assert (image[:, 10:] == level).all()


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_every_mode_with_alpha_is_composited(mode: str) -> None:
    from diffcli.data.image_files import flatten

    flat = flatten(with_alpha(mode), "red")
    assert flat.mode == "RGB"
    assert flat.getpixel((0, 0)) == (0, 0, 0)
    assert flat.getpixel((15, 0)) == (255, 0, 0)


def test_colours_hidden_under_alpha_do_not_show_and_half_alpha_mixes(tmp_path: Path) -> None:
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 128), (0, 0, 16, 8))
    red, green, blue = decode(tmp_path, file_of(image, "PNG"), channels=3)
    assert (red[10:] == 255).all()
    assert (green[10:] == 255).all()
    assert (blue == 255).all()
    assert (red[:6] == 127).all()


def test_a_grey_image_of_a_coloured_background(tmp_path: Path) -> None:
    grey = decode(tmp_path, TRANSPARENT["RGBA.png"], background="red")[0]
    assert (grey[:, 10:] == 76).all()  # 0.299 of 255


@pytest.mark.parametrize("value", ["nocolour", "7", "[1, 2]", "'#12'", "'#ffffff00'", "null", "''"])
def test_a_background_that_is_no_colour_is_refused(value: str) -> None:
    _, preset = load_preset("quickstart", overrides([f"data={{name: folder, path: x, size: 8, background: {value}}}"]))
    with pytest.raises(UserError, match=r"^data\.background: .*(colour|string)"):
        resolve(preset)


UPRIGHT = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((16, 16), np.uint8))
ORIENTATIONS = {
    1: UPRIGHT,
    2: np.fliplr(UPRIGHT),
    3: np.rot90(UPRIGHT, 2),
    4: np.flipud(UPRIGHT),
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),
    7: np.rot90(UPRIGHT.T, 2),
    8: np.rot90(UPRIGHT, -1),
}
"""By EXIF orientation: how an upright image lies in the file (EXIF 2.3, tag 274)."""


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("TIFF", ".tif"), ("WEBP", ".webp")])
def test_the_exif_orientation_is_applied(orientation: int, kind: str, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    content = file_of(Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation])), kind, exif=exif, **options)
    image = decode(tmp_path, content, size=32, suffix=suffix)[0]
    assert np.abs(image.astype(int) - UPRIGHT).max() <= 2


def test_damaged_exif_data_do_no_harm(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    exif[282] = 72.0
    exif[305] = "a camera"
    exif.get_ifd(34665)[37510] = b"comment"
    whole = exif.tobytes()
    picture = Image.fromarray(UPRIGHT)
    rng = random.Random(0)
    for number in range(60):
        content = bytearray(whole[: rng.randrange(6, len(whole) + 1)])
        for _ in range(rng.randrange(4)):
            content[rng.randrange(6, len(content) + 1) - 1] = rng.randrange(256)
        photos = tmp_path / "photos"
        photos.mkdir(exist_ok=True)
        (photos / f"{number}.jpg").write_bytes(file_of(picture, "JPEG", exif=bytes(content), quality=100))
        (photos / f"{number}.png").write_bytes(file_of(picture, "PNG", exif=bytes(content)))
    images = folder(str(photos), size=32, channels=1)
    assert len(images.development) + len(images.test) == 120


def deep(levels: np.ndarray) -> Image.Image:  # type: ignore[type-arg]
    return Image.fromarray(levels.astype(np.uint16))


DEEP = np.repeat(np.array([[0, 128, 129, 257 * 100, 257 * 100 + 128, 257 * 100 + 129, 65278, 65535]]), 8, axis=0)
SHALLOW = [0, 0, 1, 100, 100, 101, 254, 255]
"""``DEEP`` divided by 257 and rounded, so that 65535 is 255."""


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "big-endian.tif", "deep.jp2", "deep.pgm"])
def test_sixteen_bits_are_scaled_to_eight(name: str, tmp_path: Path) -> None:
    image = deep(DEEP)
    content = {
        "deep.png": file_of(image, "PNG"),
        "deep.tif": file_of(image, "TIFF"),
        "big-endian.tif": file_of(Image.frombytes("I;16B", (8, 8), DEEP.astype(">u2").tobytes()), "TIFF"),
        "deep.jp2": file_of(image, "JPEG2000", irreversible=False),
        "deep.pgm": b"P5 8 8 65535 " + DEEP.astype(">u2").tobytes(),
    }[name]
    assert decode(tmp_path, content, size=8, suffix=Path(name).suffix)[0].tolist() == [SHALLOW] * 8


TWELVE = np.repeat(np.array([[0, 2048, 4095, 4095]]), 4, axis=0)


@pytest.mark.parametrize(
    ("content", "suffix", "expected"),
    [
        (b"P5 4 4 4095 " + TWELVE.astype(">u2").tobytes(), ".pgm", [0, 128, 255, 255]),
        (tiff(TWELVE, bits=12), ".tif", [0, 128, 255, 255]),
        (tiff(TWELVE * 16, bits=16, photometric=0), ".tif", [255, 127, 0, 0]),
        (tiff(TWELVE >> 4, photometric=0), ".tif", [255, 127, 0, 0]),
    ],
    ids=["pgm of 12 bits", "tiff of 12 bits", "white is zero, 16 bits", "white is zero, 8 bits"],
)
def test_levels_mean_what_their_file_says(content: bytes, suffix: str, expected: list[int], tmp_path: Path) -> None:
    assert decode(tmp_path, content, size=4, suffix=suffix)[0, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_no_known_range_are_refused_by_name(mode: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=rf"0\.tif has pixels of unknown range \(Pillow's mode {mode}\); .*8 or 16 bits"
    ):
        decode(tmp_path, file_of(Image.new(mode, (8, 8), 1), "TIFF"), suffix=".tif")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpegs_of_every_colour_mode(mode: str, channels: int, tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), (255, 0, 0)).convert(mode)
    pixels = decode(tmp_path, file_of(image, "JPEG", quality=100), channels=channels, suffix=".jpg")
    expected = [76, 76, 76] if channels == 1 or mode == "L" else [255, 0, 0]
    assert np.abs(pixels.reshape(channels, -1).mean(axis=1) - expected[:channels]).max() <= 3


def frames(kind: str) -> bytes:
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    return file_of(red, kind, save_all=True, append_images=[blue], **options)


@pytest.mark.parametrize(("kind", "suffix"), [("GIF", ".gif"), ("WEBP", ".webp"), ("PNG", ".png"), ("TIFF", ".tiff")])
def test_of_several_frames_the_first_is_read(kind: str, suffix: str, tmp_path: Path) -> None:
    pixels = decode(tmp_path, frames(kind), channels=3, suffix=suffix)
    assert pixels[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (3, 700)])
def test_elongated_images_are_read(shape: tuple[int, int], tmp_path: Path) -> None:
    assert (decode(tmp_path, file_of(Image.new("L", shape, 90), "PNG")) == 90).all()


def test_a_palette_of_fewer_colours_than_its_indices(tmp_path: Path) -> None:
    image = palette([(50, 50, 50), (60, 60, 60)])
    assert decode(tmp_path, file_of(image, "PNG", bits=8))[0, 0, 0] == 50


def test_no_program_is_run_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow hands PostScript to Ghostscript, whatever the file is called.
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"{arguments} was run")

    for name in ("run", "Popen", "check_call", "check_output", "call"):
        monkeypatch.setattr(subprocess, name, refuse)
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(UserError, match=r"0\.png is not a readable image"):
        decode(tmp_path, content)


def test_damaged_files_of_every_format_are_named(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    rng = random.Random(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    kinds = {
        "JPEG": ".jpg",
        "PNG": ".png",
        "GIF": ".gif",
        "TIFF": ".tif",
        "WEBP": ".webp",
        "BMP": ".bmp",
        "PPM": ".ppm",
    }
    kinds |= {"JPEG2000": ".jp2", "ICO": ".ico"} | ({"AVIF": ".avif"} if features.check("avif") else {})
    for kind, suffix in kinds.items():
        whole = file_of(noise, kind)
        (photos / f"whole{suffix}").write_bytes(whole)
        for number in range(40):
            content = bytearray(whole[: rng.randrange(1, len(whole) + 1)] if number % 2 else whole)
            for _ in range(rng.randrange(1, 6)):
                content[rng.randrange(min(len(content), 200))] = rng.randrange(256)
            (photos / f"{number}{suffix}").write_bytes(content)
    source = folder(str(photos), size=8, on_bad_image="skip")
    assert len(source.development) + len(source.test) + len(source.skipped) == len(list(photos.iterdir()))
    assert not any("whole" in line for line in source.skipped)
