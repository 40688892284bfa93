"""Data sets and their classes: sub-folders, CIFAR-10, EMNIST; sizes that are no squares."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from pictures import FOLDER_RECIPE, make_classes
from PIL import Image

from diffcli.data.cifar import ARCHIVE, FOLDER, OBJECTS, RECORD, TEST, TRAIN
from diffcli.data.datasets import DATASETS, NO_LABEL, digits, folder
from diffcli.data.sources import class_names, image_shape
from diffcli.utils.errors import UserError


def test_sub_folders_are_classes_and_images_beside_them_have_none(tmp_path: Path) -> None:
    source = folder(str(make_classes(tmp_path / "x", ("b", "a", "c d"), beside=5)), size=4, channels=1)
    assert source.classes == ("a", "b", "c d")
    for part in (source.development, source.test):
        levels = part.images[:, 0, 0, 0]
        # The levels were given in the order of writing: b, a, c d.
        expected = {0: 1, 10: 0, 20: 2, 200: NO_LABEL}
        assert part.labels.tolist() == [expected[int(level)] for level in levels]
    assert len(source.development) + len(source.test) == 41


def test_a_class_is_what_holds_images_that_are_read(tmp_path: Path) -> None:
    root = make_classes(tmp_path / "x")
    for name in ("empty", ".hidden", "notes"):
        (root / name).mkdir()
    (root / "notes" / "a.txt").write_text("x")
    (root / "broken").mkdir()
    (root / "broken" / "a.png").write_bytes(b"no image")
    assert folder(str(root), size=4, on_bad_image="skip").classes == ("cats", "dogs")
    plain = tmp_path / "plain"
    plain.mkdir()
    for i in range(10):
        Image.new("L", (5, 5), i).save(plain / f"{i}.png")
    source = folder(str(plain), size=4)
    assert (source.classes, set(source.development.labels.tolist())) == ((), {NO_LABEL})


def test_built_in_sets_know_their_classes_without_their_files() -> None:
    assert digits().classes == class_names(DATASETS["digits"], {}) == tuple("0123456789")
    assert [len(class_names(DATASETS[name], {}) or ()) for name in ("mnist", "fashion-mnist", "kmnist", "cifar10")] == [
        10
    ] * 4
    sizes = {"balanced": 47, "bymerge": 47, "byclass": 62, "letters": 26, "digits": 10, "mnist": 10}
    assert {split: len(class_names(DATASETS["emnist"], {"split": split}) or ()) for split in sizes} == sizes
    assert class_names(DATASETS["folder"], {}) is None


@pytest.mark.parametrize(
    ("of_file", "size", "part"),
    [((12, 6), [6, 12], (12, 6)), ((12, 12), [4, 8], (12, 6)), ((20, 6), [4, 4], (6, 6)), ((5, 9), [8, 4], (4, 9)),
     ((3, 100), [4, 8], (3, 2))],
)  # fmt: skip
def test_images_are_cropped_to_the_shape_asked_for(
    tmp_path: Path, of_file: tuple[int, int], size: list[int], part: tuple[int, int]
) -> None:
    width, height = of_file
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8))
    for i in range(10):
        image.save(tmp_path / f"{i}.png")
    left, top = (width - part[0]) // 2, (height - part[1]) // 2
    box = (left, top, left + part[0], top + part[1])
    expected = np.asarray(image.resize((size[1], size[0]), Image.Resampling.LANCZOS, box=box))
    source = folder(str(tmp_path), size=size, channels=1)
    assert (
        source.development.image_shape == (1, *size) == image_shape(DATASETS["folder"], {"channels": 1, "size": size})
    )
    assert (source.development.images.numpy() == expected).all()


@pytest.mark.parametrize("size", ["2", "[8]", "[8, 8, 8]", "[8, 2000]", "ten", "[8, x]", "true", "8.0", "[]"])
def test_other_sizes_are_refused(cli: Cli, workplace: Path, size: str) -> None:
    make_classes(workplace / "images")
    Path("recipe.yaml").write_text(FOLDER_RECIPE.replace("[8, 12]", size))
    result = cli("train", "--preset", "recipe.yaml", "--dry-run")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "data.size: a size is one side in pixels or [height, width]" in result.err


def records(count: int, start: int = 0) -> bytes:
    """CIFAR-10's own format: record i has label i % 10, and red, green and blue planes of its own."""
    return b"".join(
        bytes([(start + i) % 10]) + bytes([start + i]) * 1024 + bytes(range(256)) * 4 + b"\x07" * 1024
        for i in range(count)
    )


