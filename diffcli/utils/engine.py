"""Networks that onnxruntime computes on CPUs in place of PyTorch: equal but for the rounding of float32, and faster,
most of all for few images."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.utils.cache import Cache
from diffcli.utils.compile import FixedBatches
from diffcli.utils.devices import Devices, Precision
from diffcli.utils.errors import UserError
from diffcli.utils.hashing import of_tensors

PACKAGES = ("onnxruntime", "onnx")
NETWORKS = "diffcli.networks."
"""The package of our own networks."""
GRAPH_BATCH = 4
"""Images that a graph computes at once: as fast for each as sixteen, within a tenth, and one alone costs four."""
TOLERANCE = 1e-4
"""The largest difference to PyTorch's output, as a share of the largest value in that, or of 1."""
OPSET = 18
INPUT, OUTPUT = "input", "output"
MAKING = Lock()
"""Held by the thread that makes a graph: PyTorch's exporter has a state that all threads share."""


def missing_packages() -> list[str]:
    """The packages that are not installed and that onnxruntime needs to compute networks."""
    return [name for name in PACKAGES if find_spec(name) is None]


def with_graphs(
    network: nn.Module, fallback: nn.Module, devices: Devices, precision: Precision, description: Mapping[str, Any]
) -> nn.Module:
    """A network that onnxruntime computes, where it can for these devices; else as it is.

    Args:
        network: the network, on its device.
        fallback: the same as PyTorch computes it.
        description: the part of the preset that describes it.

    Raises:
        UserError: the devices name onnxruntime, and it cannot.
    """
    reason = reason_against(network, devices, precision)
    if reason is None:
        return Onnx(network, fallback, description, required=devices.engine == "onnxruntime")
    if devices.engine == "onnxruntime":
        raise UserError(f"`engine` onnxruntime does not compute this model: {reason}; leave it at auto")
    return fallback


def reason_against(network: nn.Module, devices: Devices, precision: Precision) -> str | None:
    """The reason why onnxruntime does not compute a network for these devices; None where it does."""
    if packages := missing_packages():
        return f"the package {packages[0]} is not installed (pip install 'diffcli[fast]')"
    # A graph holds what one call did: of a network of somebody else that may depend on the image.
    if not type(network).__module__.startswith(NETWORKS):
        return f"{type(network).__name__} is a plug-in's"
    if next(network.parameters()).device.type != "cpu":
        return "it is for CPUs"
    if devices.compile or precision != "32-true":
        return "it computes in float32, and compiles by itself"
    return None


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="diffcli-engine")


