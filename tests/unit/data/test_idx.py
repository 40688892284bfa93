"""The MNIST family's idx files: whole, compressed, damaged, mixed up, missing."""

from __future__ import annotations

import gzip
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from idx_files import write_idx_files

from diffcli.data.datasets import DATASETS, mnist
from diffcli.data.sources import image_shape
from diffcli.utils.errors import UserError

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
NAMES = [
    f"{split}-{kind}-ubyte" for split, kind in
    (("train", "images-idx3"), ("train", "labels-idx1"), ("t10k", "images-idx3"), ("t10k", "labels-idx1"))
]  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_the_original_files_are_read_with_their_own_test_split(name: str, tmp_path: Path) -> None:
    write_idx_files(tmp_path, folder=FOLDERS[name])
    source = DATASETS[name](data_dir=tmp_path, download=False)
    assert (len(source.development), len(source.test)) == (50, 20)
    assert source.development.image_shape == image_shape(DATASETS[name], {})
    assert source.test.labels.tolist()[:3] == [0, 1, 2]
    assert source.test.labels.dtype == torch.int64
    expected = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    assert torch.equal(source.development.images[:, 0], torch.from_numpy(expected))
    source.development.images[0] = 0  # writable, or PyTorch warns


@pytest.mark.skipif(not os.environ.get("DIFFCLI_TEST_DATA"), reason="DIFFCLI_TEST_DATA names no folder with MNIST")
def test_real_mnist_is_what_torchvision_reads() -> None:
    from torchvision.datasets import MNIST

    place = Path(os.environ["DIFFCLI_TEST_DATA"])
    source = mnist(data_dir=place, download=False)
    for part, train in ((source.development, True), (source.test, False)):
        theirs = MNIST(root=place, train=train)
        assert torch.equal(part.images[:, 0], theirs.data)
        assert torch.equal(part.labels, theirs.targets)


@pytest.mark.parametrize("compressed", [NAMES, NAMES[:1], NAMES[3:]])
def test_compressed_copies_are_read(compressed: list[str], tmp_path: Path) -> None:
    raw = write_idx_files(tmp_path)
    whole = mnist(data_dir=tmp_path, download=False)
    for name in compressed:
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
        (raw / name).unlink()
    source = mnist(data_dir=tmp_path, download=False)
    assert torch.equal(source.development.images, whole.development.images)
    assert torch.equal(source.test.labels, whole.test.labels)


def test_the_home_folder_is_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in DIFFCLI_DATA=~/data in a file that no shell reads.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_idx_files(tmp_path / "data")
    assert len(mnist(data_dir=Path("~/data"), download=False).development) == 50


def test_what_is_compressed_is_told_by_its_bytes(tmp_path: Path) -> None:
    # Browsers unpack a .gz in passing and keep its name, and copies lose theirs.
    raw = write_idx_files(tmp_path)
    images, labels = (raw / name for name in NAMES[:2])
    images.write_bytes(gzip.compress(images.read_bytes()))
    labels.rename(raw / f"{labels.name}.gz")
    assert len(mnist(data_dir=tmp_path, download=False).development) == 50


def _prefix(content: bytes, other: bytes) -> bytes:
    return content[:-1]


