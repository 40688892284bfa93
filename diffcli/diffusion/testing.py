"""The rules that every degradation keeps, as a test that anybody can run on one of their own.

    >>> from diffcli import check_degradation
    >>> from diffcli.diffusion.degradations import Heat
    >>> check_degradation(Heat)

One that breaks a rule gets an AssertionError that names the rule, and where it is broken. Networks and data sets have
rules of their own: :func:`diffcli.check_network`, :func:`diffcli.check_data`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.rules import RULES, Reference, check_reference
from diffcli.diffusion.schedules import linear

SHAPES = ((1, 8, 8), (3, 7, 11), (1, 28, 28))
"""(C, H, W) of the images that a class is checked on: grey and colour, odd and not square."""
STEPS = (1, 7, 40)
"""The T that it is checked with, where that is its to set."""


def betas(T: int) -> Tensor:
    """The schedule that a class which asks for one is checked with, float64 (T + 1,)."""
    return linear(T, 0.01, 0.3)


@torch.no_grad()
def check_degradation(
    degradation: Degradation | type[Degradation], reference: Reference | None = None, **parameters: Any
) -> None:
    """Checks that a degradation keeps every rule of this module.

    Args:
        degradation: one that is built; or a class, which is built for the images of ``SHAPES`` and with the T of
            ``STEPS``, as far as it asks for them. It may refuse some of them, by a ValueError.
        reference: an independent computation in float64 to compare it with.
        parameters: of the class, as a preset sets them.

    Raises:
        AssertionError: a rule is broken; the message names it.
    """
    if isinstance(degradation, Degradation):
        examples = [deepcopy(degradation).cpu()]
    else:
        examples = list(_examples(degradation, parameters))
    for one in examples:
        for rule, check in RULES.items():
            with _rule(rule, one):
                check(one)
        if reference is not None:
            with _rule("it is its float64 reference", one):
                check_reference(one, reference)


def _examples(kind: type[Degradation], parameters: dict[str, Any]) -> Iterator[Degradation]:
    parameter_names = inspect.signature(kind).parameters
    refusal = "it asks for none"
    count = 0
    for T in STEPS if {"T", "betas"} & set(parameter_names) - set(parameters) else STEPS[:1]:
        for shape in SHAPES:
            context = {"T": T, "betas": betas(T), "image_shape": shape}
            try:
                one = kind(**{key: value for key, value in context.items() if key in parameter_names} | parameters)
            except ValueError as error:
                refusal = str(error)
                continue
            one.name, one.image_shape = kind.__name__, shape
            count += 1
            yield one
    if not count:
        raise AssertionError(f"{kind.__name__}: it cannot be built for any of the images {SHAPES}: {refusal}")


@contextmanager
def _rule(rule: str, degradation: Degradation) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        size = "x".join(map(str, degradation.image_shape))
        place = f"{degradation.name}, T {getattr(degradation, 'T', None)}, images {size}"
        raise AssertionError(f"{place}: broken rule: {rule}: {error}") from error
