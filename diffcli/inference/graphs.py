"""Graphs for other programs: a trained model's estimate, its sampler's step and its start, as ONNX or as PyTorch's own.

A program samples with them by a loop that computes nothing itself; ``docs/export.md`` shows it.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.config.build import bind_sampler
from diffcli.data.pixels import to_uint8
from diffcli.diffusion.guidance import with_clipping
from diffcli.diffusion.prior_graphs import StartGraph, has_graph
from diffcli.diffusion.sampler_formulas import SamplerStep, step_factors
from diffcli.inference.prior_hints import NamedPriors, no_priors, suggestion
from diffcli.inference.sampling import Sampling
from diffcli.utils.errors import RunError, UserError
from diffcli.utils.files import json_text

METADATA_KEY = "diffcli"
"""The key of the JSON text in the metadata of a graph."""
FORMAT = 1
TOLERANCE = 1e-4
"""The largest distance of a graph's numbers from PyTorch's, relative to the largest of them where that is above 1."""
BATCHES = (1, 3, 8)
"""Sizes that a graph is checked with."""
PARTS = ("", "-step", "-start")
"""The endings of the three graphs' files, after the name that was asked for."""


@dataclass(frozen=True)
class Graph:
    """A function of tensors whose first dimension is the batch.

    Args:
        example: makes inputs by name for a batch of a size.
        outputs: their names.
    """

    module: nn.Module
    example: Callable[[int], dict[str, Tensor]]
    outputs: tuple[str, ...]


class Estimate(nn.Module):
    """(x_t, t, label) -> x0_hat, guided and clipped as the sampler asks for."""

    def __init__(self, sampling: Sampling) -> None:
        super().__init__()
        # So that their weights are the graph's.
        self.denoiser, self.guide = sampling.denoiser, sampling.guide
        self.sampling = sampling

    def forward(self, xt: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, C, H, W), int64 (B,) in 1..T, int64 (B,) with -1 for none -> (B, C, H, W)."""
        estimate = self.sampling.estimate(label)
        return (with_clipping(estimate) if self.sampling.sampler.clip else estimate)(xt, t)


class StepAndPixels(nn.Module):
    """(x_t, x0_hat, t, noise) -> (x_s, the same as pixels, uint8)."""

    def __init__(self, step: SamplerStep) -> None:
        super().__init__()
        self.step = step

    def forward(self, xt: Tensor, x0_hat: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        xs = self.step(xt, x0_hat, t, noise)
        return xs, to_uint8(xs)


def graphs_of(sampling: Sampling, image_shape: tuple[int, int, int], *, priors: NamedPriors = no_priors) -> list[Graph]:
    """The three graphs of a model: its estimate, its sampler's step, and its start.

    Args:
        priors: the model's, for messages, see :meth:`Model.stored_priors`.

    Raises:
        UserError: the sampler or the prior is none that a graph can stand for.
    """
    degradation, classes, times = sampling.denoiser.degradation, sampling.denoiser.classes, sampling.steps
    try:
        factors = step_factors(bind_sampler(sampling.sampler), degradation, times)
    except ValueError as error:
        raise UserError(f"`sampler` {sampling.sampler.name} cannot be a graph: {error}; take ddim or cold") from error
    assert sampling.prior is not None
    try:
        start = StartGraph(sampling.prior, degradation, sampling.denoiser.sigma)
    except ValueError as error:
        others = suggestion(priors, has_graph, "gaussian")
        raise UserError(f"this `prior` cannot be a graph: {error}; {others}") from error

    def example_labels(count: int) -> dict[str, Tensor]:
        return {"label": torch.arange(count) % (classes + 1) - 1} if classes else {}

    def example_images(count: int) -> Tensor:
        return torch.randn(count, *image_shape, generator=torch.Generator().manual_seed(count))

    def example_times(count: int) -> Tensor:
        return torch.tensor([times[index % (len(times) - 1)] for index in range(count)])

    network = Graph(
        Estimate(sampling),
        lambda count: {"xt": example_images(count), "t": example_times(count), **example_labels(count)},
        ("x0_hat",),
    )
    step = Graph(
        StepAndPixels(SamplerStep(degradation, factors, times)),
        lambda count: {
            "xt": example_images(count),
            "x0_hat": example_images(count) / 4,
            "t": example_times(count),
            "noise": example_images(count + 1)[1:],
        },
        ("xs", "images"),
    )
    start_graph = Graph(
        start,
        lambda count: {
            "uniform": torch.linspace(0, 0.99, count),
            "normal": example_images(count),
            "noise": example_images(count + 1)[1:],
            **example_labels(count),
        },
        ("xT",),
    )
    return [network, step, start_graph]


def graph_metadata(sampling: Sampling, image_shape: tuple[int, int, int], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of each graph.

    Args:
        facts: of the model.
    """
    return {
        "format": FORMAT,
        "image_shape": list(image_shape),
        "T": sampling.denoiser.degradation.T,
        "times": list(sampling.steps[:-1]),
        "classes": sampling.denoiser.classes,
        "sampler": sampling.sampler.model_dump(),
        **facts,
    }