DAMAGES: dict[str, tuple[str, Callable[[bytes, bytes], bytes], str]] = {
    "a web page": (NAMES[0], lambda content, other: b"<!DOCTYPE html><html>404</html>", "is a web page"),
    "a page after a blank line": (NAMES[1], lambda content, other: b"\n<HTML>moved", "is a web page"),
    "empty": (NAMES[2], lambda content, other: b"", "is empty"),
    "text": (
        NAMES[0],
        lambda content, other: b"version https://git-lfs.github.com/spec/v1",
        "is not an idx file of bytes",
    ),
    "a header's half": (NAMES[0], lambda content, other: content[:7], "ends within its header"),
    "truncated": (NAMES[0], _prefix, "ends after 39,215 of 39,216 bytes"),
    "truncated labels": (NAMES[3], _prefix, "ends after 27 of 28 bytes"),
    "too long": (NAMES[2], lambda content, other: content + b"12345", "has 5 bytes more than its header says"),
    "labels for images": (NAMES[0], lambda content, other: other, "holds labels, not images"),
    "images for labels": (NAMES[1], lambda content, other: other, "holds images, not labels"),
    "an idx file of floats": (
        NAMES[0],
        lambda content, other: b"\0\0\x0d\x03" + content[4:],
        "is not an idx file of bytes",
    ),
    "no images": (NAMES[0], lambda content, other: struct.pack(">IIII", 2051, 0, 28, 28), "holds no images"),
    "images of another size": (
        NAMES[0],
        lambda content, other: struct.pack(">IIII", 2051, 50, 14, 56) + content[16:],
        "holds images of 14x56 pixels, not 28x28",
    ),
    "a header that is a lie": (
        NAMES[0],
        lambda content, other: struct.pack(">IIII", 2051, 2**32 - 1, 28, 28) + content[16:],
        "ends after 39,216 of 3,367,254,359,296 bytes",
    ),
    "labels of other classes": (NAMES[1], lambda content, other: content[:-1] + b"\x0a", "holds the label 10"),
    "truncated gzip": (NAMES[0], lambda content, other: gzip.compress(content)[:-20], "is a damaged gzip file"),
    "damaged gzip": (
        NAMES[0],
        lambda content, other: gzip.compress(content)[:500] + bytes(50) + gzip.compress(content)[550:],
        "is a damaged gzip file",
    ),
    "bytes after gzip": (NAMES[0], lambda content, other: gzip.compress(content) + b"x", "is a damaged gzip file"),
    "gzip's first bytes": (NAMES[0], lambda content, other: b"\x1f\x8b", "is a damaged gzip file"),
    "a gzipped page": (NAMES[0], lambda content, other: gzip.compress(b"<html>"), "is a web page"),
    "a gzipped half": (NAMES[0], lambda content, other: gzip.compress(content[:999]), "ends after 999 of 39,216 bytes"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_files_are_named_with_what_is_wrong(case: str, suffix: str, tmp_path: Path) -> None:
    name, damage, problem = DAMAGES[case]
    raw = write_idx_files(tmp_path)
    other = raw / (
        name.replace("images-idx3", "labels-idx1") if "images" in name else name.replace("labels-idx1", "images-idx3")
    )
    content = damage((raw / name).read_bytes(), other.read_bytes())
    (raw / name).unlink()
    file = raw / (name + suffix)
    file.write_bytes(content)
    for download in (False, True):
        with pytest.raises(UserError) as error:
            mnist(data_dir=tmp_path, download=download)
        message = str(error.value)
        assert message.startswith(f"{file} {problem}"), message
        assert "\n" not in message
        assert f"MNIST's {name}" in message  # what would be right
        assert ("have it downloaded" in message) == download
        assert file.read_bytes() == content


def test_files_of_different_splits_do_not_go_together(tmp_path: Path) -> None:
    raw = write_idx_files(tmp_path)
    (raw / NAMES[1]).write_bytes((raw / NAMES[3]).read_bytes())
    with pytest.raises(
        UserError, match=rf"{raw}/train-labels-idx1-ubyte holds 20 labels, for the 50 images of {raw}/train-images"
    ):
        mnist(data_dir=tmp_path, download=False)
    (raw / NAMES[0]).write_bytes((raw / NAMES[2]).read_bytes())
    with pytest.raises(UserError, match="train-images-idx3-ubyte and t10k-images-idx3-ubyte hold the same images"):
        mnist(data_dir=tmp_path, download=False)


def test_a_damaged_file_beside_its_compressed_copy(tmp_path: Path) -> None:
    # What is left of a download that was interrupted while it was unpacked.
    raw = write_idx_files(tmp_path)
    content = (raw / NAMES[0]).read_bytes()
    (raw / f"{NAMES[0]}.gz").write_bytes(gzip.compress(content))
    (raw / NAMES[0]).write_bytes(content[:-100])
    with pytest.raises(UserError, match=rf"{NAMES[0]} ends after .* remove it, and {NAMES[0]}\.gz beside it is read"):
        mnist(data_dir=tmp_path, download=True)
    (raw / NAMES[0]).unlink()
    assert len(mnist(data_dir=tmp_path, download=False).development) == 50


def test_a_folder_in_a_files_place_and_a_broken_link(tmp_path: Path) -> None:
    raw = write_idx_files(tmp_path)
    (raw / NAMES[0]).unlink()
    (raw / NAMES[0]).mkdir()
    with pytest.raises(UserError, match=rf"{NAMES[0]} cannot be read: Is a directory"):
        mnist(data_dir=tmp_path, download=True)
    (raw / NAMES[0]).rmdir()
    (raw / NAMES[0]).symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"{NAMES[0]} is missing"):
        mnist(data_dir=tmp_path, download=False)


@pytest.mark.parametrize("name", FOLDERS)
def test_missing_files_are_named_with_the_folder_and_the_options(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{FOLDERS[name]}/raw.*`data_dir` or DIFFCLI_DATA") as error:
        DATASETS[name](data_dir=tmp_path, download=False)
    assert all(file in str(error.value) for file in NAMES)
    raw = write_idx_files(tmp_path, folder=FOLDERS[name])
    (raw / NAMES[3]).unlink()
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte is missing.*`data_dir` or DIFFCLI_DATA") as error:
        DATASETS[name](data_dir=tmp_path, download=False)
    assert not any(file in str(error.value) for file in NAMES[:3])


def test_a_download_fills_in_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    monkeypatch.setattr(
        torchvision.datasets.FashionMNIST,
        "download",
        lambda self: write_idx_files(Path(self.root), folder="FashionMNIST"),
    )
    assert len(DATASETS["fashion-mnist"](data_dir=tmp_path, download=True).development) == 50


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error downloading\nTried this"),
        OSError("no route"),
        EOFError(),
        ConnectionResetError(104, "reset"),
    ],
)
def test_a_download_that_fails_is_one_line(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", fail)
    with pytest.raises(
        UserError, match=r"missing.* could not be downloaded \(.+\).*`data_dir` or DIFFCLI_DATA"
    ) as refusal:
        mnist(data_dir=tmp_path, download=True)
    assert "\n" not in str(refusal.value)


def test_the_command_says_it_in_one_line(cli: Cli, workplace: Path) -> None:
    raw = write_idx_files(workplace / "data")
    (raw / NAMES[0]).write_bytes(b"<html></html>")
    (workplace / "mine.yaml").write_text(TINY.replace("digits", "mnist"))
    result = cli("train", "--preset", "mine.yaml", "--accelerator", "cpu")
    assert result.code == 2
    assert re.fullmatch(
        r"(diffcli: |Error: |error: )?data/MNIST/raw/train-images-idx3-ubyte is a web page.*\n",
        result.err.replace("\n", " ").strip() + "\n",
    )
    assert "Traceback" not in result.err
    assert not (workplace / "runs").exists()
