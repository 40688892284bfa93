"""The rules of data sets, as a test that anybody can run on one of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from diffcli.data.sources import Source, check_source, class_names, default_data_dir, image_shape

MOST_SHARED = 0.5
"""The share of the test images that may be among the development images: real data sets hold some images twice."""


def _check_again(source: Source, reload: Source) -> None:
    for part in ("development", "test"):
        first, second = getattr(source, part), getattr(reload, part)
        if not (torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)):
            raise AssertionError(
                f"its {part} images or labels are others when it is loaded again: fix the seed of what it draws"
            )


def _check_held_out(source: Source, reload: Source) -> None:
    originals = set(map(_bytes, source.development.images))
    shared = sum(_bytes(image) in originals for image in source.test.images)
    if shared > MOST_SHARED * len(source.test):
        raise AssertionError(f"{shared} of its {len(source.test)} test images are development images, too")


def _bytes(image: Tensor) -> bytes:
    return bytes(image.numpy().tobytes())


DATA_RULES: dict[str, Callable[[Source, Source], None]] = {
    "loaded again it is the same": _check_again,
    "test images are held out": _check_held_out,
}
"""The rules that a data set keeps, in words, and the check of it, of what was loaded twice; besides
:func:`check_source`."""


def check_data(load: Callable[..., Source], **parameters: Any) -> None:
    """Checks that a data set keeps every rule of this module.

    Args:
        load: the function that a plug-in registers.
        parameters: of it, as a preset sets them; ``data_dir`` and ``download`` are supplied where it asks for them.

    Raises:
        AssertionError: a rule is broken; the message names it.
    """
    name = getattr(load, "__name__", "data set")
    parameter_names = inspect.signature(load).parameters
    context = {"data_dir": default_data_dir(), "download": False}
    preset_values = {
        key: one.default for key, one in parameter_names.items() if key not in context and one.default is not one.empty
    }
    preset_values |= {key: value for key, value in parameters.items() if key not in context}
    arguments = {key: value for key, value in context.items() if key in parameter_names} | parameters
    with _rule("it is a Source of the shape and the classes that it says", name):
        source, reload = load(**arguments), load(**arguments)
        check_source(source, image_shape(load, preset_values), class_names(load, preset_values))
    for rule, check in DATA_RULES.items():
        with _rule(rule, name):
            check(source, reload)


@contextmanager
def _rule(rule: str, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{name}: broken rule: {rule}: {error}") from error
