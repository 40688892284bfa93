"""The rules of a network that a training cannot do without; :mod:`diffcli.networks.testing` has the whole set of
rules."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


def inputs_of(image_shape: tuple[int, int, int], classes: int, count: int = 2) -> tuple[Tensor, ...]:
    """The arguments that a network is called with: xt (count, C, H, W), t / T (count,), and int64 (count,) labels where
    there are classes, -1 and the last one among them."""
    xt = torch.rand(count, *image_shape, generator=torch.Generator().manual_seed(0)) - 0.5
    time = torch.linspace(0.5, 1, count)
    return (xt, time, (torch.arange(count) % (classes + 1)).flip(0) - 1) if classes else (xt, time)


def check_output(output: object, image_shape: tuple[int, int, int], count: int = 2) -> None:
    """Checks what a network made of ``count`` images.

    Raises:
        ValueError: it is no tensor, of another shape than theirs, or not finite.
    """
    if not isinstance(output, Tensor):
        raise ValueError(f"forward must return a tensor, not {type(output).__name__}")
    if tuple(output.shape) != (count, *image_shape):
        raise ValueError(
            f"forward must return the shape of xt, {(count, *image_shape)}; it returns {tuple(output.shape)}"
        )
    if not bool(torch.isfinite(output).all()):
        raise ValueError("forward must return finite numbers; it does not for a new network")


def check_basics(network: nn.Module, image_shape: tuple[int, int, int], classes: int) -> None:
    """Checks that a network answers two images with two of their shape, and can be trained; a copy of it is called.

    Raises:
        ValueError: it does not; or whatever the network raises.
    """
    network = deepcopy(network)
    with torch.random.fork_rng(devices=[]):  # what follows is drawn as if this had not been
        output = network(*inputs_of(image_shape, classes))
    check_output(output, image_shape)
    if not output.requires_grad:
        raise ValueError("forward must depend on weights: nn.Parameter, or layers such as nn.Conv2d, set as attributes")
    output.square().mean().backward()
