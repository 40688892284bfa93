"""The tab *Why*: the estimates over t, what the degradation leaves, and the prior's draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gradio as gr

from diffcli.play.choices import ANY, Models, choices_of, first_pair, label_choices, label_of
from diffcli.play.controls import QUEUE, Answers, answers_of, panel, seed_control, seed_of, stop_button
from diffcli.play.explaining import Explanation, Moment, explanation_steps, stretch_contrast
from diffcli.play.inline_pictures import Picture, figure, message, of_image, row

INTRODUCTION = (
    r"A model undoes a degradation, $x_t = A_t x_0 + \sigma_t \varepsilon$: at $t = 0$ nothing is degraded, at $t = "
    r"T$ everything. "
    r"Sampling starts from $x_T$ of the prior, asks the network what the clean image is, $\hat{x}_0$, and goes a step "
    r"towards it, "
    r"again and again."
)
ESTIMATES = (
    "### What the network takes the image for\n"
    r"Above $x_t$, below $\hat{x}_0$. Under noise the first $\hat{x}_0$ is a mean of all that the image may be, and "
    r"grows "
    r"sharp as $t$ falls; under a blur $x_T$ says already what the image is."
)
REMAINDERS = (
    "### What the degradation leaves\n"
    "Above the image that came out, degraded to $t$; below the same stretched to all of black to white, and how many "
    "times that raised its "
    "contrast. What is left of a blurred image is faint, but it is there, and the network reads it. Under noise it is "
    "lost."
)
DRAWS = (
    "### The prior's draws\n"
    "Above $x_T$, where sampling starts; in the middle the same stretched; below what became of it. Noise ends in "
    "noise, which anyone can draw. A blur ends in what is left of some image: a prior that was fitted to that knows "
    "it, a uniform one "
    "does not."
)
TIMES = "\N{MULTIPLICATION SIGN}"
DELIMITERS: list[dict[str, str | bool]] = [{"left": "$", "right": "$", "display": False}]


def build(models: Models, at_once: int) -> None:
    """Adds the tab's controls, and what they do."""
    first, _ = first_pair(models)
    _text(INTRODUCTION)
    with gr.Row():
        model = gr.Dropdown([*models], value=first, label="Model", info="Which is followed", min_width=130)
        label = gr.Dropdown(
            label_choices([models[first]]), value=ANY, label="Label", info="What is drawn", min_width=130
        )
        priors = choices_of(models[first]).priors
        prior = gr.Dropdown(priors, value=priors[0], label="Prior", info="Where it starts", min_width=130)
        seed = seed_control()
    with gr.Row():
        go = gr.Button("Show", variant="primary", min_width=100)
        stop = gr.Button("Stop", min_width=100)
    message_panel = panel()
    sections = []
    for text in (ESTIMATES, REMAINDERS, DRAWS):
        _text(text)
        sections.append(panel())
    outputs = [*sections, message_panel]

    def answer(name: str, label: str, prior: str, seed: Any) -> Answers:
        yield from answers_of(lambda: _explanation(models, (name, label, prior, seed)), len(sections))

    showing = go.click(
        answer,
        [model, label, prior, seed],
        outputs,
        concurrency_id=QUEUE,
        concurrency_limit=at_once,
        show_progress="hidden",
    )
    stop_button(stop, showing, message_panel)
    model.input(_controls_shown(models), [model, label], [label, prior, *sections], show_progress="hidden")


def _text(text: str) -> None:
    gr.Markdown(text, latex_delimiters=DELIMITERS)


def _controls_shown(models: Models) -> Callable[[str, str], tuple[Any, ...]]:
    def update(name: str, label: str) -> tuple[Any, ...]:
        labels, priors = label_choices([models[name]]), choices_of(models[name]).priors
        choice = label if label in labels else ANY
        return gr.Dropdown(choices=labels, value=choice), gr.Dropdown(choices=priors, value=priors[0]), "", "", ""

    return update


def _explanation(models: Models, request: tuple[str, str, str, Any]) -> Answers:
    name, label, prior, seed = request
    options = {"seed": seed_of(seed), "label": label_of(models[name], label), "prior": prior}
    for so_far in explanation_steps(models[name], options):
        text = "drawing …" if so_far.images is None else f"{name}, prior {prior}, seed {options['seed']}"
        yield _estimates(so_far), _part_left(so_far), _draws(so_far), message(text)


def _estimates(so_far: Explanation) -> str:
    figures = []
    for t, xt, x0_hat in so_far.moments:
        pictures = [of_image(xt, f"x_t at t = {t}")]
        if x0_hat is not None:
            pictures.append(of_image(x0_hat, f"estimate of the clean image at t = {t}"))
        figures.append(figure(pictures, f"t = {t}"))
    return row(figures)


def _part_left(so_far: Explanation) -> str:
    return row(map(_degraded, so_far.left))


def _degraded(moment: Moment) -> str:
    image, times = stretch_contrast(moment.xt)
    pictures = [
        of_image(moment.xt, f"degraded to t = {moment.t}"),
        of_image(image, f"degraded to t = {moment.t}, stretched"),
    ]
    return figure(pictures, f"t = {moment.t}, {contrast(times)}")


def contrast(times: float) -> str:
    """The factor by which a contrast was raised, in a few characters."""
    if math.isinf(times):
        return "no contrast"
    return TIMES + (f"{times:.1f}" if times < 10 else f"{times:.0f}")


def _draws(so_far: Explanation) -> str:
    figures = []
    for number, xT in enumerate(so_far.draws, start=1):
        pictures: list[Picture] = [
            of_image(xT, f"draw {number} of the prior"),
            of_image(stretch_contrast(xT)[0], f"draw {number} stretched"),
        ]
        if so_far.images is not None:
            pictures.append(of_image(so_far.images[number - 1], f"what became of draw {number}"))
        figures.append(figure(pictures, f"{number}"))
    return row(figures)
