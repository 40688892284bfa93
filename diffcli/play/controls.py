"""Controls that the tabs share, and how the events behind them answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from diffcli.play.choices import NOT_SAID, Models, shown_class
from diffcli.play.pictures import message
from diffcli.utils.errors import UserError

QUEUE = "computing"
"""The queue of what computes, which all tabs share."""
Answers = Iterator[tuple[Any, ...]]


def panel(content: str = "") -> gr.HTML:
    """A place for what a tab makes."""
    return gr.HTML(content, apply_default_css=False)


def seed_control() -> gr.Number:
    """Which random numbers are drawn."""
    return gr.Number(0, label="Seed", info="Repeats a picture", precision=0, minimum=0, min_width=130)


def seed_of(given: Any) -> int:
    """The seed that a visitor chose.

    Raises:
        UserError: there is none.
    """
    if given is None:
        raise UserError("the seed is missing: a whole number from 0 on")
    return int(given)


def stop_button(button: gr.Button, events: Any, said: gr.HTML) -> None:
    """Lets a button end what these events do."""
    # Said after the end, so that no answer on its way comes last.
    button.click(None, cancels=events).then(lambda: message("stopped"), None, said, show_progress="hidden")


def next_seed(given: Any) -> int:
    """The seed after this one."""
    return int(given or 0) + 1


def shown_classes(models: Models, name: str) -> list[str]:
    """What a visitor can say of a picture for this model; the first is what is said at first."""
    model = models[name]
    return [*([NOT_SAID] if model.works_without_label else []), *map(shown_class, model.trained_classes)]


def told(answers: Callable[[], Answers], unchanged: int) -> Answers:
    """What an event answers, the last part a message; what is wrong with a request is told there.

    Args:
        unchanged: how many parts before the message stay as they are when something is wrong.
    """
    try:
        yield from answers()
    except UserError as error:
        yield (*(gr.skip() for _ in range(unchanged)), message(str(error), wrong=True))
