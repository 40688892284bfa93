"""What a label that a user writes means: names first, then numbers; one meaning in ranges, in Python and in files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diffcli.data.idx import EMNIST
from diffcli.data.label_names import check_nameable, label_notes, label_numbers, no_label_text
from diffcli.utils.errors import UserError

NUMBERED = ["1", "2", "3", "10"]
AS_TEXT = ["1", "10", "2", "3"]
"""As versions before 0.4 sorted them, which their files keep."""


@pytest.mark.parametrize("split", EMNIST)
def test_every_class_of_emnist_is_asked_for_by_its_name(split: str) -> None:
    classes = EMNIST[split]
    for number, name in enumerate(classes):
        assert label_numbers(name, classes) == (number,), name
    assert label_numbers("0-3" if split != "letters" else "3", classes)[-1] == 3


@pytest.mark.parametrize(
    ("classes", "label", "expected"),
    [
        (NUMBERED, "1-2", (0, 1)),
        (NUMBERED, "1-10", (0, 1, 2, 3)),
        (NUMBERED, [1, 2, 3, 10], (0, 1, 2, 3)),
        (AS_TEXT, "1-3", (0, 2, 3)),
        (AS_TEXT, ["10", 2], (1, 2)),
        (["2015", "2016"], 2016, (1,)),
        (["01", "02", "10"], [1, "02", "1-10"], (0, 1, 0, 1, 2)),
        (["-1", "0", "1"], ["-1", "none", 0, "-1-1"], (0, -1, 1, 0, 1, 2)),
        (["0.5", "1.5"], ["1.5", "0.5-1.5"], (1, 0, 1)),
        (["none", "x"], ["none", "-1", -1, "x"], (0, -1, -1, 1)),
        (["None", "x"], ["none", "None"], (-1, 0)),
        (["0-1", "x"], ["0-1", 1], (0, 1)),
        (["A", "a", "Bee"], ["A", "a", "BEE", 2], (0, 1, 2, 2)),
        (["a", "b"], np.array([1, 0]), (1, 0)),
        (["a", "b"], np.int64(1), (1,)),
        (["a", "b"], torch.tensor([1, 0]), (1, 0)),
        (["a", "b"], torch.tensor(1), (1,)),
    ],
)
def test_a_name_comes_before_a_place(classes: list[str], label: Any, expected: tuple[int, ...]) -> None:
    assert label_numbers(label, classes) == expected


@pytest.mark.parametrize(
    ("classes", "label", "expected"),
    [
        (NUMBERED, "0", r"`label` 0: this model's labels are 1, 2, 3, 10, a range such as 1-10, or none"),
        (NUMBERED, [0, 1], "`label` 0"),
        (NUMBERED, "0-3", "`label` 0-3"),
        (NUMBERED, "3-1", "`label` 3-1"),
        (NUMBERED, "1-9", "`label` 1-9"),
        (["a", "3", "b"], "0", "unknown label '0'; known: 3, a, b; or none"),
        (["Ab", "AB"], "ab", "`label` ab could be Ab or AB; write it as the one that is meant"),
        (["None", "x"], "NONE", "could be None or none"),
        (["1.0", "01"], "1", r"could be 1\.0 or 01"),
        (["none", "x"], "y", "or a number in 0..1, a range, or -1"),
        (["a", "b"], 1.5, r"`label` 1\.5 is neither a class's name nor a whole number"),
        (["a", "b"], [None], "`label` None is neither"),
        (["a", "b"], True, "unknown label 'True'"),
    ],
)
def test_what_is_no_label_or_could_be_several_is_refused(classes: list[str], label: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as error:
        label_numbers(label, classes)
    assert "\n" not in str(error.value)


def test_what_could_be_taken_in_two_ways_is_told() -> None:
    reason = "numbers are names here, not places"
    assert label_notes(["1-2", 10], NUMBERED) == [f"note: label 1-2 means class 1, 2: {reason}"]
    assert label_notes([1, 2], NUMBERED) == [f"note: label 1, 2 means class 1, 2: {reason}"]
    assert label_notes("none", ["none", "x"]) == ["note: label none is the class of that name; -1 is no label"]
    assert label_notes(-1, ["-1", "0"])[0] == "note: label -1 is the class of that name; none is no label"
    assert label_notes("0-1", ["0-1", "x"]) == ["note: label 0-1 is the class of that name, not a range"]
    for label, classes in (
        ("0-9", list("0123456789")),
        (10, EMNIST["balanced"]),
        ("b", ["a", "b"]),
        (None, NUMBERED),
        (1, []),
    ):
        assert label_notes(label, classes) == []


def test_no_label_can_be_asked_for_beside_every_class() -> None:
    for classes in (["a"], ["none", "a"], ["-1", "a"], ["None"]):
        check_nameable(classes)
        assert label_numbers(no_label_text(classes), classes) == (-1,)
    with pytest.raises(UserError, match="classes 'none' and '-1'"):
        check_nameable(["none", "-1"])


DIGITS = ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("classes", "missing", "works_without", "expected"),
    [
        (DIGITS, [], False, "`label` 12: this model's labels are 0..3, or a range such as 0-3"),
        (DIGITS, ["2"], True, "`label` 12: this model's labels are 0, 1, 3, or none"),
        (DIGITS, ["2"], False, "`label` 12: this model's labels are 0, 1, 3"),
        (["a", "b"], [], False, "`label`: unknown label '12'; known: a, b; or a number in 0..1, or a range"),
        (["a", "b"], ["b"], True, "`label`: unknown label '12'; known: a; or none"),
        (["a", "b"], ["b"], False, "`label`: unknown label '12'; known: a"),
    ],
)
def test_a_refusal_names_what_the_model_can_be_asked_for(
    classes: list[str], missing: list[str], works_without: bool, expected: str
) -> None:
    with pytest.raises(UserError) as error:
        label_numbers("12", classes, untrained_classes=missing, works_without=works_without)
    assert str(error.value) == expected
