"""What computes networks on CPUs, from the command line and in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image

import diffcli
from diffcli.utils.devices import Devices

pytest.importorskip("onnxruntime")

CPU = ("--accelerator", "cpu", "--devices", 1)


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file)).astype(int)


def test_both_engines_draw_the_same_to_one_level_of_grey(cli: Cli, workplace: Path) -> None:
    words = ("sample", "--model", "mnist-fast", "--n", 5, "--steps", 6, "--zoom", 1, *CPU)
    for name in ("auto", "onnxruntime", "torch"):
        result = cli(*words, "--engine", name, "--out", f"{name}.png")
        assert result.code == 0, result.err
    assert np.array_equal(pixels(Path("auto.png")), pixels(Path("onnxruntime.png")))
    assert np.abs(pixels(Path("auto.png")) - pixels(Path("torch.png"))).max() <= 1


def test_python_chooses_it_too(workplace: Path) -> None:
    from diffcli.utils.engine import Onnx

    models = {name: diffcli.load("mnist-fast", devices=Devices("cpu", "1", engine=name)) for name in ("auto", "torch")}
    assert isinstance(models["auto"].denoiser.network, Onnx)
    assert not isinstance(models["torch"].denoiser.network, Onnx)
    images = [model.sample(3, steps=4, quiet=True) for model in models.values()]
    assert (images[0].int() - images[1].int()).abs().max() <= 1
    assert torch.equal(images[0][:1], models["auto"].sample(1, steps=4, quiet=True))
    assert repr(models["auto"]) == repr(models["torch"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--engine", "tensorrt"), "--engine: unknown engine 'tensorrt'"),
        (("--engine", "onnxruntime", "--precision", "bf16-mixed"), "it computes in float32"),
        (("--engine", "onnxruntime", "--compile"), "it computes in float32, and compiles by itself"),
    ],
)
def test_what_it_cannot_do_is_refused(cli: Cli, workplace: Path, words: tuple[str, ...], message: str) -> None:
    result = cli("sample", "--model", "mnist-fast", "--n", 1, *CPU, *words, "--out", "x.png")
    assert result.code == 2
    assert message in result.err
    assert not Path("x.png").exists()


def test_an_evaluation_and_a_restoration_take_it(cli: Cli, workplace: Path) -> None:
    Image.fromarray(np.full((28, 28), 90, dtype=np.uint8)).save("a.png")
    result = cli(
        "restore", "a.png", "--model", "blur-fast", "--t", 20, "--engine", "onnxruntime", *CPU, "--out", "r.png"
    )
    assert result.code == 0, result.err
    assert "--engine" in cli("eval", "--help").out


def test_small_networks_are_left_to_pytorch_unless_it_is_asked_for(hot_run: Path) -> None:
    from diffcli.utils.engine import Onnx

    for name, graphs in (("auto", False), ("onnxruntime", True), ("torch", False)):
        model = diffcli.load(hot_run, devices=Devices("cpu", "1", engine=name))
        assert isinstance(model.denoiser.network, Onnx) == graphs
