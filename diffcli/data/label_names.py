"""Labels as a user writes them: the names of classes, numbers, ranges of these, and none.

One text has one meaning, on the command line, in Python and in files: the class of that very name; else ``none`` (or
-1), which is no label; else the one class whose name differs in case alone; else a number. A number is the class that
is called by it. Where no class is called by another number than its place, a number is also a place, 0 the first class;
where one is, as in folders called 1, 2, 3 and 10, numbers are names and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from operator import index
from typing import Any

from diffcli.diffusion.labels import NO_LABEL
from diffcli.utils.errors import UserError, unknown_name

Label = int | str
NONE, MINUS_ONE = "none", "-1"
"""No label; the second is for models that have a class of the first name."""
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
RANGE = re.compile(rf"({NUMBER.pattern})-({NUMBER.pattern})")


def label_numbers(
    label: Label | Sequence[Label] | None,
    classes: Sequence[str],
    *,
    untrained_classes: Collection[str] = (),
    works_without: bool = True,
) -> tuple[int, ...]:
    """The labels that ``label`` names, each in 0..len(classes) - 1 or -1 for none; empty where it is None.

    >>> label_numbers(["7", "cat", "none", "0-2"], ["a", "b", "cat", "d", "e", "f", "g", "h"])
    (7, 2, -1, 0, 1, 2)
    >>> label_numbers(["1-3", 10], ["1", "10", "2", "3"])
    (0, 2, 3, 1)

    Args:
        label: texts and integers, which stand for their digits; or one of them.
        untrained_classes: the names of the classes that no training image had.
        works_without: whether the model was trained with images that have no label, or of which it was hidden.

    Raises:
        UserError: there are no classes, or a label is none of them, or could be several; or the model was not trained
            with it.
    """
    if label is None:
        return ()
    if not classes:
        raise UserError("`label`: this model was trained without labels; train one whose preset has 'labels: {}'")
    numbers: tuple[int, ...] = ()
    for text in _texts(label):
        if (label_range := _numbers(text, classes)) is None:
            raise _refusal(text, classes, untrained_classes, works_without)
        numbers += tuple(label_range)
    if not numbers:
        raise UserError("`label` names no label")
    others = ", ".join(name for name in classes if name not in untrained_classes)
    for number in dict.fromkeys(numbers):
        if number == NO_LABEL and not works_without:
            raise UserError(
                f"`label` {no_label_text(classes)}: this model was trained with the label of every image "
                f"(labels.dropped: 0) and does not work without; name one of {others:.200}"
            )
        if number != NO_LABEL and classes[number] in untrained_classes:
            raise UserError(
                f"`label` {classes[number]}: none of the training images was of this class; there are {others:.200}"
            )
    return numbers


def label_notes(label: Label | Sequence[Label] | None, classes: Sequence[str]) -> list[str]:
    """Notes on labels that could be taken in two ways, a line each: how they were taken.

    >>> label_notes(["1-2", 10], ["1", "2", "3", "10"])
    ['note: label 1-2 means class 1, 2: numbers are names here, not places']

    Raises:
        UserError: see :func:`label_numbers`.
    """
    texts, lines = list(dict.fromkeys(_texts(label))) if classes else [], []
    for text in (text for text in texts if text in classes):
        if text in (NONE, MINUS_ONE):
            lines.append(
                f"note: label {text} is the class of that name; {({NONE, MINUS_ONE} - {text}).pop()} is no label"
            )
        elif RANGE.fullmatch(text):
            lines.append(f"note: label {text} is the class of that name, not a range")
    if by_name := [text for text in texts if not numbers_are_places(classes) and _could_be_places(text, len(classes))]:
        names = ", ".join(classes[number] for number in label_numbers(by_name, classes))
        lines.append(f"note: label {', '.join(by_name)} means class {names}: numbers are names here, not places")
    return lines


def no_label_text(classes: Sequence[str]) -> str:
    """The text that stands for no label."""
    return MINUS_ONE if NONE in classes else NONE


def numbers_are_places(classes: Sequence[str]) -> bool:
    """Whether a number may stand for a class's place: no class is called by the number of another place."""
    return all(_value(name) in (None, place) for place, name in enumerate(classes))


