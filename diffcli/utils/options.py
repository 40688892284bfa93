"""Options written once: a dataclass's fields, with their help and their checks, are a function's arguments and a
command's flags."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Final, ParamSpec, TypeVar

from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import user_path
from diffcli.utils.former_names import FormerOption, todays_arguments

P = ParamSpec("P")
Kind = TypeVar("Kind")
Result = TypeVar("Result")

MODEL = "Model"
TRAINING = "Training"
SAMPLING = "Sampling"
METRICS = "Metrics"
EFFORT = "How much is measured"
DATA = "Data"
IMAGES = "The images"
DEVICES = "Devices"
AUTO: Final = "auto"
PANELS = (None, METRICS, IMAGES, MODEL, TRAINING, SAMPLING, EFFORT, DATA, DEVICES)
"""The groups of options in the help, in this order; None is what is written and printed."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """An option on the command line: how it is shown, and what is made of what the user writes.

    Args:
        help: a sentence; other arguments are named in backticks, which the command line shows as flags.
        panel: the group of options in the help.
        default_text: the default in words.
        name: of the flag; None is that of the argument.
        also: another name of the flag; a single letter gets a single dash.
        former: the name that the option had, which works, with a warning, for one more minor version.
        metavar: stands for a value in the help.
        argument: a word without a flag.
        complete: what a shell completes: ``models``, ``presets``, ``runs`` or ``studies``.
        kind: the type on the command line; None is what the first type of the annotation says, a list of a sequence.
        parse: makes the option's value of the text, and of the flags ``further_flags``.
        further_flags: by name, further flags that decide the value, for ``parse``.
        keys: by preset key, the flags that stand for one; the option itself is assignments ``key=value``.
        entry_help: by name, the help of a flag for each possible entry of a list.
        parts: of an option that is a dataclass itself, the fields that have a flag, and their help where it is another
            one.
    """

    help: str = ""
    panel: str | None = None
    default_text: str | None = None
    name: str | None = None
    also: str | None = None
    former: FormerOption | None = None
    metavar: str | None = None
    argument: bool = False
    complete: str | None = None
    kind: Any = None
    parse: Callable[..., Any] | None = None
    further_flags: Mapping[str, Field[Any]] | None = None
    keys: Mapping[str, Field[Any]] | None = None
    entry_help: Mapping[str, str] | None = None
    parts: Mapping[str, str | None] | None = None


def option(
    default: Any = MISSING,
    *,
    default_factory: Any = MISSING,
    check: Callable[[str, Any], Any] | None = None,
    **flag: Any,
) -> Any:
    """A field of an options class that the command line shows, too.

    Args:
        default: none where the option has to be given.
        default_factory: makes a default anew.
        check: of the name and a value, the value to keep; raises ``UserError``. None is not checked where it is the
            default.
        flag: see :class:`Flag`.
    """
    return field(
        default=default,
        default_factory=default_factory,
        metadata={"flag": Flag(**flag), "check": check},
    )


def bounds(
    smallest: float, largest: float = math.inf, *, unit: str = "", reason: str = ""
) -> Callable[[str, Any], Any]:
    """A check that a number is in a range; ``unit`` says of what it is one, and ``reason`` ends the line."""
    limits = f"at least {smallest}" if largest == math.inf else f"in {smallest:,}..{largest:,}{unit}"

    def check(name: str, value: Any) -> Any:
        if not smallest <= value <= largest:
            raise UserError(f"`{name}` must be {limits}, got {value}{reason}")
        return value

    return check


def whole_or_auto(smallest: int, largest: float = math.inf) -> Callable[[str, Any], Any]:
    """A check that an option is a whole number in a range, or ``auto``."""
    limits = f"at least {smallest}" if largest == math.inf else f"a whole number in {smallest}..{largest}"

    def check(name: str, value: Any) -> Any:
        if value != AUTO and not (isinstance(value, Integral) and smallest <= int(value) <= largest):
            raise UserError(f"`{name}` must be {limits}, or auto, got {value!r}")
        return value

    return check


def number_or_auto(name: str) -> Callable[[str], int | str]:
    """The option's value of a text: a whole number, or ``auto``."""

    def parse(text: str) -> int | str:
        if text == AUTO:
            return AUTO
        try:
            return int(text)
        except ValueError:
            raise UserError(f"`{name}` must be a whole number or auto, got {text}") from None

    return parse


NUMBERS: dict[str, tuple[type, str]] = {"int": (Integral, "a whole number"), "float": (Real, "a number")}
"""The types of an option's values, NumPy's too, by annotation, with their names in messages."""


def check_number(name: str, value: Any, annotation: Any) -> None:
    """Checks that the value of an option that is annotated as a number, or as a number or None, is one.

    Raises:
        UserError: it is not.
    """
    kind, _, other = str(annotation).partition(" | ")
    if kind in NUMBERS and other in ("", "None") and not (value is None and other):
        numbers, words = NUMBERS[kind]
        if not isinstance(value, numbers):
            raise UserError(f"`{name}` must be {words}, got {value!r}")


@dataclass(frozen=True)
class Options:
    """The base of options classes: expands paths, asks for numbers, and applies each field's check.

    Raises:
        UserError: a value does not pass.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            value, check = getattr(self, one.name), one.metadata.get("check")
            check_number(one.name, value, one.type)
            if value is not None and str(one.type).partition(" | ")[0] == "Path":
                object.__setattr__(self, one.name, user_path(value, f"`{one.name}`"))
            if check is not None and not (value is None and one.default is None):
                object.__setattr__(self, one.name, check(one.name, value))


def shared_options(options: Any, kind: type) -> dict[str, Any]:
    """The values of some options that another options class has as well, by name."""
    names = {one.name for one in fields(kind)}
    return {one.name: getattr(options, one.name) for one in fields(options) if one.name in names}


def check_arguments(signature: inspect.Signature, *args: Any, **arguments: Any) -> None:
    """Checks that a function of this signature can be called so.

    Raises:
        UserError: an argument is unknown or missing.
    """
    names = [name for name in signature.parameters if name != "self"]
    for name in arguments:
        if name not in names:
            raise UserError(unknown_name("argument", name, names))
    try:
        signature.bind(*args, **arguments)
    except TypeError as error:
        raise UserError(str(error)) from None


def options_of(kind: Callable[..., Kind], *args: Any, **arguments: Any) -> Kind:
    """The options that a function was called with.

    Raises:
        UserError: an argument is unknown or missing, or a value does not pass.
    """
    arguments = todays_arguments(kind, arguments)
    check_arguments(inspect.signature(kind), *args, **arguments)
    return kind(*args, **arguments)


def called_with(kind: Callable[P, Any]) -> Callable[[Callable[..., Result]], Callable[P, Result]]:
    """Shows the fields of an options class as the arguments of a function that makes it with :func:`options_of`."""

    def decorate(function: Callable[..., Result]) -> Callable[P, Result]:
        function.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
        return function

    return decorate