class Graph(nn.Module):
    """A network as a graph in onnxruntime, for batches of ``GRAPH_BATCH`` images.

    Args:
        content: the graph in ONNX's format.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Batches are computed side by side, each by one thread.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def forward(self, *inputs: Tensor | None) -> Tensor:
        feed = {_name(i): part.detach().contiguous().numpy() for i, part in enumerate(inputs) if part is not None}
        return torch.from_numpy(self.session.run(None, feed)[0])


def _name(place: int) -> str:
    return f"{INPUT}{place}"


def content_of(network: nn.Module, inputs: Sequence[Tensor | None]) -> bytes:
    """A network as a graph in ONNX's format, for inputs of these shapes.

    PyTorch's older exporter traces a call in a quarter of a second; the newer one, which ``diffcli export`` takes,
    needs fifty times as long.

    Raises:
        Exception: of many kinds, where an operation has no counterpart.
    """
    from unittest.mock import patch  # which loads asyncio

    names = [_name(i) for i, part in enumerate(inputs) if part is not None]
    # Clones: a tracer takes no tensor of inference mode.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        warnings.catch_warnings(),
        # Of an operation that it lacks, the exporter prints the whole graph.
        patch.object(torch._C, "_jit_onnx_log", lambda *_: None, create=True),
        tempfile.TemporaryDirectory() as folder,
    ):
        warnings.simplefilter("ignore")
        example = tuple(None if part is None else part.clone() for part in inputs)
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network, example, file, dynamo=False, input_names=names, output_names=[OUTPUT], opset_version=OPSET
        )
        return file.read_bytes()


class Onnx(nn.Module):
    """A network that onnxruntime computes where no gradient is asked for, and PyTorch elsewhere.

    A graph is made at the first call of its kind, kept on disk, and used when it gives what PyTorch gives of the images
    of that call; else PyTorch computes, or, where onnxruntime was asked for by name, an error says so.

    Args:
        network: the network, on the CPU.
        fallback: the same as PyTorch computes it.
        description: the part of the preset that describes it.
        required: whether PyTorch may not take its place.
    """

    def __init__(self, network: nn.Module, fallback: nn.Module, description: Mapping[str, Any], required: bool) -> None:
        super().__init__()
        self.network = fallback
        self.source = network
        self.description = description
        self.required = required
        self._graphs: dict[tuple[Any, ...], nn.Module | None] = {}
        self._weights: tuple[Any, ...] = ()
        """The state of the weights that the graphs are of."""

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes its own graphs: those of onnxruntime can neither be copied nor pickled.
        return {**self.__dict__, "_graphs": {}}

    def forward(self, xt: Tensor, *others: Tensor | None) -> Tensor:
        eager = torch.is_grad_enabled() or xt.dtype != torch.float32 or xt.device.type != "cpu"
        graph = None if eager else self._graph(xt, *others)
        output: Tensor = (self.network if graph is None else graph)(xt, *others)
        return output

    def _graph(self, xt: Tensor, *others: Tensor | None) -> nn.Module | None:
        """The graph for inputs of these shapes and types; None where there is none."""
        inputs, tensors = (xt, *others), [*chain(self.source.parameters(), self.source.buffers())]
        # Weights that were changed since make another graph; of those made in inference mode PyTorch cannot tell.
        if any(tensor.is_inference() for tensor in tensors):
            return None
        weights = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        kind = tuple(None if part is None else (part.dtype, part.shape[1:]) for part in inputs)
        with MAKING:
            if weights != self._weights:
                self._graphs, self._weights = {}, weights
            if kind not in self._graphs:
                rows = torch.arange(GRAPH_BATCH) % max(len(xt), 1)
                self._graphs[kind] = self._build([None if part is None else part[rows] for part in inputs])
            return self._graphs[kind]

    def _build(self, example: Sequence[Tensor | None]) -> nn.Module | None:
        try:
            network = Graph(self._content(example))
            expected, output = self.source(*example), network(*example)
            error = float((output - expected).abs().max()) / max(1.0, float(expected.abs().max()))
            problem = None if error <= TOLERANCE else f"it is off by {error:.1g}"
        except Exception as reason:  # of an exporter's and a runtime's many kinds
            problem = f"{type(reason).__name__}: {' '.join(str(reason).split())[:200]}"
        if problem is None:
            mapper = _workers(torch.get_num_threads()).map if torch.get_num_threads() > 1 else map
            return FixedBatches(network, GRAPH_BATCH, mapper)
        if self.required:
            name = type(self.source).__name__
            raise UserError(f"`engine` onnxruntime does not compute {name} ({problem}); use torch")
        logging.getLogger(__name__).info("PyTorch computes: %s", problem)
        return None

    def _content(self, example: Sequence[Tensor | None]) -> bytes:
        """The graph in ONNX's format, from the cache where it is there."""
        key = {
            "network": dict(self.description),
            "weights": of_tensors(dict(self.source.state_dict())),
            "inputs": [None if part is None else [str(part.dtype), *part.shape] for part in example],
            "versions": [version(name) for name in PACKAGES],
        }
        cache = Cache(part="graphs")
        if (content := cache.load(key)) is None:
            content = torch.frombuffer(bytearray(content_of(self.source, example)), dtype=torch.uint8)
            cache.save(key, content)
        return content.numpy().tobytes()
