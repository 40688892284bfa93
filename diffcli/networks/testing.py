"""The rules of networks, as a test that anybody can run on one of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.networks.basics import check_basics, check_output, inputs_of

NETWORK_SHAPES = ((1, 8, 8), (3, 8, 12), (3, 7, 11), (1, 28, 28))
"""(C, H, W) of the images that a network is checked on."""
CLASSES = 3
"""So many labels a network that asks for their number is checked with, besides none."""
TOLERANCE = 1e-4
"""For outputs of unit size, in float32."""


@dataclass(frozen=True)
class Subject:
    """A network to be checked.

    Args:
        build: makes a new one, its weights drawn by PyTorch's generator.
    """

    build: Callable[[], nn.Module]
    image_shape: tuple[int, int, int]
    classes: int

    def build_network(self, seed: int = 0) -> nn.Module:
        """A network whose weights are drawn with a seed, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build().eval()


def _expect_equal(output: Tensor, expected: Tensor) -> None:
    error = float((output.double() - expected.double()).abs().max()) / max(1.0, float(expected.abs().max()))
    if not error <= TOLERANCE:
        raise AssertionError(f"it is off by {error:.2g}")


def _check_trained(subject: Subject) -> None:
    check_basics(subject.build_network().train(), subject.image_shape, subject.classes)


@torch.no_grad()
def _check_untouched(subject: Subject) -> None:
    inputs = inputs_of(subject.image_shape, subject.classes)
    subject.build_network()(*inputs)
    for part, before in zip(inputs, inputs_of(subject.image_shape, subject.classes), strict=True):
        if not torch.equal(part, before):
            raise AssertionError("an argument of forward has changed")


@torch.no_grad()
def _check_repeats(subject: Subject) -> None:
    network, inputs = subject.build_network(), inputs_of(subject.image_shape, subject.classes)
    _expect_equal(network(*inputs), network(*inputs))


@torch.no_grad()
def _check_alone(subject: Subject) -> None:
    network, inputs = subject.build_network(), inputs_of(subject.image_shape, subject.classes, 5)
    together = network(*inputs)
    check_output(together, subject.image_shape, 5)
    _expect_equal(torch.cat([network(*(part[i : i + 1] for part in inputs)) for i in range(5)]), together)


@torch.no_grad()
def _check_unlabelled(subject: Subject) -> None:
    if not subject.classes:
        return
    network, (xt, time, labels) = subject.build_network(), inputs_of(subject.image_shape, subject.classes)
    _expect_equal(network(xt, time, None), network(xt, time, torch.full_like(labels, -1)))


@torch.no_grad()
def _check_stored(subject: Subject) -> None:
    network, other = subject.build_network(0), subject.build_network(1)
    other.load_state_dict(network.state_dict())
    inputs = inputs_of(subject.image_shape, subject.classes)
    _expect_equal(other(*inputs), network(*inputs))


@torch.no_grad()
def _check_precision(subject: Subject) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check_output(subject.build_network()(*inputs_of(subject.image_shape, subject.classes)), subject.image_shape)


NETWORK_RULES: dict[str, Callable[[Subject], None]] = {
    "two images give two of their shape, and the weights a gradient": _check_trained,
    "what is handed in stays as it is": _check_untouched,
    "the same images give the same output": _check_repeats,
    "an image's output does not depend on the others of its batch": _check_alone,
    "no labels are labels of -1": _check_unlabelled,
    "one that is stored and read again is the same": _check_stored,
    "it can compute in bfloat16": _check_precision,
}
"""The rules that a network keeps, in words, and the check of it; all but the first in evaluation mode."""


def check_network(network: nn.Module | Callable[..., nn.Module], **parameters: Any) -> None:
    """Checks that a network keeps every rule of this module.

    Args:
        network: a class or function, called with ``image_shape`` of ``NETWORK_SHAPES`` and with ``classes``, as far as
            it asks for them; it may refuse a shape, by a ValueError. Or a network that is built: then ``image_shape``
            has to be given, and ``classes`` where it takes labels.
        parameters: of the class, as a preset sets them.

    Raises:
        AssertionError: a rule is broken; the message names it.
    """
    if isinstance(network, nn.Module):
        example = network
        shapes, counts = [parameters.pop("image_shape")], [parameters.pop("classes", 0)]
        parameter_names: set[str] = set()

        def kind(**others: Any) -> nn.Module:
            return deepcopy(example)

    else:
        kind = network
        parameter_names = set(inspect.signature(network).parameters)
        shapes = [parameters.pop("image_shape")] if "image_shape" in parameters else list(NETWORK_SHAPES)
        counts = (
            [parameters.pop("classes")]
            if "classes" in parameters
            else [0, CLASSES]
            if "classes" in parameter_names
            else [0]
        )
    name, refusal, count = getattr(network, "__name__", type(network).__name__), "", 0
    for shape in shapes:
        for classes in counts:
            context = {
                key: value for key, value in (("image_shape", shape), ("classes", classes)) if key in parameter_names
            }

            def build(context: dict[str, Any] = context) -> nn.Module:
                return kind(**context, **parameters)

            subject = Subject(build, shape, classes)
            try:
                subject.build_network()
            except ValueError as error:
                refusal = str(error)
                continue
            count += 1
            _check(subject, name)
    if not count:
        raise AssertionError(f"{name}: it cannot be built for any of the images {tuple(shapes)}: {refusal}")


def _check(subject: Subject, name: str) -> None:
    for rule, check in NETWORK_RULES.items():
        try:
            check(subject)
        except Exception as error:
            size = "x".join(map(str, subject.image_shape))
            raise AssertionError(
                f"{name}, images {size}, {subject.classes} classes: broken rule: {rule}: {error}"
            ) from error
