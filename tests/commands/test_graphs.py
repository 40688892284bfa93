"""Graphs for other programs: the same numbers as PyTorch, and the same images as ``diffcli sample`` in a loop without
mathematics."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from fuzzing import check_refused

import diffcli
from diffcli.diffusion.randomness import Stream, image_generators, randn_images
from diffcli.inference import graphs
from diffcli.inference.options import SamplerOptions
from diffcli.inference.sampling import draw_xT

CPU = diffcli.Devices("cpu", "1")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")

Run = Callable[..., list[np.ndarray]]


def load(file: Path) -> tuple[Run, dict[str, Any]]:
    """A graph as a function of NumPy arrays, and its metadata."""
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(file)
        return lambda **inputs: session.run(None, inputs), json.loads(
            session.get_modelmeta().custom_metadata_map["diffcli"]
        )
    extra = {"diffcli.json": ""}
    program = torch.export.load(file, extra_files=extra).module()

    @torch.no_grad()
    def run(**inputs: np.ndarray) -> list[np.ndarray]:
        answer = program(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return [part.numpy() for part in (answer if isinstance(answer, tuple) else (answer,))]

    return run, json.loads(extra["diffcli.json"])


def loop(files: Sequence[Path], xT: np.ndarray, noise: Sequence[np.ndarray], label: np.ndarray) -> np.ndarray:
    """What the first two graphs draw from x_T: uint8 (B, C, H, W)."""
    (network, about), (step, _) = map(load, files[:2])
    xt, images = xT, np.empty(0)
    for time, new in zip(about["times"], noise, strict=True):
        t = np.full(len(xt), time)
        (x0_hat,) = network(xt=xt, t=t, label=label)
        xt, images = step(xt=xt, x0_hat=x0_hat, t=t, noise=new)
    return images


@pytest.mark.parametrize(
    ("kind", "suffix", "options"),
    [
        ("guided_run", ".onnx", {}),  # autoguided in a part of the trajectory
        ("guided_run", ".pt2", {"guidance": 1.5, "autoguidance": 1.0, "steps": 3, "sampler": "ancestral"}),
        ("transformer", ".onnx", {}),
        ("transformer", ".pt2", {"guidance": 1.5, "steps": 3}),
        ("blur_run", ".onnx", {"guidance": 1.5}),
        ("blur_run", ".pt2", {"prior": "gaussian", "steps": 4}),
    ],
)
def test_the_loop_draws_the_images_of_the_model(
    kind: str, suffix: str, options: dict[str, Any], workplace: Path, request: pytest.FixtureRequest
) -> None:
    run, n = request.getfixturevalue(kind), 5
    files = diffcli.export(run, f"m{suffix}", quiet=True, **options)
    assert [file.name for file in files] == [f"m{suffix}", f"m-step{suffix}", f"m-start{suffix}"]
    assert sorted(workplace.iterdir()) == sorted(workplace / file for file in files)
    model = diffcli.load(run, devices=CPU)
    expected = model.sample(n, seed=3, quiet=True, **options)
    prior = options.pop("prior", None)
    sampling = model.sampling(SamplerOptions(seed=3, **options), model.prior(prior))
    generators, labels = image_generators(3, Stream.SAMPLE, range(n)), sampling.labels_of(range(n))
    assert labels is not None
    xT = draw_xT(sampling, generators, model.image_shape, labels).numpy()
    steps = len(sampling.steps) - 1
    noise = [randn_images(generators, model.image_shape).numpy() for _ in range(steps)]
    images = loop(files, xT, noise, labels.numpy())
    assert images.dtype == np.uint8
    assert np.abs(images.astype(int) - expected.numpy()).max() <= 1
    assert len(np.unique(images)) > 20, "no flat images"
    _start, about = load(files[2])
    assert about["image_shape"] == [1, 8, 8]
    assert about["sampler"]["guidance"] == options.get("guidance", 1.0)
    for count in (1, 6):  # of any batch size, in PyTorch and in the graph
        graph = graphs.graphs_of(sampling, model.image_shape)[2]
        inputs = graph.example(count)
        (start_image,) = _start(**{name: value.numpy() for name, value in inputs.items()})
        assert np.allclose(start_image, graph.module(**inputs).numpy(), atol=1e-5)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_graph_says_nothing_of_the_computer_that_made_it(
    cli: Cli, workplace: Path, hot_run: Path, suffix: str
) -> None:
    result = cli("export", hot_run, "--out", f"model{suffix}", "--steps", 2, "-q")
    assert result.code == 0, result.err
    source = Path(diffcli.__file__).parent
    for file in workplace.glob(f"*{suffix}"):
        contents = [file.read_bytes()]
        if suffix == ".pt2":
            with zipfile.ZipFile(file) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
        for place in (source.parent, Path(torch.__file__).parent):
            assert not any(bytes(place) in content for content in contents), (file, place)


def test_a_graph_that_differs_from_pytorch_is_not_kept(
    cli: Cli, workplace: Path, hot_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "TOLERANCE", -1.0)
    result = cli("export", hot_run, "--out", "m.pt2")
    check_refused(result, workplace, [])
    assert (result.code, "from PyTorch; nothing was written" in result.err) == (1, True), result.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--sampler", "heun", "--out", "m.onnx"],
            "--sampler heun cannot be a graph: a step of it takes more than one",
        ),
        (
            ["--sampler", "dpm-solver++", "--out", "m.pt2"],
            "cannot be a graph: a step of it depends on the steps before",
        ),
        (["--sampler", "hein", "--out", "m.onnx"], "unknown sampler 'hein'; did you mean 'heun'?"),
        (["--steps", 21, "--out", "m.onnx"], "steps must be in 1..20"),
        (["--guidance", 2, "--out", "m.pt2"], "needs a model with labels"),
        (["--prior", "unform", "--out", "m.pt2"], "--prior: unknown prior 'unform'"),
        (["--half", "--out", "m.onnx"], "--half is for a model file, .safetensors"),
        (["--steps", 3, "--out", "m.safetensors"], "--steps is for graphs, .onnx or .pt2"),
        (["--prior", "uniform", "--out", "m.safetensors"], "--prior is for graphs"),
        (["--out", "m.pth"], "unknown extension '.pth'; use .safetensors, .onnx, .pt2"),
    ],
)
def test_wrong_input_is_named(cli: Cli, workplace: Path, hot_run: Path, words: list[Any], expected: str) -> None:
    result = cli("export", hot_run, *words)
    check_refused(result, workplace, [])
    assert (result.code, expected in result.err) == (2, True), result.err


def test_copies_of_training_images_are_no_graph(cli: Cli, workplace: Path, blur_run: Path) -> None:
    result = cli("export", blur_run, "--prior", "blurred-data", "--out", "m.pt2")
    check_refused(result, workplace, [])
    assert "this --prior cannot be a graph: it draws copies of training images" in result.err


def test_what_is_not_installed_is_named(
    cli: Cli, workplace: Path, hot_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find_spec(name))
    result = cli("export", hot_run, "--out", "m.onnx")
    check_refused(result, workplace, [])
    assert result.err.endswith(
        "needs onnx, onnxscript, onnxruntime; install them with: pip install 'diffcli[export]'\n"
    )


UNTRACEABLE = '''
import torch, diffcli

@diffcli.register("network", "looks")
class Looks(torch.nn.Module):
    """Asks for a value, which a graph cannot."""

    def __init__(self, image_shape):
        super().__init__()
        self.layer = torch.nn.Conv2d(image_shape[0], image_shape[0], 1)

    def forward(self, xt, time):
        return self.layer(xt) if float(xt.sum()) > 1e9 else 2 * self.layer(xt)
'''


def test_a_plugins_model_is_exported_where_it_can_be(cli: Cli, workplace: Path, registries: None) -> None:
    Path("mine.py").write_text(UNTRACEABLE)
    Path("mine.yaml").write_text(TINY.replace("{name: cnn, channels: [4, 4], kernel_size: 3}", "{name: looks}"))
    train = ["train", "--preset", "mine.yaml", "--out", "run", "--epochs", 1, "--accelerator", "cpu", "-q"]
    assert cli("--plugin", "mine.py", *train).code == 0
    before = sorted(workplace.rglob("*"))
    result = cli("--plugin", "mine.py", "export", "run", "--out", "m.pt2")
    assert (result.code, result.err.count("\n"), sorted(workplace.rglob("*"))) == (2, 1, before), result.err
    assert result.err.startswith("error: the model cannot be a graph: ")
    export = cli("--plugin", "mine.py", "export", "run", "--out", "m.safetensors")
    assert (export.code, export.out) == (0, "m.safetensors\n")
    assert export.err == "note: the file can be used where plug-in mine, which has the network looks, is loaded\n"
