"""Networks that onnxruntime computes: as PyTorch computes them, whatever the batch, and only where that is so."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcli.networks.cnn import CNN
from diffcli.networks.compact import CompactUNet
from diffcli.networks.dit import DiT
from diffcli.networks.unet import UNet
from diffcli.utils import engine
from diffcli.utils.compile import FixedBatches
from diffcli.utils.devices import Devices
from diffcli.utils.engine import Onnx, reason_against, with_graphs
from diffcli.utils.errors import UserError

pytest.importorskip("onnxruntime")

CPU = Devices("cpu", "1")
COMPACT = {"name": "compact-unet", "width": 8}


def inputs(count: int, *, classes: int = 0, level: bool = False, shape: tuple[int, ...] = (3, 16, 16)) -> list[Tensor]:
    """x_t, t / T of each image, and what else a network is told."""
    generator = torch.Generator().manual_seed(count)
    parts = [torch.randn(count, *shape, generator=generator), torch.rand(count, generator=generator)]
    parts += [torch.randint(-1, classes, (count,), generator=generator)] if classes else []
    return [*parts, torch.rand(count, generator=generator)] if level else parts


def network_of(make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose last layer is not zero."""
    with torch.inference_mode(False):
        network = make().eval().requires_grad_(False)
    for weight in network.parameters():
        if not weight.any():
            with torch.inference_mode(False):
                nn.init.normal_(weight, std=0.1)
    return network


def onnx(network: nn.Module, required: bool = True) -> Onnx:
    return Onnx(network, FixedBatches(network), {"name": type(network).__name__}, required)


@pytest.fixture(autouse=True)
def as_in_sampling() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


