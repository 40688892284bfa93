"""The ``folder`` data set: which files of a folder are read, and how it says so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Cli
from pictures import make_images
from PIL import Image

from diffcli.data.datasets import Source, folder
from diffcli.utils.errors import UserError


def levels(source: Source) -> list[int]:
    """The grey levels of all images of a set, sorted."""
    both = np.concatenate([part.images.numpy().reshape(len(part), -1) for part in (source.development, source.test)])
    assert (both == both[:, :1]).all()
    return sorted(both[:, 0].tolist())


def read(place: Path, **options: object) -> Source:
    return folder(str(place), size=4, channels=1, **options)  # type: ignore[arg-type]


def test_hidden_files_and_folders_are_not_read(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos")
    for name in (".ipynb_checkpoints", ".cache", "__MACOSX", "@eaDir", "cats/.thumbnails"):
        make_images(photos / name, range(100, 110))
    make_images(photos / "cats", range(20, 22))
    for name in ("._1.png", ".hidden.png"):
        (photos / name).write_bytes((photos / "1.png").read_bytes())
    (photos / ".DS_Store").write_bytes(b"\0")
    assert levels(read(photos)) == [*range(12), 20, 21]


def test_a_hidden_root_is_read_since_it_was_named(tmp_path: Path) -> None:
    assert levels(read(make_images(tmp_path / ".photos"))) == list(range(12))


def test_symlinked_class_folders_are_followed(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos", range(6))
    (photos / "cats").symlink_to(make_images(tmp_path / "elsewhere" / "cats", range(6, 12)))
    assert levels(read(photos)) == list(range(12))


def test_a_link_upwards_neither_loops_nor_counts_twice(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos")
    make_images(photos / "cats", range(20, 23))
    (photos / "cats" / "up").symlink_to(photos)
    (photos / "again").symlink_to(photos / "cats")
    (photos / "itself").symlink_to(photos / "itself")
    assert levels(read(photos, on_bad_image="skip")) == [*range(12), 20, 21, 22]


def test_a_file_reached_by_several_names_is_one_image(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos", range(20))
    for number in range(20):
        (photos / f"soft{number}.png").symlink_to(photos / f"{number}.png")
        os.link(photos / f"{number}.png", photos / f"hard{number}.png")
    source = read(photos)
    assert levels(source) == list(range(20))
    assert str(source.inventory) == f"{photos}: 20 images of 60 files; 40 links to images read already"


def test_broken_links_and_what_is_no_file_are_named(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos")
    (photos / "broken.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(
        UserError, match=r"broken\.png cannot be read: No such file or directory; .*`data.on_bad_image` skip"
    ):
        read(photos)
    (photos / "broken.png").unlink()
    os.mkfifo(photos / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png is not a regular file; .*`data.on_bad_image` skip"):
        read(photos)
    source = read(photos, on_bad_image="skip")
    assert levels(source) == list(range(12))
    assert source.skipped == (f"{photos}/pipe.png is not a regular file",)


def test_files_and_folders_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = make_images(tmp_path / "photos")
    make_images(photos / "locked", range(20, 22))
    open_image, scan = Image.open, os.scandir

    def deny(function):  # type: ignore[no-untyped-def]
        def denying(path, *rest, **options):  # type: ignore[no-untyped-def]
            if Path(path).name in ("3.png", "locked"):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *rest, **options)

        return denying

    # In place of chmod, which does not bind root.
    monkeypatch.setattr(Image, "open", deny(open_image))
    monkeypatch.setattr(os, "scandir", deny(scan))
    with pytest.raises(UserError, match=r"locked cannot be read: Permission denied"):
        read(photos)
    source = read(photos, on_bad_image="skip")
    assert levels(source) == [0, 1, 2, *range(4, 12)]
    assert source.skipped == tuple(f"{photos}/{name} cannot be read: Permission denied" for name in ("locked", "3.png"))


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    assert levels(read(make_images(tmp_path / "photos" / "dog.png").parent)) == list(range(12))


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".PNG", ".apng", ".pnm", ".jp2", ".dib", ".ico", ".TIFF"])
def test_every_suffix_of_a_format_is_read(suffix: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(10):
        Image.new("RGB", (16, 16), (255, 255, 255)).save(photos / f"{number}{suffix}")
    assert levels(read(photos)) == [255] * 10


def test_it_says_what_was_read_and_what_was_passed_over(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos")
    for name in ("a.txt", "b.txt", "c.TXT", "IMG.heic", "below/IMG.HEIC", "README", "below/index.html"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_text("x")
    (photos / ".hidden").write_text("x")
    (photos / "bad.png").write_text("x")
    source = read(photos, on_bad_image="skip")
    inventory = source.inventory
    assert inventory is not None
    assert (inventory.images, inventory.files, inventory.skipped, inventory.hidden) == (12, 20, 1, 1)
    assert inventory.passed_over == {".txt": 3, ".heic": 2, "": 1, ".html": 1}
    assert str(inventory) == (
        f"{photos}: 12 images of 20 files; passed over: 3 .txt, 2 .heic, 1 without suffix, 1 .html; 1 unusable, "
        "skipped; "
        "1 hidden file or folder not read"
    )


def test_numbered_suffixes_do_not_fill_the_line(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos")
    for number in range(100):
        (photos / f"frame.{number:04}").write_text("x")
    line = str(read(photos).inventory)
    assert line.endswith("1 .0007, 92 with other suffixes")


def test_too_few_images_say_what_else_is_there(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos", range(3))
    for number in range(20):
        (photos / f"{number}.heic").write_bytes(b"x")
    with pytest.raises(
        UserError, match=r"holds 3 images; at least 10 .*\(3 images of 23 files; passed over: 20 \.heic\)"
    ):
        read(photos)
    with pytest.raises(UserError, match=r"holds 0 images; at least 10 .*1 hidden file or folder not read"):
        read(make_images(tmp_path / "other" / ".hidden").parent)


@pytest.mark.parametrize("path", ["nowhere", "~nosuchuser/photos", "x" * 5000, "a\0b", "file.png", ""])
def test_what_is_no_folder_is_refused(path: str, workplace: Path, cli: Cli) -> None:
    (workplace / "file.png").write_bytes(b"x")
    (workplace / "mine.yaml").write_text(TINY.replace("{name: digits}", "{name: folder, path: x, size: 8}"))
    text = path.replace("\0", "\\0")
    result = cli("train", "--preset", "mine.yaml", "--dry-run", "--set", f'data.path="{text}"')
    assert result.code == 2, result.err
    assert "data.path" in result.err
    assert "Traceback" not in result.err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_read_and_shown(tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos")
    for name in (b"\xff\xfe.png", "数字.png".encode()):
        Path(os.fsdecode(os.fsencode(photos) + b"/" + name)).write_bytes((photos / "3.png").read_bytes())
    assert levels(read(photos)) == sorted([*range(12), 3, 3])
    for name in (b"bad\xff\n.png", b"odd.\xff"):
        Path(os.fsdecode(os.fsencode(photos) + b"/" + name)).write_bytes(b"x")
    with pytest.raises(UserError, match=r"bad\\udcff\\n\.png is not a readable image"):
        read(photos)
    source = read(photos, on_bad_image="skip")
    assert source.skipped == (f"{photos}/bad\\udcff\\n.png is not a readable image",)
    assert "1 .\\udcff" in str(source.inventory)
