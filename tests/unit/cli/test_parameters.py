"""An option is written once: a field of an options class is an argument in Python and a flag of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import pytest

from diffcli.cli.parameters import Parameters
from diffcli.utils.devices import Devices, devices_option
from diffcli.utils.errors import UserError
from diffcli.utils.options import SAMPLING, Options, bounds, called_with, option, options_of


@dataclass(frozen=True)
class ToyOptions(Options):
    """Some of each kind."""

    name: str = option(argument=True, help="A word.")
    n: int = option(64, check=bounds(1), help="Images; see `out_dir`.")
    _: KW_ONLY
    weight: float | None = option(None, check=bounds(0, 1), default_text="none", help="A weight.", panel=SAMPLING)
    out_dir: Path | None = option(None, help="A folder.")
    many: Sequence[str] = option((), help="Several.")
    loud: bool = option(False, also="l", help="Loud.")
    metrics: Sequence[str] = option((), entry_help={"fid": "One.", "kid": "Two."})
    devices: Devices = devices_option(Devices(devices="1"), {"accelerator": None, "devices": "How many."})
    hidden: int = 3


def toy(options: ToyOptions, *, json_: bool = option(False, help="JSON.")) -> dict[str, Any]:
    return {"options": options, "json": json_}


@called_with(ToyOptions)
def call(*args: Any, **arguments: Any) -> ToyOptions:
    return options_of(ToyOptions, *args, **arguments)


def values(**changes: Any) -> dict[str, Any]:
    """The values of a command line as Typer gives them, where nothing but ``changes`` was said."""
    nothing = {"name": "a", "n": 64, "weight": None, "out_dir": None, "many": None, "loud": False, "json_": False}
    return nothing | {"fid": False, "kid": False, "accelerator": "auto", "devices": "1"} | changes


def toy_flags() -> dict[str, Any]:
    return {parameter.name: parameter.annotation.__metadata__[0] for parameter in Parameters(toy).signature}


def test_the_flags_are_the_fields_and_the_command_s_own() -> None:
    assert set(toy_flags()) == set(values())
    defaults = {parameter.name: parameter.default for parameter in Parameters(toy).signature}
    assert defaults == {name: inspect.Parameter.empty if name == "name" else values()[name] for name in values()}


def test_the_help_names_flags_and_its_groups_stand_in_order() -> None:
    about = toy_flags()
    assert about["n"].help == "Images; see --out-dir."
    assert (about["devices"].help, about["accelerator"].help) == ("How many.", "auto, cpu, cuda or mps.")
    panels = [one.rich_help_panel for one in about.values()]
    assert panels == sorted(panels, key=[None, SAMPLING, "Devices"].index)


def test_what_was_not_said_is_left_to_the_defaults() -> None:
    arguments = Parameters(toy).arguments(values())
    assert arguments == {"options": ToyOptions("a"), "json_": False}


def test_what_was_said_is_the_value() -> None:
    given_values = values(n=2, weight=0.5, many=["x"], loud=True, kid=True, accelerator="cpu", json_=True)
    arguments = Parameters(toy).arguments(given_values)
    expected = ToyOptions(
        "a", 2, weight=0.5, many=["x"], loud=True, metrics=["kid"], devices=Devices("cpu", devices="1")
    )
    assert arguments == {"options": expected, "json_": True}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"n": 0}, "`n` must be at least 1, got 0"),
        ({"weight": 2.0}, "`weight` must be in 0..1, got 2.0"),
        ({"devices": 1.5}, "`devices` 1.5: give a number, or diffcli.Devices"),
        ({"weigth": 1}, "unknown argument 'weigth'; did you mean 'weight'?"),
    ],
)
def test_a_check_holds_in_python_and_on_the_command_line(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        call("a", **arguments)
    assert line in str(error.value)
    if arguments.keys() <= {"n", "weight"}:
        with pytest.raises(UserError, match=line):
            Parameters(toy).arguments(values(**arguments))


def test_what_is_missing_costs_a_line() -> None:
    with pytest.raises(UserError, match="missing a required argument: 'name'"):
        call()


def test_a_function_shows_the_fields_as_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert inspect.signature(call) == inspect.signature(ToyOptions)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert call("a", out_dir="~/x").out_dir == tmp_path / "x"  # type: ignore[arg-type]  # a text is a path, too
    assert call("a", devices=2).devices == Devices(devices="2")  # type: ignore[arg-type]  # as is a number