def check_nameable(classes: Sequence[str]) -> None:
    """Checks that every class and no label at all can be asked for.

    Raises:
        UserError: classes have both names that stand for no label.
    """
    if {NONE, MINUS_ONE} <= set(classes):
        raise UserError(f"labels: with classes '{NONE}' and '{MINUS_ONE}' no label cannot be asked for; rename one")


def numeric_order(name: str) -> tuple[bool, Decimal, str]:
    """A key that sorts numbers by their value, before other names."""
    value = _value(name)
    return value is None, value or Decimal(0), name


def _texts(label: Any) -> Iterator[str]:
    label = label.tolist() if hasattr(label, "tolist") else label  # of NumPy and PyTorch
    is_single = isinstance(label, (str, bool)) or not isinstance(label, Iterable)
    for part in () if label is None else (label,) if is_single else label:
        try:
            yield str(part) if isinstance(part, (str, bool)) else str(index(part))
        except TypeError:
            raise UserError(f"`label` {part!r:.80} is neither a class's name nor a whole number") from None


def _value(name: str) -> Decimal | None:
    """The number that a class is called by; None where it is called otherwise."""
    return Decimal(name) if NUMBER.fullmatch(name) else None


def _numbers(text: str, classes: Sequence[str]) -> Sequence[int] | None:
    """The labels that a text names; None where it names none.

    Raises:
        UserError: it could be several.
    """
    if text in classes:
        return [classes.index(text)]
    if text in (NONE, MINUS_ONE):
        return [NO_LABEL]
    candidates = [number for number, name in enumerate(classes) if name.casefold() == text.casefold()]
    if text.casefold() == NONE:
        candidates.append(NO_LABEL)
    value = _value(text)
    candidates += [number for number, name in enumerate(classes) if value is not None and _value(name) == value]
    if len(candidates) > 1:
        names = [NONE if number == NO_LABEL else classes[number] for number in candidates]
        raise UserError(f"`label` {text} could be {' or '.join(names)}; write it as the one that is meant")
    if candidates:
        return candidates
    if match := RANGE.fullmatch(text):
        return _range(Decimal(match[1]), Decimal(match[2]), classes)
    if text.isdecimal() and numbers_are_places(classes) and int(text) < len(classes):
        return [int(text)]
    return None


def _range(first: Decimal, last: Decimal, classes: Sequence[str]) -> Sequence[int] | None:
    """The classes from one number to another, in the order of their numbers; None where one of these is no class."""
    places = numbers_are_places(classes)
    values = {number: Decimal(number) if places else _value(name) for number, name in enumerate(classes)}
    sorted_values = sorted((value, number) for number, value in values.items() if value is not None)
    if first > last or not {first, last} <= {value for value, _ in sorted_values}:
        return None
    return [number for value, number in sorted_values if first <= value <= last]


def _refusal(text: str, classes: Sequence[str], untrained_classes: Collection[str], works_without: bool) -> UserError:
    """The error of a text that is no label, with those that the model can be asked for."""
    trained_classes = [name for name in classes if name not in untrained_classes]
    some_untrained = len(trained_classes) < len(
        classes
    )  # a range, or a number, could be that of a class that no image had
    places = numbers_are_places(classes) and not some_untrained
    none = [no_label_text(classes)] if works_without else []
    if all(_value(name) is not None for name in classes):
        sorted_names = sorted(trained_classes, key=numeric_order)
        choices = f"0..{len(classes) - 1}" if places else f"{', '.join(sorted_names):.200}"
        ranges = [] if some_untrained else [f"a range such as {sorted_names[0]}-{sorted_names[-1]}"]
        return UserError(f"`label` {text}: this model's labels are {_enumeration([choices, *ranges, *none])}")
    others = _enumeration([*([f"a number in 0..{len(classes) - 1}", "a range"] if places else []), *none])
    return UserError(f"`label`: {unknown_name('label', text, trained_classes)}{'; or ' * bool(others)}{others}")


def _enumeration(parts: Sequence[str]) -> str:
    """``a, b, or c``."""
    *before, last = parts or [""]
    return ", ".join([*before, f"or {last}"]) if before else last


def _could_be_places(text: str, count: int) -> bool:
    match = RANGE.fullmatch(text)
    return all(end.isdecimal() and int(end) < count for end in (match.groups() if match else (text,)))
