"""Controls that the tabs share, and how the events behind them answer."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from diffcli.play.choices import NOT_SAID, Models, shown_class
from diffcli.play.inline_pictures import message
from diffcli.utils.errors import UserError

QUEUE = "computing"
"""The queue of what computes, which all tabs share."""
Answers = Iterator[tuple[Any, ...]]


def panel(content: str = "") -> gr.HTML:
    """A place for what a tab makes."""
    return gr.HTML(content, apply_default_css=False)


def seed_control() -> gr.Number:
    """The control of the seed."""
    return gr.Number(0, label="Seed", info="Repeats a picture", precision=0, minimum=0, min_width=130)


def seed_of(value: Any) -> int:
    """The seed that a visitor chose.

    Raises:
        UserError: there is none.
    """
    if value is None:
        raise UserError("the seed is missing: a whole number from 0 on")
    return int(value)


def end_of(value: Any) -> int | None:
    """The seed at the other end of a row that a visitor chose; None where the field is empty.

    Raises:
        UserError: it is no whole number from 0 on.
    """
    text = "" if value is None else str(value).strip()
    if text and not (text.isascii() and text.isdecimal()):
        raise UserError(f"a row leads to a seed, a whole number from 0 on, or its field is empty; it is {text:.40}")
    return int(text) if text else None


def number_of(value: Any, subject: str) -> float:
    """The number that a visitor chose.

    Raises:
        UserError: there is none.
    """
    if value is None:
        raise UserError(f"{subject} is missing: a number")
    return float(value)


def stop_button(button: gr.Button, events: Any, message_panel: gr.HTML) -> None:
    """Lets a button end what these events do."""
    # Said after the end, so that no answer on its way comes last.
    button.click(None, cancels=events).then(lambda: message("stopped"), None, message_panel, show_progress="hidden")


def next_seed(value: Any) -> int:
    """The seed after this one."""
    return int(value or 0) + 1


def shown_classes(models: Models, name: str) -> list[str]:
    """The classes that a visitor can name for a picture with this model; the first is the one at the start."""
    model = models[name]
    return [*([NOT_SAID] if model.works_without_label else []), *map(shown_class, model.trained_classes)]


def answers_of(answers: Callable[[], Answers], part_count: int) -> Answers:
    """The answers to an event, the last part a message; what is wrong with a request is told there, and what fails
    otherwise, whose traceback the server prints.

    Args:
        part_count: how many parts before the message stay as they are when something is wrong.
    """
    try:
        yield from answers()
    except Exception as error:
        line = str(error)
        if not isinstance(error, UserError):
            traceback.print_exc()
            line = f"this failed: {(line.splitlines() or [type(error).__name__])[0]}"
        yield (*(gr.skip() for _ in range(part_count)), message(line, is_error=True))
