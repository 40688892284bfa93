"""What a GPU may round and what not, and how networks are compiled for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import Degradation, Fade, GaussianBlur, Heat, Pixelate
from diffcli.diffusion.schedules import constant
from diffcli.evaluation import extractors
from diffcli.evaluation.classifier import DigitClassifier, load_classifier, probabilities
from diffcli.evaluation.kernel import KernelReference
from diffcli.evaluation.scores import nearest_errors, where_measured
from diffcli.utils.compile import Copied, compile_in_place, full_precision, use_fast_products

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)

pytestmark = pytest.mark.usefixtures("tf32")


@pytest.fixture
def watch_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], set[tuple[str, bool]]]:
    """Watches a function: in which precisions it was called."""

    def watch(place: Any, name: str) -> set[tuple[str, bool]]:
        precisions: set[tuple[str, bool]] = set()
        function = getattr(place, name)

        def call(*arguments: Any, **options: Any) -> Any:
            precisions.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            return function(*arguments, **options)

        monkeypatch.setattr(place, name, call)
        return precisions

    return watch


Watch = Callable[[Any, str], set[tuple[str, bool]]]
EXACT = {("highest", False)}


@pytest.mark.parametrize(
    "degradation",
    [GaussianBlur(constant(4, 0.3), SHAPE, 7), Heat(constant(4, 0.3), SHAPE), Pixelate(SHAPE, T=4), Fade(SHAPE, T=4)],
    ids=lambda degradation: type(degradation).__name__,
)
def test_no_degradation_is_rounded(degradation: Degradation, watch_calls: Watch) -> None:
    precisions = watch_calls(type(degradation), "signal")
    degradation.degrade(torch.zeros(2, *SHAPE), torch.tensor([1, 4]))
    assert precisions == EXACT


def test_no_filter_is_rounded(watch_calls: Watch) -> None:
    blur = GaussianBlur(constant(4, 0.3), SHAPE, 7)
    precisions = watch_calls(Tensor, "__matmul__")
    blur.wiener(torch.zeros(2, *SHAPE), torch.tensor([1, 4]))
    assert precisions == EXACT


def test_no_score_is_rounded(watch_calls: Watch) -> None:
    images, features = torch.rand(20, *SHAPE), torch.rand(20, 8)
    classifier = load_classifier("digits").network
    precisions = [
        watch_calls(torch, "cdist"),
        watch_calls(DigitClassifier, "features"),
    ]
    nearest_errors(images, images)
    probabilities(classifier, images)
    extractors.of_judge("classifier", load_classifier("digits"), CPU).features(images)
    assert precisions == [EXACT] * 2
    assert KernelReference.of(features).features.dtype == torch.float64  # which no device rounds


def test_precision_comes_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), full_precision(CPU):
        _ = 1 / 0
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize(("kind", "expected"), [("cuda", "high"), ("cpu", "highest"), ("mps", "highest")])
def test_networks_multiply_fast_on_nvidias_gpus_alone(kind: str, expected: str) -> None:
    torch.set_float32_matmul_precision("highest")
    use_fast_products(torch.device(kind))
    assert torch.get_float32_matmul_precision() == expected
    torch.set_float32_matmul_precision("high")


def test_distances_are_summed_where_there_is_float64() -> None:
    assert [where_measured(torch.device(kind)).type for kind in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "cpu"]


@pytest.mark.parametrize(
    ("kind", "graphs", "expected"),
    [
        ("cpu", True, {"options": {"layout_optimization": False}}),
        ("cuda", False, {"options": {"layout_optimization": True}}),
        ("cuda", True, {"mode": "reduce-overhead", "dynamic": False}),
    ],
)
def test_graphs_are_recorded_for_inference_on_cuda(
    kind: str, graphs: bool, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: calls.append(options))
    compile_in_place(nn.Linear(2, 2), torch.device(kind), graphs)
    assert calls == [expected]


def test_what_a_graph_overwrites_is_copied() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("output", torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.output.copy_(x)

    network = Copied(Overwriting())
    first = network(torch.ones(2))
    network(torch.zeros(2))
    assert first.tolist() == [1, 1]
