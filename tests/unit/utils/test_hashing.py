"""Checksums, which name files and tell evaluations apart: they are the same in every version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from diffcli.utils import hashing


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_text_is_hashed_in_utf_8() -> None:
    assert hashing.of_text("é") == sha256(b"\xc3\xa9")


def test_json_is_hashed_whatever_the_order_of_keys() -> None:
    values = {"b": [1, None], "a": 0.5}
    assert (
        hashing.of_json(values)
        == hashing.of_json(dict(reversed(values.items())))
        == sha256(b'{"a": 0.5, "b": [1, null]}')
    )
    assert hashing.of_json(values) == sha256(json.dumps(values, sort_keys=True).encode())


def test_a_file_is_hashed_in_parts(tmp_path: Path) -> None:
    content = bytes(range(256)) * (hashing.CHUNK // 128)
    (tmp_path / "file").write_bytes(content)
    assert hashing.of_file(tmp_path / "file") == sha256(content)


def test_images_are_hashed_with_their_shape_and_their_labels() -> None:
    images = torch.arange(24, dtype=torch.uint8).view(2, 1, 3, 4)
    labels = torch.tensor([3, -1])
    assert hashing.of_images(images) == sha256(b"(2, 1, 3, 4)", bytes(range(24)))
    assert hashing.of_images(images, labels) == sha256(b"(2, 1, 3, 4)", bytes(range(24)), labels.numpy().tobytes())
    columns = images.transpose(2, 3)
    assert hashing.of_images(columns) == sha256(b"(2, 1, 4, 3)", columns.contiguous().numpy().tobytes())


def test_tensors_are_hashed_with_their_names_types_and_shapes() -> None:
    one, other = torch.tensor(0.5), torch.tensor([[1, 2]], dtype=torch.int16)
    assert hashing.of_tensor(one) == sha256(b"torch.float32 ()", one.numpy().tobytes())
    assert hashing.of_tensor(other) == sha256(b"torch.int16 (1, 2)", other.numpy().tobytes())
    expected = sha256(
        b"a torch.int16 [1, 2]\n", other.numpy().tobytes(), b"b torch.float32 []\n", one.numpy().tobytes()
    )
    assert hashing.of_tensors({"b": one, "a": other}) == hashing.of_tensors({"a": other, "b": one}) == expected
    assert hashing.of_tensor(torch.zeros(0)) == sha256(b"torch.float32 (0,)")