SHAPE = (3, 16, 16)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "cnn": (lambda: CNN(SHAPE, [8, 8], 3), {}),
    "unet": (lambda: UNet(SHAPE, 8, classes=3), {"classes": 3}),
    "compact": (lambda: CompactUNet(SHAPE, 8), {}),
    "attention": (lambda: CompactUNet(SHAPE, 32, attention=True, classes=5), {"classes": 5}),
    "transformer": (
        lambda: DiT(SHAPE, 16, 2, classes=3, bottleneck=8, noise_levels=True),
        {"classes": 3, "level": True},
    ),
    "levels": (
        lambda: CompactUNet(SHAPE, 8, levels=3, attention=True, classes=2, noise_levels=True),
        {"classes": 2, "level": True},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_what_it_is_in_pytorch(name: str) -> None:
    make, options = NETWORKS[name]
    network = network_of(make)
    parts = inputs(9, **options)
    expected, output = network(*parts), onnx(network)(*parts)
    assert expected.std() > 1e-3
    assert torch.allclose(output, expected, atol=1e-5 * max(1.0, float(expected.abs().max())))


def test_none_in_place_of_labels_is_no_label() -> None:
    network = network_of(lambda: CompactUNet(SHAPE, 8, classes=3, noise_levels=True))
    x, t, _, level = inputs(4, classes=3, level=True)
    graph = onnx(network)
    assert torch.allclose(graph(x, t, None, level), network(x, t, None, level), atol=1e-5)
    assert torch.allclose(
        graph(x, t, torch.zeros(4, dtype=torch.int64), level),
        network(x, t, torch.zeros(4, dtype=torch.int64), level),
        atol=1e-5,
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_an_image_does_not_depend_on_its_batch_or_the_threads(threads: int) -> None:
    network = network_of(lambda: CompactUNet(SHAPE, 32, attention=True, classes=5))
    parts = inputs(23, classes=5)
    whole = onnx(network)(*parts)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        graph = onnx(network)
        for start, stop in ((0, 1), (22, 23), (3, 6), (0, 4), (5, 13), (0, 23)):
            assert torch.equal(graph(*(part[start:stop] for part in parts)), whole[start:stop]), (start, stop)
    finally:
        torch.set_num_threads(before)


def test_where_a_gradient_is_asked_for_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(lambda: CompactUNet(SHAPE, 8))
    graph = onnx(network)
    monkeypatch.setattr(engine, "content_of", lambda *_: pytest.fail("a graph was made"))
    with torch.inference_mode(False), torch.enable_grad():
        x, t = inputs(4)
        x = x.clone().requires_grad_()
        graph(x, t.clone()).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_weights_that_were_changed_are_those_that_compute() -> None:
    network, parts = network_of(lambda: CompactUNet(SHAPE, 8)), inputs(4)
    graph = onnx(network)
    first = graph(*parts)
    with torch.inference_mode(False), torch.no_grad():
        network.get_parameter("head.2.bias").add_(1.0)
    assert torch.allclose(graph(*parts), first + 1.0, atol=1e-5)


def test_a_graph_is_made_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(lambda: CompactUNet(SHAPE, 8))
    parts = inputs(4)
    first = onnx(network)(*parts)
    monkeypatch.setattr(engine, "content_of", lambda *_: pytest.fail("it was made again"))
    assert torch.equal(onnx(network)(*parts), first)


def test_a_graph_of_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    other, content = network_of(lambda: CompactUNet(SHAPE, 8)), engine.content_of
    monkeypatch.setattr(engine, "content_of", lambda network, parts: content(other, parts))
    network, parts = network_of(lambda: CompactUNet(SHAPE, 8)), inputs(20)
    assert torch.equal(onnx(network, required=False)(*parts), FixedBatches(network)(*parts))
    with pytest.raises(
        UserError, match=r"`engine` onnxruntime does not compute CompactUNet \(it is off by .*use torch"
    ):
        onnx(network)(*parts)


class Sorting(CompactUNet):
    """With an operation that graphs of this kind lack."""

    def forward(
        self, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        return super().forward(torch.linalg.matrix_exp(xt), t_fraction, labels, level)


def test_a_network_that_makes_no_graph_is_computed_by_pytorch(capfd: pytest.CaptureFixture[str]) -> None:
    network, parts = network_of(lambda: Sorting(SHAPE, 8)), inputs(5)
    assert torch.equal(onnx(network, required=False)(*parts), FixedBatches(network)(*parts))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UserError, match="`engine` onnxruntime does not compute Sorting"):
        onnx(network)(*parts)


def test_a_damaged_graph_on_disk_is_made_again() -> None:
    from diffcli.utils.cache import cache_folder

    network, parts = network_of(lambda: CompactUNet(SHAPE, 8)), inputs(4)
    first = onnx(network)(*parts)
    folder = cache_folder()
    assert folder is not None
    (file,) = Path(folder, "graphs").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert torch.equal(onnx(network)(*parts), first)


def test_threads_make_their_graphs_one_after_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    graphs = [onnx(network_of(lambda: CompactUNet(SHAPE, 8))) for _ in range(2)]
    parts, screen = inputs(5), os.fstat(1)
    outputs: list[Tensor] = [torch.empty(0)] * 4

    def compute(place: int) -> None:
        with torch.inference_mode():
            outputs[place] = graphs[place % 2](*parts)

    threads = [threading.Thread(target=compute, args=(place,)) for place in range(len(outputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, output in enumerate(outputs):
        assert torch.allclose(output, graphs[place % 2].network(*parts), atol=1e-5)
    assert os.path.samestat(os.fstat(1), screen)


def test_what_is_printed_while_a_graph_is_made_arrives(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    export = torch.onnx.export

    def talkative(*args: Any, **options: Any) -> None:
        export(*args, **options)
        thread = threading.Thread(target=lambda: os.write(1, b"of another thread\n"))
        thread.start()
        thread.join()

    monkeypatch.setattr(torch.onnx, "export", talkative)
    onnx(network_of(lambda: CompactUNet(SHAPE, 8)))(*inputs(4))
    assert capfd.readouterr().out == "of another thread\n"


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_a_copy_computes_its_own_weights(twin: Callable[[Onnx], Onnx]) -> None:
    parts = inputs(4)
    graph = onnx(network_of(lambda: CompactUNet(SHAPE, 8)))
    first = graph(*parts)
    with torch.inference_mode(False), torch.no_grad():
        other = twin(graph)
        other.source.get_parameter("head.2.bias").add_(1.0)
    assert torch.allclose(other(*parts), first + 1.0, atol=1e-5)
    assert torch.equal(graph(*parts), first)


def test_graphs_of_former_weights_are_not_kept() -> None:
    parts = inputs(4)
    graph = onnx(network_of(lambda: CompactUNet(SHAPE, 8)))
    for _ in range(3):
        with torch.inference_mode(False), torch.no_grad():
            graph.source.get_parameter("head.2.bias").add_(1.0)
        graph(*parts)
    assert len(graph._graphs) == 1


def test_weights_that_were_replaced_are_those_that_compute() -> None:
    graph, parts = onnx(network_of(lambda: CompactUNet(SHAPE, 8))), inputs(4)
    first = graph(*parts)
    bias = graph.source.get_parameter("head.2.bias")
    with torch.inference_mode(False):
        bias.data = bias.data + 1.0
    assert torch.allclose(graph(*parts), first + 1.0, atol=1e-5)


def test_inputs_of_other_types_are_computed_too() -> None:
    graph = onnx(network_of(lambda: CompactUNet(SHAPE, 8, classes=3)))
    x, t, labels = inputs(4, classes=3)
    first = graph(x, t, labels)
    assert torch.allclose(graph(x, t, labels.int()), first, atol=1e-5)
    with torch.inference_mode(False), torch.no_grad():
        assert torch.allclose(graph(x.clone().requires_grad_(), t.clone(), labels.clone()), first, atol=1e-5)


def test_a_network_that_was_moved_is_computed_where_it_is() -> None:
    graph, parts = onnx(network_of(lambda: CompactUNet(SHAPE, 8))), inputs(4)
    graph(*parts)
    with torch.inference_mode(False):
        graph.to("meta")
    assert graph(*(part.to("meta") for part in parts)).device.type == "meta"


def test_what_speaks_against_it() -> None:
    large = CompactUNet(SHAPE, 48)
    assert reason_against(large, CPU, "32-true") is None
    assert "float32" in str(reason_against(large, CPU, "bf16-mixed"))
    assert "float32" in str(reason_against(large, Devices("cpu", "1", compile=True), "32-true"))
    assert "Sorting is a plug-in's" in str(reason_against(Sorting(SHAPE, 48), CPU, "32-true"))
    assert "Identity is a plug-in's" in str(reason_against(nn.Identity(), CPU, "32-true"))
    assert "it is for CPUs" in str(reason_against(large.to("meta"), CPU, "32-true"))


def test_without_the_package_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    network = CompactUNet(SHAPE, 48)
    assert with_graphs(network, network, CPU, "32-true", {}) is network
    reason = r"the package onnxruntime is not installed \(pip install 'diffcli\[fast\]'\); leave it at auto"
    with pytest.raises(UserError, match=reason):
        with_graphs(network, network, Devices("cpu", "1", engine="onnxruntime"), "32-true", {})
