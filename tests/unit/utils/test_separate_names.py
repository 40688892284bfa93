"""Names of files that are separate whatever a file system makes one of."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcli.utils.files import separate_names


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.jpg", "a.png", "a-2.png"], ["a", "a-3", "a-2"]),
        (["x/1.png", "y/1.png", "y/1-2.png"], ["1", "1-3", "1-2"]),
        (["a-2.png", "a.jpg", "a.png"], ["a-2", "a", "a-3"]),
        (["a.png", "a.png", "a.png"], ["a", "a-2", "a-3"]),
        (["b.png", "B.png", "b-2.PNG"], ["b", "B-3", "b-2"]),
        (["caf\u00e9.png", "cafe\u0301.png"], ["caf\u00e9", "cafe\u0301-2"]),
        (["a.png", "b.png"], ["a", "b"]),
        ([], []),
    ],
)
def test_names_are_separate_whatever_the_file_system_folds(files: list[str], names: list[str]) -> None:
    assert separate_names([Path(file).stem for file in files]) == names


def test_a_thousand_images_of_one_name_are_named_at_once() -> None:
    names = separate_names(["1"] * 20_000 + ["1-2", "1-20000"])
    assert len(set(names)) == 20_002
    assert names[-2:] == ["1-2", "1-20000"]