@contextmanager
def _hushed() -> Iterator[None]:
    """Silences what tracing warns of, logs and prints, which is about PyTorch's own code."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def traced(graph: Graph) -> torch.export.ExportedProgram:
    """A graph as PyTorch's own, for any batch size.

    Raises:
        UserError: its code does what cannot be traced.
    """
    module = graph.module.eval()
    example = graph.example(3)
    module(**example)  # tables that are made when they are first asked for are made
    batch = torch.export.Dim("batch")
    try:
        with _hushed():
            shapes = {name: {0: batch} for name in example}
            program = torch.export.export(module, (), kwargs=example, dynamic_shapes=shapes)
    except Exception as error:  # tracing runs the model's code, a plug-in's too
        reason = next(line for line in f"{error}\n{type(error).__name__}".splitlines() if line.strip())
        raise UserError(f"the model cannot be a graph: {reason.strip()}") from error
    # Files would hold where this computer keeps its packages, and lines of their code.
    for node in (node for part in program.graph_module.modules() for node in _nodes(part)):
        node.meta.pop("stack_trace", None)
    return program


def _nodes(part: nn.Module) -> Iterable[torch.fx.Node]:
    return part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ()


def write_pt2(graph: Graph, facts: Mapping[str, Any], path: Path) -> float:
    """Writes a graph for ``torch.export.load``; returns how far it is from PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(traced(graph), path, extra_files={f"{METADATA_KEY}.json": json_text(facts, indent=None)})
    program = torch.export.load(path).module()
    return _distance(graph, lambda inputs: _tensor_list(program(**inputs)))


def write_onnx(graph: Graph, facts: Mapping[str, Any], path: Path) -> float:
    """Writes a graph for ONNX's runtimes; returns how far ``onnxruntime`` is from PyTorch."""
    import onnxruntime

    with _hushed():
        program = torch.onnx.export(
            traced(graph), dynamo=True, verbose=False, output_names=list(graph.outputs), external_data=False
        )
    assert program is not None
    program.model.metadata_props[METADATA_KEY] = json_text(facts, indent=None)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> list[Tensor]:
        answers = session.run(list(graph.outputs), {name: value.numpy() for name, value in inputs.items()})
        return [torch.from_numpy(answer) for answer in answers]

    return _distance(graph, run)


WRITERS: dict[str, Callable[[Graph, Mapping[str, Any], Path], float]] = {".onnx": write_onnx, ".pt2": write_pt2}
"""The writers by extension."""
PACKAGES = {".onnx": ("onnx", "onnxscript", "onnxruntime")}
"""Packages that a kind of file needs, which come with the extra ``export``."""


def check_packages(suffix: str) -> None:
    """Checks that what writes a kind of file is installed.

    Raises:
        UserError: a package is missing.
    """
    missing_packages = [name for name in PACKAGES.get(suffix, ()) if importlib.util.find_spec(name) is None]
    if missing_packages:
        raise UserError(
            f"`out`: a {suffix} needs {', '.join(missing_packages)}; install them with: pip install 'diffcli[export]'"
        )


def _tensor_list(answer: Any) -> list[Tensor]:
    return list(answer) if isinstance(answer, (tuple, list)) else [answer]


@torch.no_grad()
def _distance(graph: Graph, run: Callable[[dict[str, Tensor]], list[Tensor]]) -> float:
    """The largest distance of what ``run`` answers from PyTorch, relative to the largest number where that is above 1.

    Raises:
        RunError: it is more than ``TOLERANCE``.
    """
    largest = torch.zeros(())
    for count in BATCHES:
        inputs = graph.example(count)
        expected = _tensor_list(graph.module(**inputs))
        for answer, reference in zip(run(inputs), expected, strict=True):
            # A pixel may fall to either side of a rounding.
            close = ((answer.double() - reference.double()).abs() - (1 if reference.dtype == torch.uint8 else 0)).clamp(
                min=0
            )
            largest = torch.maximum(largest, close.max() / reference.double().abs().max().clamp(min=1))  # NaN stays
    distance = float(largest)
    if not distance <= TOLERANCE:
        raise RunError(
            f"the graph of {type(graph.module).__name__} is {distance:.1g} from PyTorch; nothing was written"
        )
    return distance
