"""The tab *Restore*: a visitor's own picture, degraded and restored while a slider moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from diffcli.data.pixels import psnr, to_model, to_uint8
from diffcli.inference.pictures import SHOWN_NOISE, deviation_picture
from diffcli.inference.restore_tasks import likely_labels, misfit_note
from diffcli.play.choices import NOT_SAID, Models, first_pair, label_of
from diffcli.play.controls import QUEUE, Answers, answers_of, number_of, panel, shown_classes
from diffcli.play.degradation_choices import (
    INVERSION,
    MODELS_OWN,
    NOISE,
    ChosenDegradation,
    degradation_at,
    degradation_choices,
    strength_of,
)
from diffcli.play.inline_pictures import figure, message, of_image, row
from diffcli.play.restoring import (
    MOST_ANSWERS,
    PAD,
    Inversion,
    MeasuredPicture,
    Restoration,
    inversion_of,
    measured_restorations,
    pad_image,
    restoration_steps,
    uploaded,
)
from diffcli.utils.errors import UserError

FOLDER = Path(__file__).parent
INVITATION = "Draw a digit, or upload a picture."
THINNEST, OF_A_SIDE = 1.25, 11
"""The width of a stroke: pixels of the image that a model sees, and parts of its side."""
SIGMAS = (0.001, 0.5, 0.01)
"""The noise on a measurement: least, most, and at the start."""
UNMEASURED = (MODELS_OWN, INVERSION)
"""The choices at which nothing is measured of a picture."""
LARGE_NOISE = 0.2
"""The noise of a measurement that is degraded by noise alone."""

FormValues = dict[Any, Any]
"""The values of the controls, by control."""


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
    """The pen of the pad: strokes so thick, in its pixels, that a model sees one like those it knows."""
    return round(PAD * max(THINNEST / min(image_shape[1:]), 1 / OF_A_SIDE))


@dataclass(frozen=True)
class Tab:
    """The controls of the tab."""

    pad: gr.HTML
    model: gr.Dropdown
    degradation: gr.Dropdown
    strength: gr.Slider
    sigma: gr.Slider
    samples: gr.Slider
    label: gr.Dropdown

    @property
    def of_measurements(self) -> list[Any]:
        """The controls that depend on the chosen degradation."""
        return [self.strength, self.sigma, self.samples, self.label]

    @property
    def inputs(self) -> set[Any]:
        return {self.pad, self.model, self.degradation, *self.of_measurements}


def build(models: Models, at_once: int) -> None:
    """Adds the tab's controls, and what they do."""
    first, _ = first_pair(models)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280, scale=2):
            pad = drawing_pad(pen_for(models[first].image_shape))
        with gr.Column(min_width=280, scale=3):
            degradation = gr.Dropdown(value=MODELS_OWN, label="Degradation", **degradation_choices(models[first]))
            strength = gr.Slider(**strength_of(models[first], MODELS_OWN))
            with gr.Row():
                sigma = gr.Slider(
                    *SIGMAS, step=0.001, label="Noise", info="Its sigma; pixels have a range of 1", visible=False
                )
                samples = gr.Slider(
                    1, MOST_ANSWERS, value=4, step=1, label="Answers", info="Images that could have been", visible=False
                )
            result = panel()
            message_panel = panel(message(INVITATION))
            with gr.Row():
                model = gr.Dropdown([*models], value=first, label="Model", info="What restores it", min_width=130)
                labels = _labels(models, first, MODELS_OWN)
                label = gr.Dropdown(
                    labels, value=labels[0], label="Label", info="What the model is told", min_width=130
                )
    tab = Tab(pad, model, degradation, strength, sigma, samples, label)
    outputs = [result, message_panel]

    def answer(values: FormValues) -> Answers:
        yield from answers_of(lambda: _restoration(models, tab, values), 1)

    live: dict[str, Any] = {
        "concurrency_id": QUEUE,
        "concurrency_limit": at_once,
        "trigger_mode": "always_last",
        "show_progress": "hidden",
    }
    # A click on a drop-down's choice is two inputs (Gradio 6.31), and one change.
    changes = [pad.input, strength.input, sigma.input, samples.input, label.change]
    gr.on(changes, answer, tab.inputs, outputs, **live)
    model.change(
        _controls_shown(models),
        [model, label, degradation],
        [pad, degradation, *tab.of_measurements],
        show_progress="hidden",
    ).then(answer, tab.inputs, outputs, **live)
    degradation.change(
        _measurement_shown(models), [model, label, degradation], tab.of_measurements, show_progress="hidden"
    ).then(answer, tab.inputs, outputs, **live)
    pad.upload(_upload(models, tab), tab.inputs, [pad, result, message_panel], **live)


def _labels(models: Models, name: str, degradation: str) -> list[str]:
    """The labels that a model can be told; of measurements it finds them by itself."""
    classes = shown_classes(models, name)
    return classes if degradation in UNMEASURED or NOT_SAID in classes else [NOT_SAID, *classes]


def _controls_shown(models: Models) -> Callable[..., tuple[Any, ...]]:
    def update(name: str, label: str, degradation: str = MODELS_OWN) -> tuple[Any, ...]:
        model = models[name]
        choices = degradation_choices(model)
        degradation = degradation if degradation in choices["choices"] else MODELS_OWN
        pen = gr.update(pen=pen_for(model.image_shape))
        return pen, gr.Dropdown(value=degradation, **choices), *_measurement_shown(models)(name, label, degradation)

    return update


