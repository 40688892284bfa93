"""diffcli whose networks are recorded as CUDA graphs: all kernels of a pass start in one call, which a small network's
eager pass, a call from Python for each of a thousand kernels, keeps a large GPU waiting for.

python -m benchmarks.replay train --preset blur-const    any command of diffcli; in this docs/trainings was made on a
GPU python -m benchmarks.replay                              errors and speed beside eager passes, a table

What is recorded: the forward pass, and in training the backward one with it, of each network and shape of its inputs at
its second call. On other devices nothing is. A training step has to have one forward pass, as all of diffcli's have:
the next one overwrites what the backward pass needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from benchmarks.rounds import alternate, machine, ratios, spread, table
from diffcli.networks.cnn import CNN
from diffcli.networks.compact import CompactUNet
from diffcli.networks.dit import DiT
from diffcli.networks.unet import UNet

NETWORKS = (CNN, CompactUNet, DiT, UNet)
BATCH, STEPS = 128, 20
TOLERANCE = 0.02
"""Of errors: sums in bfloat16 may be taken in another order."""
Pass = Callable[..., Tensor]


class Plain(nn.Module):
    """A network's own forward pass in one precision, with its parameters.

    Args:
        precision: of autocast; None is without.
    """

    def __init__(self, network: nn.Module, forward: Pass, precision: torch.dtype | None) -> None:
        super().__init__()
        self.network = network
        self.own_forward = forward
        self.precision = precision

    def forward(self, *inputs: Tensor) -> Tensor:
        # Nothing of autocast's cache: a copy of the weights that was made outside would be replayed for ever.
        with torch.autocast("cuda", self.precision, self.precision is not None, cache_enabled=False):
            return self.own_forward(self.network, *inputs)


def recorded_training(plain: Plain, inputs: list[Tensor]) -> Pass:
    """Forward and backward pass, both replayed."""
    examples = tuple(x.detach().clone() for x in inputs)
    with torch.autocast("cuda", plain.precision, plain.precision is not None, cache_enabled=False):
        graph = torch.cuda.make_graphed_callables(plain, examples, allow_unused_input=True)
    return cast(Pass, graph)


def recorded_inference(plain: Plain, inputs: list[Tensor]) -> Pass:
    """A forward pass without gradients, replayed; its output is a copy."""
    # What is made in inference mode could not be written to outside.
    with torch.inference_mode(False), torch.no_grad():
        buffers = [x.detach().clone() for x in inputs]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(2):  # what libraries choose and allocate at first is no part of it
                plain(*buffers)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = plain(*buffers)

    def replay(*inputs: Tensor) -> Tensor:
        for own, source in zip(buffers, inputs, strict=True):
            own.copy_(source)
        graph.replay()
        return output.clone()

    return replay


class Recordings:
    """Those of one network, by what a recording holds for."""

    def __init__(self) -> None:
        self.recordings: dict[Any, Pass] = {}
        self.keys: set[Any] = set()

    def run(self, network: nn.Module, forward: Pass, inputs: list[Tensor]) -> Tensor:
        """A pass, recorded at its second time; a shape that comes once alone is not worth it."""
        training = torch.is_grad_enabled()
        precision = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        key = (training, precision, *((x.shape, x.dtype) for x in inputs), next(network.parameters()).data_ptr())
        if key not in self.recordings:
            plain = Plain(network, forward, precision).train(network.training)
            if key not in self.keys:
                self.keys.add(key)
                return plain(*inputs)
            self.recordings[key] = (recorded_training if training else recorded_inference)(plain, inputs)
        return self.recordings[key](*inputs)


RECORDINGS: dict[nn.Module, Recordings] = {}
"""Kept, with their networks, until the program ends."""


@contextmanager
def installation() -> Iterator[None]:
    """While it lasts, networks on a GPU are replayed."""

    def replaying(forward: Pass) -> Pass:
        def run(self: nn.Module, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None) -> Tensor:
            inputs = [xt, t_fraction] if labels is None else [xt, t_fraction, labels]
            if xt.device.type != "cuda" or (torch.is_grad_enabled() and not self.training):
                return forward(self, *inputs)
            return RECORDINGS.setdefault(self, Recordings()).run(self, forward, inputs)

        return run

    own = {kind: kind.forward for kind in NETWORKS}
    for kind, forward in own.items():
        kind.forward = replaying(forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for kind, forward in own.items():
            kind.forward = forward  # type: ignore[method-assign]


class Race:
    """Passes of a network, eager or replayed, with the same weights and inputs.

    Args:
        precision: of training steps; None is evaluations in TF32.
    """

    def __init__(self, network: nn.Module, precision: torch.dtype | None) -> None:
        self.network, self.precision = network.cuda().train(precision is not None), precision
        self.inputs = torch.randn(BATCH, 1, 28, 28, device="cuda"), torch.rand(BATCH, device="cuda")
        self.target = torch.randn(BATCH, 1, 28, 28, device="cuda")

    def work(self) -> Tensor:
        if self.precision is None:
            with torch.inference_mode():
                output: Tensor = self.network(*self.inputs)
            return output
        self.network.zero_grad()
        with torch.autocast("cuda", self.precision):
            output = self.network(*self.inputs)
        F.mse_loss(output.float(), self.target).backward()
        return output.detach().clone()

    def results(self) -> list[Tensor]:
        """Outputs, and in training gradients."""
        output = self.work()
        return [output] if self.precision is None else [output, gradients(self.network)]

    def rate(self) -> float:
        """Images a second."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(STEPS):
            self.work()
        end.record()
        end.synchronize()
        return 1000 * STEPS * BATCH / begin.elapsed_time(end)

    def rate_replayed(self) -> float:
        with installation():
            return self.rate()

    def errors(self) -> list[float]:
        """Relative ones, of what is replayed."""
        with installation():
            for _ in range(3):
                replays = self.results()
        return [relative_error(a, b) for a, b in zip(self.results(), replays, strict=True)]


def compare(rounds: int) -> tuple[str, float]:
    """(a table of errors and speed of training steps in bfloat16 and of evaluations in TF32, the largest error)."""
    torch.set_float32_matmul_precision("high")
    rows, largest = [], 0.0
    for build in NETWORKS:
        for what, precision in (("training, bfloat16", torch.bfloat16), ("evaluation, TF32", None)):
            torch.manual_seed(0)
            race = Race(build((1, 28, 28)), precision)
            errors = race.errors()
            largest = max([largest, *errors])
            rates = alternate({"eager": race.rate, "replayed": race.rate_replayed}, rounds)
            speed = [*map(spread, rates.values()), spread(ratios(rates, "replayed", "eager"))]
            rows.append(
                [build.__name__, what, *speed, *(f"{error:.1e}" for error in errors), *[""] * (2 - len(errors))]
            )
    header = ["network", "pass", "eager, images/s", "replayed", "ratio", "error of outputs", "of gradients"]
    return f"{torch.cuda.get_device_name()}; {machine()}\n\n{table(header, rows)}", largest


def relative_error(exact: Tensor, other: Tensor) -> float:
    """The norm of the difference from exact numbers over their own norm."""
    return ((exact - other).norm() / exact.norm()).item()


def gradients(network: nn.Module) -> Tensor:
    """The gradients of all parameters that have one, in a row."""
    return parameters_to_vector(p.grad for p in network.parameters() if p.grad is not None)


def main() -> None:
    if len(sys.argv) > 1:
        from diffcli.cli import main as diffcli

        with installation():
            diffcli()
    else:
        text, largest = compare(rounds=2)
        print(text)
        sys.exit(largest > TOLERANCE)


if __name__ == "__main__":
    main()
