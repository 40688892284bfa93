"""Former names of attributes and options work for one more minor version, and say what they are called now."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import pytest
from interface import former_names, numbers

import diffcli
from diffcli.cli.parameters import Parameters
from diffcli.utils.errors import UserError
from diffcli.utils.former_names import FormerAttribute, FormerOption
from diffcli.utils.options import Options, called_with, option, options_of


class Toy:
    states = 3
    fitted = FormerAttribute("states", until="0.10.0")


@dataclass(frozen=True)
class ToyOptions(Options):
    n: int = option(64, help="Images.")
    step_count: int | None = option(None, help="Steps.", former=FormerOption("number_of_steps", until="0.10.0"))
    loud: bool = option(False, help="Loud.", former=FormerOption("noisy", until="0.10.0"))


def toy(options: ToyOptions) -> None:
    """A command."""


@called_with(ToyOptions)
def call(*args: Any, **arguments: Any) -> ToyOptions:
    return options_of(ToyOptions, *args, **arguments)


def values(**changes: Any) -> dict[str, Any]:
    nothing = {"n": 64, "step_count": None, "number_of_steps": None, "loud": False, "noisy": None}
    return nothing | changes


def test_a_former_attribute_works_and_warns_on_the_line_that_reads_it() -> None:
    line = r"^`Toy.fitted` is called `Toy.states` now; the former name goes in version 0.10.0$"
    with pytest.warns(DeprecationWarning, match=line) as records:
        assert Toy().fitted == 3
    assert [warning.filename for warning in records] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Toy().states == 3


def test_a_former_argument_works_and_warns() -> None:
    line = "^`number_of_steps` is called `step_count` now; the former name goes in version 0.10.0$"
    with pytest.warns(DeprecationWarning, match=line) as records:
        assert call(number_of_steps=5) == ToyOptions(step_count=5)  # type: ignore[call-arg]
    assert [warning.filename for warning in records] == [__file__]
    with pytest.raises(UserError, match="`number_of_steps` is called `step_count` now; give `step_count` alone"):
        call(number_of_steps=5, step_count=5)  # type: ignore[call-arg]
    with (
        pytest.warns(DeprecationWarning, match=line),
        pytest.raises(UserError, match="`step_count` must be a whole number, got 'x'"),
    ):
        call(number_of_steps="x")  # type: ignore[call-arg]


def test_a_former_flag_works_hidden_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    parameters = Parameters(toy)
    hidden = {one.name: one.annotation.__metadata__[0].hidden for one in parameters.signature}
    assert hidden == {"n": False, "step_count": False, "number_of_steps": True, "loud": False, "noisy": True}
    assert parameters.arguments(values()) == {"options": ToyOptions()}
    assert capsys.readouterr().err == ""
    assert parameters.arguments(values(number_of_steps=5, noisy=True)) == {"options": ToyOptions(64, 5, True)}
    assert capsys.readouterr().err.splitlines() == [
        "note: --number-of-steps is called --step-count now; the former name goes in version 0.10.0",
        "note: --noisy is called --loud now; the former name goes in version 0.10.0",
    ]
    with pytest.raises(UserError, match="--number-of-steps is called --step-count now; give --step-count alone"):
        parameters.arguments(values(number_of_steps=5, step_count=4))


def test_former_names_go_when_their_time_is_over() -> None:
    names, version = former_names(), numbers(diffcli.__version__)
    assert {"Model.fitted", "Run.kept", "Run.kept_file"} <= set(names) or version >= (0, 10, 0)
    for name, until in names.items():
        assert numbers(until) > version, f"{name} was to go in {until}: take it out now"
        assert until.endswith(".0"), f"{name} is to go in {until}, and names go with a minor version"