def _measurement_shown(models: Models) -> Callable[[str, str, str], tuple[Any, ...]]:
    def update(name: str, label: str, degradation: str) -> tuple[Any, ...]:
        labels, is_measured = _labels(models, name, degradation), degradation not in UNMEASURED
        return (
            gr.Slider(**strength_of(models[name], degradation)),
            gr.Slider(value=LARGE_NOISE if degradation == NOISE else SIGMAS[2], visible=is_measured),
            gr.Slider(visible=is_measured),
            gr.Dropdown(choices=labels, value=label if label in labels else labels[0]),
        )

    return update


def _upload(models: Models, tab: Tab) -> Callable[[FormValues, gr.EventData], Iterator[tuple[Any, ...]]]:
    def upload(values: FormValues, event: gr.EventData) -> Iterator[tuple[Any, ...]]:
        try:
            url = uploaded(str(event.name), str(event.url), models[values[tab.model]].background)
        except UserError as error:  # what was drawn and restored before stays
            yield gr.skip(), gr.skip(), message(str(error), is_error=True)
            return
        yield url, gr.skip(), gr.skip()
        for answer, message_html in answers_of(lambda: _restoration(models, tab, {**values, tab.pad: url}), 1):
            yield gr.skip(), answer, message_html

    return upload


def _restoration(models: Models, tab: Tab, values: FormValues) -> Answers:
    name, choice = values[tab.model], values[tab.degradation]
    model, label = models[name], label_of(models[name], values[tab.label])
    images = pad_image(values[tab.pad], model.image_shape)
    if images is None:
        yield "", message(INVITATION)
        return
    if choice == INVERSION:
        inversion = inversion_of(model, images, label)
        distance = float(psnr(to_model(inversion.drawing), to_model(inversion.original)))
        yield _noise_pictures(inversion), message(f"{name}: redrawn at {distance:.1f} dB")
        return
    strength = number_of(values[tab.strength], "the strength of the degradation")
    if choice == MODELS_OWN:
        t = int(strength)
        for restoration in restoration_steps(model, images, t, label, seed=0):
            yield _pictures(restoration, t, model.T), message(f"{name}, t = {t} of {model.T}")
        return
    chosen_degradation = degradation_at(model, choice, strength)
    sigma = number_of(values[tab.sigma], "the sigma of the noise")
    samples = int(number_of(values[tab.samples], "the number of answers"))
    options: dict[str, Any] = {"sigma": sigma, "samples": samples, "label": label, "seed": 0}
    for measurement in measured_restorations(
        model, images, chosen_degradation.degradation, chosen_degradation.t, **options
    ):
        yield (
            _answers(measurement, chosen_degradation),
            message(_report(measurement, chosen_degradation, f"{name}, sigma {sigma:g}", model.classes)),
        )


def _noise_pictures(inversion: Inversion) -> str:
    noise = to_uint8(inversion.noise / SHOWN_NOISE)
    pictures = [(inversion.original, "original"), (noise, "its noise"), (inversion.drawing, "drawn from the noise")]
    return row([figure([of_image(images[0], caption)], caption) for images, caption in pictures], "four")


def _answers(measurement: MeasuredPicture, degradation: ChosenDegradation) -> str:
    """The picture, what was measured of it, and the answers to that, with their mean and their standard deviation."""
    pictures = [(measurement.original, "original"), (measurement.degraded, f"degraded: {degradation.words}")]
    posterior = measurement.posterior
    if posterior is not None:
        count = len(posterior.samples)
        answers = [(sample, f"answer {number}") for number, sample in enumerate(posterior.samples, 1)]
        if count > 1:
            deviation = deviation_picture(posterior.standard_deviation)
            pictures += [(posterior.mean, f"mean of {count} answers"), (deviation, "standard deviation")]
        pictures += answers
    return row([figure([of_image(images[0], caption)], caption) for images, caption in pictures], "four")


def _report(measurement: MeasuredPicture, degradation: ChosenDegradation, subject: str, classes: Sequence[str]) -> str:
    """The pictures in words.

    Args:
        subject: which model answers, and to which noise.
    """
    posterior = measurement.posterior
    if posterior is None:
        return f"{subject}: drawing …"
    count = len(posterior.samples)
    legend = (
        [f"White: what the {degradation.obstacle} hides; black: where all {count} answers agree"] if count > 1 else []
    )
    labels = likely_labels(posterior, classes, ["The picture"])
    misfit = filter(None, [misfit_note(posterior)])
    return ". ".join([f"{subject}, {degradation.words}", *labels, *legend, *map(_sentence, misfit)])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pictures(restoration: Restoration, t: int, T: int) -> str:
    steps = f"restored, {restoration.steps} steps" if restoration.steps > 1 else "restored, 1 step"
    pictures = [
        (restoration.original, "original"),
        (restoration.degraded, f"degraded, t = {t}"),
        (restoration.one_step, "one step"),
        (restoration.restored, steps),
    ]
    figures = [figure([of_image(images[0], caption)], caption) for images, caption in pictures if images is not None]
    return row(figures, "four")
