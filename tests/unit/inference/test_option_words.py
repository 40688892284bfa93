"""What the help says in words: defaults as the docstrings have them, and the names of all that can be chosen."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import pytest
from sampler_names import ON_BLUR, ON_NOISE

import diffcli
from diffcli.data.pixels import rounding
from diffcli.diffusion.inpainting import ROUNDS
from diffcli.diffusion.priors import PRIORS
from diffcli.inference.measurement_options import MeasurementOptions
from diffcli.inference.new_images import images_drawn
from diffcli.inference.options import N_SAMPLES, DrawOptions, SampleOptions, StepOptions, default_t
from diffcli.inference.save_restorations import restore
from diffcli.studies.options import StudyOptions
from diffcli.studies.study_files import study_files
from diffcli.training.loggers import LOGGERS
from diffcli.training.options import TrainOptions
from diffcli.utils.options import Flag, Options


def flags_of(kind: type) -> dict[str, Flag]:
    return {one.name: one.metadata["flag"] for one in fields(kind) if "flag" in one.metadata}


def options_classes(kind: type[Options] = Options) -> Iterator[type[Options]]:
    for one in kind.__subclasses__():
        yield one
        yield from options_classes(one)


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", text.replace(",", "")))


def test_defaults_in_words_are_those_of_the_docstrings() -> None:
    import diffcli.evaluation.options
    import diffcli.inference.restore_options
    import diffcli.studies.options  # noqa: F401

    names = set()
    for kind in options_classes():
        text = inspect.cleandoc(kind.__doc__ or "")
        for name, flag in flags_of(kind).items():
            entry = re.search(rf"^    {name}: ((?:.*\n?(?:     .*\n?)*))", text, flags=re.MULTILINE)
            default = re.search(r"None\s+is\s([^.;]*)", entry[1]) if entry else None
            if default and flag.default_text and (default[1][0].isdigit() or flag.default_text[0].isdigit()):
                assert numbers(default[1]) == numbers(flag.default_text), (kind, name)
                names.add(name)
    assert {"n", "n_cas", "nll_steps", "resampling"} <= names


def test_python_has_the_defaults_of_the_commands() -> None:
    for method in (diffcli.Model.sample, diffcli.Model.trajectory):
        assert inspect.signature(method).parameters["n"].default is SampleOptions().n is None
    nothing: Any = None  # not looked at where no row is asked for
    sampling, count = images_drawn(nothing, DrawOptions(), None)
    assert sampling is nothing
    assert count == N_SAMPLES
    words = re.search(r"n: how many; None is (\d+)", inspect.getdoc(diffcli.Model.sample) or "")
    assert words is not None
    assert int(words[1]) == N_SAMPLES
    resampling = flags_of(inspect.get_annotations(restore, eval_str=True)["options"])["resampling"]
    assert numbers(resampling.default_text or "") == {str(ROUNDS)}


@pytest.mark.parametrize(("T", "t"), [(1, 1), (2, 1), (5, 2), (20, 10), (1000, 500)])
def test_the_default_step_is_half_of_T(T: int, t: int) -> None:
    assert default_t(T) == t
    text = flags_of(inspect.get_annotations(restore, eval_str=True)["options"])["t"].default_text
    assert text is not None
    assert "half of T" in text


def test_the_help_names_every_sampler_where_it_serves() -> None:
    on_noise, on_any = flags_of(StepOptions)["sampler"].help.split("on any degradation:")
    for name in ON_NOISE:
        named_in = on_any if name in ON_BLUR else on_noise
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", named_in), name


def test_the_help_names_every_prior() -> None:
    names = flags_of(SampleOptions)["prior"].help.partition(": ")[2].rstrip(".").split(", ")
    assert names == list(PRIORS)


@pytest.mark.parametrize(
    ("options", "name", "entries"), [(StudyOptions, "study", study_files()), (TrainOptions, "logger", LOGGERS)]
)
def test_the_help_names_every_study_and_every_logger(options: type, name: str, entries: Iterable[str]) -> None:
    assert set(entries) <= set(re.findall(r"[\w-]+", flags_of(options)[name].help))


def test_the_help_says_how_much_noise_8_bits_are() -> None:
    match = re.search(r"8 bits are (0\.\d+)", flags_of(MeasurementOptions)["sigma"].help)
    assert match is not None
    assert match[1] == f"{rounding(8):.2g}"
