"""The tab *Restore*: a visitor's own picture, degraded and restored while a slider moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from diffcli.inference.options import default_t
from diffcli.play.choices import Models, first_pair, label_of
from diffcli.play.controls import QUEUE, Answers, answers_of, panel, shown_classes
from diffcli.play.inline_pictures import figure, message, of_image, row
from diffcli.play.restoring import PAD, Restoration, pad_image, restorations, uploaded
from diffcli.utils.errors import UserError

FOLDER = Path(__file__).parent
INVITATION = "Draw a digit, or upload a picture."
THINNEST, OF_A_SIDE = 1.25, 11
"""The width of a stroke: pixels of the image that a model sees, and parts of its side."""


def drawing_pad(pen: int) -> gr.HTML:
    """A sheet to draw on; its value is a PNG as a data URL, empty where nothing is drawn.

    Args:
        pen: thickness of a stroke in the pad's pixels.
    """
    # Not a class of its own, for which Gradio would write a file beside this one.
    return gr.HTML(
        "",
        html_template=(FOLDER / "pad.html").read_text(encoding="utf-8"),
        js_on_load=(FOLDER / "pad.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        pen=pen,
    )


def pen_for(image_shape: tuple[int, int, int]) -> int:
    """How thick a stroke is on the pad, in its pixels, so that a model sees one like those it knows."""
    return round(PAD * max(THINNEST / min(image_shape[1:]), 1 / OF_A_SIDE))


def build(models: Models, at_once: int) -> None:
    """Adds the tab's controls, and what they do."""
    first, _ = first_pair(models)
    T = models[first].T
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280, scale=2):
            pad = drawing_pad(pen_for(models[first].image_shape))
        with gr.Column(min_width=280, scale=3):
            t = gr.Slider(1, T, value=default_t(T), step=1, label="t", info="How far it is degraded")
            result = panel()
            said = panel(message(INVITATION))
            with gr.Row():
                model = gr.Dropdown([*models], value=first, label="Model", info="What restores it", min_width=130)
                labels = shown_classes(models, first)
                label = gr.Dropdown(
                    labels, value=labels[0], label="Label", info="What the model is told", min_width=130
                )
    outputs = [result, said]

    def answer(url: str, name: str, t: Any, label: str) -> Answers:
        yield from answers_of(lambda: _restoration(models, (url, name, int(t), label)), 1)

    inputs = [pad, model, t, label]
    live: dict[str, Any] = {
        "concurrency_id": QUEUE,
        "concurrency_limit": at_once,
        "trigger_mode": "always_last",
        "show_progress": "hidden",
    }
    gr.on([pad.input, t.input, label.input], answer, inputs, outputs, **live)
    controls = [pad, t, label]
    model.input(_controls_shown(models), [model, label], controls, show_progress="hidden").then(
        answer, inputs, outputs, **live
    )
    pad.upload(_upload(models), [model, t, label], [pad, result, said], **live)


def _controls_shown(models: Models) -> Callable[[str, str], tuple[Any, ...]]:
    def shown(name: str, label: str) -> tuple[Any, ...]:
        model, labels = models[name], shown_classes(models, name)
        t = gr.Slider(maximum=model.T, value=default_t(model.T))
        choice = label if label in labels else labels[0]
        return gr.update(pen=pen_for(model.image_shape)), t, gr.Dropdown(choices=labels, value=choice)

    return shown


def _upload(models: Models) -> Callable[[str, Any, str, gr.EventData], Iterator[tuple[Any, ...]]]:
    def upload(name: str, t: Any, label: str, event: gr.EventData) -> Iterator[tuple[Any, ...]]:
        try:
            url = uploaded(str(event.name), str(event.url), models[name].background)
        except UserError as error:  # what was drawn and restored before stays
            yield gr.skip(), gr.skip(), message(str(error), wrong=True)
            return
        yield url, gr.skip(), gr.skip()
        for answer, said in answers_of(lambda: _restoration(models, (url, name, int(t), label)), 1):
            yield gr.skip(), answer, said

    return upload


def _restoration(models: Models, request: tuple[str, str, int, str]) -> Answers:
    url, name, t, label = request
    model = models[name]
    images = pad_image(url, model.image_shape)
    if images is None:
        yield "", message(INVITATION)
        return
    for restoration in restorations(model, images, t, label_of(model, label), seed=0):
        yield _pictures(restoration, t, model.T), message(f"{name}, t = {t} of {model.T}")


def _pictures(restoration: Restoration, t: int, T: int) -> str:
    steps = f"restored, {restoration.steps} steps" if restoration.steps > 1 else "restored, 1 step"
    pictures = [
        (restoration.original, "original"),
        (restoration.degraded, f"degraded, t = {t}"),
        (restoration.one_step, "one step"),
        (restoration.restored, steps),
    ]
    figures = [figure([of_image(images[0], what)], what) for images, what in pictures if images is not None]
    return row(figures, "four")
