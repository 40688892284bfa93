"""The tab *Generate*: samples as they are drawn, of one model or of two from the same seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from diffcli.data.label_names import NONE
from diffcli.play.choices import ANY, EACH_IN_TURN, NO_MODEL, Models, choices_of, first_pair, label_choices, label_of
from diffcli.play.controls import (
    QUEUE,
    Answers,
    answers_of,
    end_of,
    next_seed,
    panel,
    seed_control,
    seed_of,
    stop_button,
)
from diffcli.play.drawing import MOST_IMAGES, Frame, frames_of, in_step
from diffcli.play.inline_pictures import figure, message, of_grid, row
from diffcli.utils.errors import UserError

FormValues = dict[Any, Any]
"""The values of the controls, by control."""


@dataclass(frozen=True)
class Column:
    """The controls of one model, and its picture."""

    model: gr.Dropdown
    sampler: gr.Dropdown
    steps: gr.Slider
    guidance: gr.Slider
    settings: gr.Accordion
    picture: gr.HTML


@dataclass(frozen=True)
class Tab:
    """The controls of the tab."""

    label: gr.Dropdown
    count: gr.Slider
    seed: gr.Number
    columns: list[Column]
    message: gr.HTML
    end_seed: gr.Textbox
    """The seed at the other end of a row; empty where the images have nothing to do with each other."""

    @property
    def inputs(self) -> set[Any]:
        columns = [part for one in self.columns for part in (one.model, one.sampler, one.steps, one.guidance)]
        return {self.label, self.count, self.seed, self.end_seed, *columns}

    @property
    def outputs(self) -> list[Any]:
        return [*(column.picture for column in self.columns), self.message]


def build(models: Models, at_once: int) -> None:
    """Adds the tab's controls, and what they do."""
    names = [name for name in first_pair(models) if name != NO_MODEL]
    with gr.Row():
        label = gr.Dropdown(
            label_choices([models[name] for name in names]),
            value=ANY,
            label="Label",
            info="What is drawn",
            min_width=130,
        )
        seed = seed_control()
        # A number of Gradio with a minimum is never empty in a browser.
        end_seed = gr.Textbox("", label="Row to", info="Where a row ends", max_lines=1, min_width=130)
        count = gr.Slider(1, MOST_IMAGES, value=4, step=1, label="Images", info="In one picture", min_width=260)
    with gr.Row():
        draw_button = gr.Button("Generate", variant="primary", min_width=100)
        next_button = gr.Button("Another", min_width=100)
        stop = gr.Button("Stop", min_width=70)
    message_panel = panel()
    with gr.Row(equal_height=False):
        columns = [_column(models, name, number) for number, name in enumerate(names)]
    tab = Tab(label, count, seed, columns, message_panel, end_seed)

    def draw(values: FormValues) -> Answers:
        yield from answers_of(lambda: _drawing(models, tab, values), len(columns))

    limits: dict[str, Any] = {"concurrency_id": QUEUE, "concurrency_limit": at_once, "show_progress": "hidden"}
    drawing = [
        draw_button.click(draw, tab.inputs, tab.outputs, **limits),
        next_button.click(next_seed, seed, seed, show_progress="hidden").then(draw, tab.inputs, tab.outputs, **limits),
    ]
    stop_button(stop, drawing, message_panel)
    selectors = [column.model for column in columns]
    for column in columns:
        parts = [column.sampler, column.steps, column.guidance, column.settings, column.picture]
        column.model.input(_settings_shown(models), column.model, parts, show_progress="hidden")
        column.model.input(_labels_shown(models), [label, *selectors], label, show_progress="hidden")


def _column(models: Models, name: str, number: int) -> Column:
    others = [NO_MODEL] if number else []
    sampler, steps, guidance = settings_of(models, name)
    with gr.Column(min_width=150):
        model = gr.Dropdown([*models, *others], value=name, label="Beside it" if number else "Model")
        picture = panel()
        with gr.Accordion("Settings", open=False, elem_classes="settings") as settings:
            return Column(
                model,
                gr.Dropdown(label="Sampler", **sampler),
                gr.Slider(1, step=1, label="Steps", info="Fewer are faster", **steps),
                gr.Slider(0, 8, step=0.1, label="Guidance", info="Towards the label; 1 is none", **guidance),
                settings,
                picture,
            )


def settings_of(models: Models, name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The choices of sampler, steps and guidance for a model, at its preset's values; as they are where there is no
    model. Guidance is hidden where there is no label to be guided towards."""
    if name == NO_MODEL:
        return {}, {}, {}
    choices = choices_of(models[name])
    return (
        {"choices": choices.samplers, "value": choices.sampler},
        {"maximum": choices.T, "value": choices.steps},
        {"value": choices.guidance, "visible": choices.guided},
    )


def _settings_shown(models: Models) -> Callable[[str], tuple[Any, ...]]:
    def update(name: str) -> tuple[Any, ...]:
        sampler, steps, guidance = settings_of(models, name)
        visible = gr.Accordion(visible=name != NO_MODEL)
        return gr.update(**sampler), gr.update(**steps), gr.update(**guidance), visible, ""

    return update


def _labels_shown(models: Models) -> Callable[..., Any]:
    def update(label: str, *names: str) -> Any:
        options = label_choices([models[name] for name in names if name != NO_MODEL])
        return gr.Dropdown(choices=options, value=label if label in options else ANY)

    return update


def _drawing(models: Models, tab: Tab, values: FormValues) -> Answers:
    start = time.monotonic()
    seed, count, label = seed_of(values[tab.seed]), int(values[tab.count]), values[tab.label]
    end = end_of(values[tab.end_seed])
    ends = None if end is None else (seed, end)
    if ends is not None and label == EACH_IN_TURN:
        raise UserError("a row between two seeds is of one label: choose one")
    active = [column for column in tab.columns if values[column.model] != NO_MODEL]
    names = [values[column.model] for column in active]
    trajectories = []
    for column, name in zip(active, names, strict=True):
        model = models[name]
        options = {
            **({"seed": seed} if ends is None else {"between": ends}),
            "label": label_of(model, label),
            "sampler": values[column.sampler],
            "steps": int(values[column.steps]),
            "guidance": values[column.guidance] if choices_of(model).guided and label != NONE else None,
        }
        trajectories.append(frames_of(model, count, options))
    frames: tuple[Frame, ...] = ()
    for frames in in_step(trajectories):
        yield *_pictures(models, names, frames, len(tab.columns)), message("drawing …")
    seconds = time.monotonic() - start
    yield *_pictures(models, names, frames, len(tab.columns)), message(f"{_words(ends, seed)}, {seconds:.1f} s")


def _words(ends: tuple[int, int] | None, seed: int) -> str:
    return f"seed {seed}" if ends is None else f"from seed {ends[0]} to {ends[1]}, row by row"


def _pictures(models: Models, names: Sequence[str], frames: Sequence[Frame], columns: int) -> list[str]:
    """The HTML of each column; empty where there is no model."""
    pictures = []
    for name, frame in zip(names, frames, strict=True):
        place = f"t = {frame.s} of {models[name].T}" if frame.done < 1 else "drawn"
        picture = of_grid(frame.images, f"{len(frame.images)} images by {name}, {place}")
        pictures.append(row([figure([picture], f"{name}: {place}")], "one"))
    return pictures + [""] * (columns - len(pictures))