def cifar_files() -> dict[str, bytes]:
    return {name: records(4, 4 * i) for i, name in enumerate((*TRAIN, TEST))}


def write_cifar(place: Path, files: dict[str, bytes], archived: bool) -> None:
    place.mkdir(parents=True, exist_ok=True)
    if not archived:
        (place / FOLDER).mkdir()
        for name, content in files.items():
            (place / FOLDER / name).write_bytes(content)
        return
    with tarfile.open(place / ARCHIVE, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("archived", [False, True])
def test_cifar10_is_read_as_it_comes(tmp_path: Path, archived: bool) -> None:
    write_cifar(tmp_path, cifar_files(), archived)
    before = sorted(tmp_path.rglob("*"))
    source = DATASETS["cifar10"](data_dir=tmp_path)
    assert (len(source.development), len(source.test), source.classes) == (20, 4, OBJECTS)
    assert source.development.image_shape == (3, 32, 32) == image_shape(DATASETS["cifar10"], {})
    assert source.development.labels.tolist() == [i % 10 for i in range(20)]
    assert source.test.labels.tolist() == [0, 1, 2, 3]
    image = source.development.images[3]
    assert set(image[0].flatten().tolist()) == {3}
    assert image[1, 0].tolist() == list(range(32))
    assert set(image[2].flatten().tolist()) == {7}
    source.development.images[0] = 0  # writable
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({TRAIN[2]: None}, "data_batch_3.bin"),
        ({TRAIN[0]: records(4)[:-1]}, f"data_batch_1.bin does not hold 1 to 10,000 records of {RECORD:,} bytes"),
        ({TEST: b""}, "test_batch.bin does not hold"),
        ({TEST: b"\x0b" + records(1)[1:]}, "test_batch.bin holds the label 11, not 0 to 9 alone"),
    ],
)
def test_damaged_cifar_files_are_named(tmp_path: Path, archived: bool, change: dict, message: str) -> None:
    files = {name: content for name, content in (cifar_files() | change).items() if content is not None}
    write_cifar(tmp_path, files, archived)
    with pytest.raises(UserError, match=message) as error:
        DATASETS["cifar10"](data_dir=tmp_path)
    assert "\n" not in str(error.value)


def test_a_cifar_archive_that_is_damaged_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CIFAR-10 is not in .*cifar-10-binary\.tar\.gz"):
        DATASETS["cifar10"](data_dir=tmp_path)
    write_cifar(tmp_path, cifar_files(), archived=True)
    whole = (tmp_path / ARCHIVE).read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive", gzip.compress(b"no archive"), b""):
        (tmp_path / ARCHIVE).write_bytes(content)
        with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz (is damaged|holds no)"):
            DATASETS["cifar10"](data_dir=tmp_path)


def write_emnist(place: Path, split: str, labels: list[int]) -> np.ndarray:
    raw = place / "EMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    for part, own in (("train", pixels), ("test", pixels[::-1])):
        images = struct.pack(">IIII", 2051, *own.shape) + own.transpose(0, 2, 1).tobytes()
        (raw / f"emnist-{split}-{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        content = struct.pack(">II", 2049, len(labels)) + bytes(labels)
        (raw / f"emnist-{split}-{part}-labels-idx1-ubyte").write_bytes(content)
    return pixels


@pytest.mark.parametrize(("split", "first"), [("letters", 1), ("balanced", 0), ("byclass", 0)])
def test_emnist_is_read_upright(tmp_path: Path, split: str, first: int) -> None:
    count = len(class_names(DATASETS["emnist"], {"split": split}) or ())
    labels = [first + i % count for i in range(70)]
    pixels = write_emnist(tmp_path, split, labels)
    source = DATASETS["emnist"](split=split, data_dir=tmp_path)
    assert torch.equal(source.development.images[:, 0], torch.from_numpy(pixels))
    assert source.test.labels.tolist() == [label - first for label in labels]
    assert source.classes == class_names(DATASETS["emnist"], {"split": split})
    assert image_shape(DATASETS["emnist"], {}) == source.test.image_shape


def test_foreign_labels_and_missing_files_of_emnist_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"EMNIST is not whole in .*emnist-digits-train-images-idx3-ubyte"):
        DATASETS["emnist"](split="digits", data_dir=tmp_path)
    write_emnist(tmp_path, "letters", [0, 1, 2])
    with pytest.raises(UserError, match="holds the label 0, not 1 to 26 alone"):
        DATASETS["emnist"](split="letters", data_dir=tmp_path)
